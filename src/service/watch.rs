//! WatchTask and WatchBatch.

use std::sync::Arc;

use futures::StreamExt as _;
use tonic::Status;

use super::{BoxStream, MAX_REPLY, Service, convert, error, status::fit, token, validate};
use crate::{
    model::BatchId,
    proto::v1::{
        self, Heartbeat, OutputDelta, TaskNotice, WatchBatchRequest, WatchBatchResponse,
        WatchTaskRequest, WatchTaskResponse, watch_batch_response, watch_task_response,
    },
    store::{Moved, Store},
    watch::{
        Resume,
        batch::{self, Event as BatchEvent},
        task::{self, Event as TaskEvent},
    },
};

impl Service {
    pub(super) async fn follow_task(
        &self,
        request: WatchTaskRequest,
    ) -> Result<BoxStream<WatchTaskResponse>, Status> {
        let id = validate::task_id("task_id", &request.task_id)?;
        let resume = Resume {
            after: request.after_revision,
            epoch: u32::try_from(request.store_epoch)
                .map_err(|_| error::invalid_field("store_epoch", "no epoch is that large"))?,
        };
        let refused = |error| error::from_watch(error, place_of_task);
        let hub = self.hub.clone();
        let events = if request.include_deltas {
            let events = task::watch_output(hub, id, resume).await;
            events.map_err(refused)?.boxed()
        } else {
            task::watch(hub, id, resume).await.map_err(refused)?.boxed()
        };
        let store = self.store.clone();
        let told = events.map(move |event| {
            event
                .map(|event| tell_task(&request.task_id, event, store.as_ref()))
                .map_err(refused)
        });
        Ok(Box::pin(told))
    }

    pub(super) async fn follow_batch(
        &self,
        request: WatchBatchRequest,
    ) -> Result<BoxStream<WatchBatchResponse>, Status> {
        let id = validate::batch_id(&request.batch_id)?;
        let resume = match request.resume_token.as_str() {
            "" => Resume::default(),
            text => token::resumed(id, text).ok_or_else(|| {
                error::invalid_field(
                    "resume_token",
                    "not a token of this batch's watch; pass the last one received, or none",
                )
            })?,
        };
        let refused = move |error| error::from_watch(error, |resume| token::resume(id, resume));
        let events = batch::watch(self.hub.clone(), id, resume)
            .await
            .map_err(refused)?;
        let store = self.store.clone();
        let told = events.map(move |event| {
            event
                .map(|event| tell_batch(id, event, request.include_results, &store))
                .map_err(refused)
        });
        Ok(Box::pin(told))
    }
}

/// The fields of a request that resumes a task's watch.
fn place_of_task(resume: Resume) -> String {
    let Resume { after, epoch } = resume;
    format!("after_revision={after},store_epoch={epoch}")
}

fn tell_task(id: &str, event: TaskEvent, store: &dyn Store) -> WatchTaskResponse {
    let mut was_reset = false;
    let event = match event {
        TaskEvent::Moved {
            task,
            revision,
            compacted,
            reset,
        } => {
            was_reset = reset;
            let view = convert::View {
                now: store.now(),
                results: true,
                compacted,
                held: None,
            };
            let mut told = convert::task_at(&task, revision, view);
            fit(&mut told, MAX_REPLY);
            watch_task_response::Event::Task(told)
        }
        TaskEvent::Noted { progress } => watch_task_response::Event::Notice(TaskNotice {
            task_id: id.to_owned(),
            progress_percent: u32::from(progress),
            ..TaskNotice::default()
        }),
        TaskEvent::Waits { waiting } => {
            let (wait_reason, wait_until) = convert::wait(waiting);
            watch_task_response::Event::Notice(TaskNotice {
                task_id: id.to_owned(),
                wait_reason,
                wait_until,
                ..TaskNotice::default()
            })
        }
        TaskEvent::Said {
            attempt,
            offset,
            text,
        } => watch_task_response::Event::Delta(OutputDelta {
            task_id: id.to_owned(),
            text,
            attempt,
            offset,
        }),
        TaskEvent::Heartbeat { time } => watch_task_response::Event::Heartbeat(Heartbeat {
            time: Some(convert::timestamp(time)),
        }),
    };
    WatchTaskResponse {
        event: Some(event),
        reset: was_reset,
    }
}

fn tell_batch(
    id: BatchId,
    event: BatchEvent,
    results: bool,
    store: &Arc<dyn Store>,
) -> WatchBatchResponse {
    let resume = event.resume();
    let mut was_reset = false;
    let event = match event {
        BatchEvent::Moved {
            entry, task, reset, ..
        } => {
            was_reset = reset;
            let told = match task {
                Some(task) => {
                    let view = convert::View {
                        now: store.now(),
                        results,
                        compacted: task.is_compacted(store.now()),
                        held: None,
                    };
                    let mut told = convert::task_at(&task, entry.revision, view);
                    fit(&mut told, MAX_REPLY);
                    told
                }
                None => removed(id, &entry, resume.epoch),
            };
            watch_batch_response::Event::Task(told)
        }
        BatchEvent::Progress { batch, reset, .. } => {
            was_reset = reset;
            watch_batch_response::Event::Progress(convert::batch_progress(&batch))
        }
        BatchEvent::Heartbeat { time, .. } => {
            let time = Some(convert::timestamp(time));
            watch_batch_response::Event::Heartbeat(Heartbeat { time })
        }
    };
    WatchBatchResponse {
        event: Some(event),
        resume_token: token::resume(id, resume),
        reset: was_reset,
    }
}

/// What the log still knows of a task that is past its retention.
fn removed(batch: BatchId, entry: &Moved, epoch: u32) -> v1::Task {
    v1::Task {
        id: entry.task.to_string(),
        batch_id: batch.to_string(),
        status: entry.status as i32,
        revision: entry.revision,
        store_epoch: u64::from(epoch),
        compacted: true,
        ..v1::Task::default()
    }
}
