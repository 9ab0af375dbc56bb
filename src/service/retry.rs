//! RetryTasks: a new task for each that failed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use prost::Message as _;
use tonic::Status;

use super::{
    Service, error,
    submit::{idempotency, new_ids},
    validate,
};
use crate::{
    clock::Timestamp,
    model::{BatchId, Spec, Status as TaskStatus, Task, TaskId},
    proto::v1::{RetryOutcome, RetryResult, RetryTasksRequest, RetryTasksResponse},
    store::{self, Append, Idempotency, Lookup, Submission},
};

/// Most tasks retried by one call on a batch.
const MAX_RETRIES: usize = 1_000;
/// Ids of a batch looked at together.
const PAGE: usize = 500;

impl Service {
    pub(super) async fn retry(
        &self,
        mut request: RetryTasksRequest,
    ) -> Result<RetryTasksResponse, Status> {
        validate::idempotency_key(&request.idempotency_key, &self.config.limits)?;
        let key = std::mem::take(&mut request.idempotency_key);
        let key = (!key.is_empty()).then(|| idempotency("retry", &key, &request.encode_to_vec()));
        let ids = match (request.task_ids.is_empty(), request.batch_id.is_empty()) {
            (false, true) => validate::task_ids(&request.task_ids, &self.config.limits)?,
            (true, false) => {
                let batch = validate::batch_id(&request.batch_id)?;
                self.failed_in(batch).await?
            }
            _ => {
                let description = "set exactly one of task_ids and batch_id";
                return Err(error::invalid_field("task_ids", description));
            }
        };
        let outcomes = self.retry_ids(&ids, key).await.map_err(error::from_store)?;
        Ok(RetryTasksResponse { outcomes })
    }

    async fn failed_in(&self, batch: BatchId) -> Result<Vec<TaskId>, Status> {
        let found = self.store.batch(batch).await.map_err(error::from_store)?;
        found.ok_or_else(|| error::not_found("batch", batch))?;
        let mut failed = Vec::new();
        let mut cursor = None;
        loop {
            let listing = self.store.list(Some(batch), cursor, PAGE).await;
            let listing = listing.map_err(error::from_store)?;
            let tasks = self.found(&listing.ids).await.map_err(error::from_store)?;
            let in_error = tasks.iter().filter(|t| t.status() == TaskStatus::Error);
            failed.extend(in_error.map(|task| task.id));
            cursor = listing.next;
            if cursor.is_none() || failed.len() >= MAX_RETRIES {
                failed.truncate(MAX_RETRIES);
                return Ok(failed);
            }
        }
    }

    async fn retry_ids(
        &self,
        ids: &[TaskId],
        key: Option<Idempotency>,
    ) -> Result<Vec<RetryOutcome>, store::Error> {
        let lookups = self.store.tasks(ids).await?;
        let mut outcomes = BTreeMap::new();
        let mut failed: BTreeMap<BatchId, Vec<Task>> = BTreeMap::new();
        for (id, lookup) in ids.iter().zip(lookups) {
            let (result, status) = match lookup {
                Lookup::Found(task) if is_retryable(task.status()) => {
                    let of_batch = failed.entry(task.batch_id).or_default();
                    if of_batch.iter().all(|other| other.id != task.id) {
                        of_batch.push(*task);
                    }
                    continue;
                }
                Lookup::Found(task) => (RetryResult::NotFailed, task.status() as i32),
                _ => (RetryResult::NotFound, 0),
            };
            outcomes.insert(*id, outcome(*id, result, None, status));
        }
        for (batch, tasks) in failed {
            for (task, new) in self.resubmit(batch, &tasks, key.clone()).await? {
                let status = task.status() as i32;
                let done = outcome(task.id, RetryResult::Submitted, Some(new), status);
                outcomes.insert(task.id, done);
            }
        }
        Ok(ids
            .iter()
            .filter_map(|id| outcomes.get(id).cloned())
            .collect())
    }

    /// Submits the tasks anew and says which became which.
    async fn resubmit<'a>(
        &self,
        batch_id: BatchId,
        tasks: &'a [Task],
        key: Option<Idempotency>,
    ) -> Result<Vec<(&'a Task, TaskId)>, store::Error> {
        let now = self.store.now();
        let ids = new_ids(now, batch_id, tasks.len());
        let submission = Submission {
            batch_id,
            append: Append::Retry,
            keep_open: false,
            ids,
            specs: tasks.iter().map(|task| Arc::new(anew(task, now))).collect(),
            budget: None,
            idempotency: key.map(|key| Idempotency {
                key: format!("{}/{batch_id}", key.key),
                ..key
            }),
        };
        let accepted = self.store.submit(submission).await?;
        if accepted.ids == ids {
            return Ok(tasks.iter().zip(ids.iter()).collect());
        }
        // The key had been used: what it made then says itself what it repeats.
        let made: Vec<TaskId> = accepted.ids.iter().collect();
        let made: BTreeMap<_, _> = self
            .found(&made)
            .await?
            .into_iter()
            .filter_map(|new| Some((new.spec.retry_of?, new.id)))
            .collect();
        Ok(tasks
            .iter()
            .filter_map(|task| Some((task, *made.get(&task.id)?)))
            .collect())
    }
}

fn is_retryable(status: TaskStatus) -> bool {
    matches!(status, TaskStatus::Error | TaskStatus::Cancelled)
}

/// The spec of a task's repetition: as before, with as much time as the first had.
fn anew(task: &Task, now: Timestamp) -> Spec {
    let spec = &task.spec;
    let allowed: Duration = spec.deadline.since(spec.create_time);
    Spec {
        deadline: now + allowed,
        not_before: None,
        retry_of: Some(task.id),
        create_time: now,
        ..Spec::clone(spec)
    }
}

fn outcome(id: TaskId, result: RetryResult, new: Option<TaskId>, status: i32) -> RetryOutcome {
    RetryOutcome {
        task_id: id.to_string(),
        result: result as i32,
        new_task_id: new.map(|id| id.to_string()).unwrap_or_default(),
        status,
    }
}
