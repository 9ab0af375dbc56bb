//! CancelTasks.

use std::collections::HashMap;

use futures::future::join_all;
use tonic::Status;

use super::{Service, error, validate};
use crate::{
    journal,
    model::{BatchId, Event, Status as TaskStatus, Task, TaskId},
    proto::v1::{CancelOutcome, CancelResult, CancelTasksRequest, CancelTasksResponse},
    store::{self, Amendment, Commit, Guard, Lookup, Verdict, output::so_far},
};

/// A task that keeps moving under the cancel is one that workers finish all by themselves.
const MAX_TRIES: usize = 20;
/// Keeps the reply below its bound: an outcome takes some 45 bytes.
const MAX_OUTCOMES: usize = 20_000;
/// Ids of a batch cancelled at once.
const PAGE: usize = 500;

impl Service {
    pub(super) async fn cancel(
        &self,
        request: CancelTasksRequest,
    ) -> Result<CancelTasksResponse, Status> {
        match (request.task_ids.is_empty(), request.batch_id.is_empty()) {
            (false, true) => {
                let ids = validate::task_ids(&request.task_ids, &self.config.limits)?;
                let outcomes = self.cancel_ids(&ids).await.map_err(error::from_store)?;
                let cancelled_count = count(&outcomes);
                Ok(CancelTasksResponse {
                    outcomes,
                    cancelled_count,
                })
            }
            (true, false) => self.cancel_batch(&request.batch_id).await,
            _ => Err(error::invalid_field(
                "task_ids",
                "set exactly one of task_ids and batch_id",
            )),
        }
    }

    async fn cancel_batch(&self, text: &str) -> Result<CancelTasksResponse, Status> {
        let id = validate::batch_id(text)?;
        let closed = self.store.amend(id, Amendment::Close).await;
        closed
            .map_err(error::from_store)?
            .ok_or_else(|| error::not_found("batch", id))?;
        self.cancel_all(id).await.map_err(error::from_store)
    }

    async fn cancel_all(&self, batch: BatchId) -> Result<CancelTasksResponse, store::Error> {
        let mut reply = CancelTasksResponse::default();
        let mut cursor = None;
        loop {
            let listing = self.store.list(Some(batch), cursor, PAGE).await?;
            let outcomes = self.cancel_ids(&listing.ids).await?;
            reply.cancelled_count += count(&outcomes);
            let cancelled = outcomes
                .into_iter()
                .filter(|outcome| outcome.result == CancelResult::Cancelled as i32);
            let room = MAX_OUTCOMES - reply.outcomes.len();
            reply.outcomes.extend(cancelled.take(room));
            cursor = listing.next;
            if cursor.is_none() {
                return Ok(reply);
            }
        }
    }

    /// Reads, decides, commits by revision; what moved meanwhile is read again.
    async fn cancel_ids(&self, ids: &[TaskId]) -> Result<Vec<CancelOutcome>, store::Error> {
        let mut outcomes: HashMap<TaskId, CancelOutcome> = HashMap::with_capacity(ids.len());
        let mut open = ids.to_vec();
        open.sort_unstable();
        open.dedup();
        for _ in 0..MAX_TRIES {
            if open.is_empty() {
                break;
            }
            let lookups = self.store.tasks(&open).await?;
            let said = join_all(lookups.iter().map(|lookup| self.said(lookup))).await;
            let mut commits = Vec::new();
            for ((id, lookup), said) in open.iter().zip(lookups).zip(said) {
                match self.decide(lookup) {
                    Decision::Commit(mut commit) => {
                        commit.task.keep_partial(&said);
                        commits.push(*commit);
                    }
                    Decision::Ended(result, status) => {
                        outcomes.insert(*id, outcome(*id, result, status));
                    }
                }
            }
            open = self.commit_cancels(commits, &mut outcomes).await?;
        }
        if let Some(id) = open.first() {
            let cause = format!("task {id} kept moving while it was being cancelled");
            return Err(store::Error::Unavailable(cause));
        }
        Ok(ids
            .iter()
            .filter_map(|id| outcomes.get(id).cloned())
            .collect())
    }

    /// Commits, and answers with the ids to look at again.
    async fn commit_cancels(
        &self,
        commits: Vec<Commit>,
        outcomes: &mut HashMap<TaskId, CancelOutcome>,
    ) -> Result<Vec<TaskId>, store::Error> {
        if commits.is_empty() {
            return Ok(Vec::new());
        }
        let tasks: Vec<Task> = commits.iter().map(|commit| commit.task.clone()).collect();
        let verdicts = self.store.commit(commits).await?;
        let mut again = Vec::new();
        for (task, verdict) in tasks.into_iter().zip(verdicts) {
            if verdict == Verdict::Conflict {
                again.push(task.id);
                continue;
            }
            journal::moved(&task);
            let done = outcome(task.id, CancelResult::Cancelled, Some(task.status()));
            outcomes.insert(task.id, done);
        }
        Ok(again)
    }

    /// What the call had answered that is to be dropped.
    async fn said(&self, lookup: &Lookup) -> String {
        match lookup {
            Lookup::Found(task) => so_far(self.store.as_ref(), task).await,
            _ => String::new(),
        }
    }

    fn decide(&self, lookup: Lookup) -> Decision {
        let mut task = match lookup {
            Lookup::Found(task) => *task,
            Lookup::Missing | Lookup::Expired | Lookup::Fault(_) => {
                return Decision::Ended(CancelResult::NotFound, None);
            }
        };
        let (from, fence) = (task.status(), task.fence());
        match task.apply(Event::CancelRequested, self.store.now()) {
            Err(_) => Decision::Ended(CancelResult::AlreadyTerminal, Some(from)),
            Ok(()) => Decision::Commit(Box::new(Commit {
                task,
                fence,
                from,
                guard: Guard::None,
                park: None,
            })),
        }
    }
}

enum Decision {
    Commit(Box<Commit>),
    Ended(CancelResult, Option<TaskStatus>),
}

fn outcome(id: TaskId, result: CancelResult, status: Option<TaskStatus>) -> CancelOutcome {
    CancelOutcome {
        task_id: id.to_string(),
        result: result as i32,
        status: status.map_or(0, |status| status as i32),
    }
}

fn count(outcomes: &[CancelOutcome]) -> u64 {
    outcomes
        .iter()
        .filter(|outcome| outcome.result == CancelResult::Cancelled as i32)
        .count() as u64
}
