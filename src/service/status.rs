//! GetStatus.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use tonic::Status;

use super::{MAX_REPLY, Service, convert, error, validate};
use crate::{
    clock::Timestamp,
    model::{BatchId, Due, Status as TaskStatus, Task, WaitReason},
    proto::v1::{self, GetStatusRequest, GetStatusResponse, TaskFault},
    store::{self, Lookup},
    watch::Hub,
};

impl Service {
    pub(super) async fn status(
        &self,
        request: GetStatusRequest,
    ) -> Result<GetStatusResponse, Status> {
        let ids = validate::task_ids(&request.task_ids, &self.config.limits)?;
        let lookups = self.store.tasks(&ids).await.map_err(error::from_store)?;
        let found = lookups.iter().filter_map(|lookup| match lookup {
            Lookup::Found(task) => Some(task.as_ref()),
            _ => None,
        });
        let held = self.held_back(found).await.map_err(error::from_store)?;
        let mut room = Room::new(&self.hub, self.store.now(), !request.omit_results);
        let mut reply = GetStatusResponse::default();
        for (id, lookup) in ids.iter().zip(lookups) {
            match lookup {
                Lookup::Found(task) => reply.tasks.push(room.task(&task, &held)),
                Lookup::Missing => reply.not_found.push(id.to_string()),
                Lookup::Expired => reply.expired.push(id.to_string()),
                Lookup::Fault(message) => reply.faults.push(TaskFault {
                    task_id: id.to_string(),
                    message,
                }),
            }
        }
        Ok(reply)
    }

    /// Those batches of the waiting tasks that are held back, and why.
    pub(super) async fn held_back(
        &self,
        tasks: impl Iterator<Item = &Task>,
    ) -> Result<BTreeMap<BatchId, WaitReason>, store::Error> {
        let waiting = tasks.filter(|task| task.status() == TaskStatus::Queued);
        let batches: BTreeSet<BatchId> = waiting.map(|task| task.batch_id).collect();
        let read = batches.into_iter().map(|id| self.store.batch(id));
        let batches = futures::future::try_join_all(read).await?;
        let held = batches.into_iter().flatten();
        Ok(held
            .filter_map(|batch| Some((batch.id, batch.held_back()?)))
            .collect())
    }
}

/// The room left in a reply: results that do not fit are left out.
pub(super) struct Room<'a> {
    hub: &'a Hub,
    now: Timestamp,
    results: bool,
    left: usize,
}

impl<'a> Room<'a> {
    pub(super) fn new(hub: &'a Hub, now: Timestamp, results: bool) -> Self {
        Room {
            hub,
            now,
            results,
            left: MAX_REPLY,
        }
    }

    /// The task as it now stands, with as much of its result as fits.
    pub(super) fn task(&mut self, task: &Task, held: &BTreeMap<BatchId, WaitReason>) -> v1::Task {
        let view = convert::View {
            results: self.results,
            compacted: task.is_compacted(self.now),
            waiting: Due::of(task).and_then(|due| {
                let held = held.get(&task.batch_id).copied();
                self.hub.waiting(due, &task.spec.model, Some(held))
            }),
        };
        let mut told = convert::task_at(task, task.revision(), view);
        fit(&mut told, self.left);
        self.left = self.left.saturating_sub(told.encoded_len());
        told
    }
}

/// Leaves out of a task what does not fit into `room` bytes: the result's raw body first, then all of the result or what
/// there is in its place, then the attempts.
pub(super) fn fit(task: &mut v1::Task, room: usize) {
    if task.encoded_len() <= room {
        return;
    }
    if let Some(result) = &mut task.result {
        result.body.clear();
        task.result_omitted = true;
    }
    if task.encoded_len() > room {
        task.result = None;
        task.result_omitted |= !task.partial_output.is_empty();
        task.partial_output.clear();
    }
    if task.encoded_len() > room {
        task.attempts.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{TaskAttempt, TaskResult};

    fn task(text: usize, body: usize, attempts: usize) -> v1::Task {
        let attempt = TaskAttempt {
            worker: "w".repeat(100),
            ..TaskAttempt::default()
        };
        v1::Task {
            id: "id".into(),
            result: Some(TaskResult {
                text: "t".repeat(text),
                body: "b".repeat(body),
                ..TaskResult::default()
            }),
            attempts: vec![attempt; attempts],
            ..v1::Task::default()
        }
    }

    #[test]
    fn what_was_put_out_is_left_out_as_a_result_is() {
        let mut told = v1::Task {
            partial_output: "p".repeat(2_000),
            ..v1::Task::default()
        };
        fit(&mut told, 3_000);
        assert!(!told.result_omitted && !told.partial_output.is_empty());
        fit(&mut told, 1_000);
        assert!(told.result_omitted && told.partial_output.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_left_out_body_first_and_the_task_says_so() {
        for (text, body, attempts) in [(10, 5_000, 1), (5_000, 5_000, 1), (5_000, 10, 100)] {
            let mut told = task(text, body, attempts);
            fit(&mut told, 1_000);
            assert!(told.encoded_len() <= 1_000, "{text} {body} {attempts}");
            assert!(told.result_omitted);
            assert_eq!(told.result.is_some(), text == 10, "a short text is kept");
            assert_eq!(told.attempts.is_empty(), attempts == 100);
        }
    }

    #[test]
    fn what_fits_is_told_whole() {
        let mut told = task(10, 10, 2);
        fit(&mut told, 1_000);
        assert_eq!(told, task(10, 10, 2));
    }
}
