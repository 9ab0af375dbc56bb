//! WatchTask and WatchBatch.

use std::sync::Arc;

use futures::StreamExt as _;
use tonic::Status;

use super::{
    BoxStream, MAX_REPLY, Service, convert, error,
    status::fit,
    token,
    told::{Place, Told},
    validate,
};
use crate::{
    model::{BatchId, Due, Task},
    proto::{
        Encoded,
        v1::{
            self, Heartbeat, OutputDelta, TaskNotice, WatchBatchRequest, WatchBatchResponse,
            WatchTaskRequest, WatchTaskResponse, watch_batch_response, watch_task_response,
        },
    },
    store::Moved,
    watch::{
        Hub, Resume,
        batch::{self, Event as BatchEvent},
        task::{self, Event as TaskEvent},
    },
};

impl Service {
    pub(super) async fn follow_task(
        &self,
        request: WatchTaskRequest,
    ) -> Result<BoxStream<Encoded<WatchTaskResponse>>, Status> {
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
        let told = events.map(move |event| {
            event
                .map(|event| tell_task(&request.task_id, event))
                .map_err(refused)
        });
        Ok(Box::pin(told))
    }

    pub(super) async fn follow_batch(
        &self,
        request: WatchBatchRequest,
    ) -> Result<BoxStream<Encoded<WatchBatchResponse>>, Status> {
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
        let teller = Teller {
            batch: id,
            results: request.include_results,
            hub: self.hub.clone(),
            told: self.told.clone(),
        };
        let told = events.map(move |event| event.map(|it| teller.tell(it)).map_err(refused));
        Ok(Box::pin(told))
    }
}

/// The fields of a request that resumes a task's watch.
fn place_of_task(resume: Resume) -> String {
    let Resume { after, epoch } = resume;
    format!("after_revision={after},store_epoch={epoch}")
}

fn tell_task(id: &str, event: TaskEvent) -> Encoded<WatchTaskResponse> {
    let mut was_reset = false;
    let event = match event {
        TaskEvent::Moved {
            task,
            revision,
            compacted,
            reset,
            waiting,
        } => {
            was_reset = reset;
            let view = convert::View {
                results: true,
                compacted,
                waiting,
            };
            watch_task_response::Event::Task(convert::task_at(&task, revision, view))
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
    let mut told = WatchTaskResponse {
        event: Some(event),
        reset: was_reset,
    };
    let message = Encoded::from(&told);
    match &mut told.event {
        Some(watch_task_response::Event::Task(task)) if message.bytes().len() > MAX_REPLY => {
            fit(task, MAX_REPLY);
            Encoded::from(&told)
        }
        _ => message,
    }
}

/// Tells one watcher of a batch.
struct Teller {
    batch: BatchId,
    results: bool,
    hub: Arc<Hub>,
    told: Arc<Told>,
}

impl Teller {
    fn tell(&self, event: BatchEvent) -> Encoded<WatchBatchResponse> {
        let resume = event.resume();
        let (event, reset) = match event {
            BatchEvent::Moved {
                entry,
                task: Some(task),
                reset,
                shared,
                ..
            } => return self.tell_moved(&entry, &task, resume, reset, shared),
            BatchEvent::Moved { entry, reset, .. } => {
                let gone = removed(self.batch, &entry, resume.epoch);
                (watch_batch_response::Event::Task(gone), reset)
            }
            BatchEvent::Progress { batch, reset, .. } => {
                let progress = convert::batch_progress(&batch);
                (watch_batch_response::Event::Progress(progress), reset)
            }
            BatchEvent::Heartbeat { time, .. } => {
                let time = Some(convert::timestamp(time));
                let beat = watch_batch_response::Event::Heartbeat(Heartbeat { time });
                (beat, false)
            }
        };
        Encoded::from(&self.reply(event, resume, reset))
    }

    /// Tells a transition, in the bytes that others were told it in where there are others.
    fn tell_moved(
        &self,
        entry: &Moved,
        task: &Task,
        resume: Resume,
        reset: bool,
        shared: bool,
    ) -> Encoded<WatchBatchResponse> {
        let is_latest = entry.revision == task.revision();
        let due = Due::of(task).filter(|_| is_latest);
        let view = convert::View {
            results: self.results,
            compacted: task.is_compacted(self.hub.now()),
            waiting: due.and_then(|due| self.hub.waiting(due, &task.spec.model, None)),
        };
        let encode = || self.encode(entry, task, view, resume, reset);
        if reset || !shared {
            return encode();
        }
        let place = Place {
            batch: self.batch,
            resume,
            results: self.results,
            compacted: view.compacted,
            now: is_latest.then_some((view.waiting, task.progress)),
        };
        self.told.at(place, encode)
    }

    fn encode(
        &self,
        entry: &Moved,
        task: &Task,
        view: convert::View,
        resume: Resume,
        reset: bool,
    ) -> Encoded<WatchBatchResponse> {
        let told = convert::task_at(task, entry.revision, view);
        let mut reply = self.reply(watch_batch_response::Event::Task(told), resume, reset);
        let message = Encoded::from(&reply);
        match &mut reply.event {
            Some(watch_batch_response::Event::Task(task)) if message.bytes().len() > MAX_REPLY => {
                fit(task, MAX_REPLY);
                Encoded::from(&reply)
            }
            _ => message,
        }
    }

    fn reply(
        &self,
        event: watch_batch_response::Event,
        resume: Resume,
        reset: bool,
    ) -> WatchBatchResponse {
        WatchBatchResponse {
            event: Some(event),
            resume_token: token::resume(self.batch, resume),
            reset,
        }
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
