//! What a watch follows, and how far it has come: enough to open the stream again where it broke.

use futures::{StreamExt as _, stream::BoxStream};
use tonic::{Status, transport::Channel};

use crate::proto::v1::{
    self, WatchBatchRequest, WatchTaskRequest, task_service_client::TaskServiceClient,
    watch_batch_response, watch_task_response,
};

/// What a stream told.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A task as it stood after a transition.
    Task(Box<v1::Task>),
    /// The counters of the batch.
    Progress(v1::BatchProgress),
    /// News of a task between transitions.
    Notice(v1::TaskNotice),
    /// Only a sign of life.
    Alive,
}

/// What is followed, and the place to go on from.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// A batch, after the message with this token.
    Batch {
        /// Its id.
        id: String,
        /// Empty at the start.
        resume_token: String,
    },
    /// A task, after this revision.
    Task {
        /// Its id.
        id: String,
        /// 0 at the start.
        revision: u64,
        /// The epoch of that revision.
        epoch: u64,
    },
}

/// One message of either stream.
enum Message {
    Batch(v1::WatchBatchResponse),
    Task(v1::WatchTaskResponse),
}

/// Messages of either stream.
pub(super) struct Messages(BoxStream<'static, Result<Message, Status>>);

impl Messages {
    /// The next event; moves the target past it. None when the stream ended well.
    pub(super) async fn next(&mut self, target: &mut Target) -> Option<Result<Event, Status>> {
        let message = self.0.next().await?;
        Some(message.map(|message| target.advance(message)))
    }
}

impl Target {
    /// A batch from its start.
    pub(super) fn batch(id: &str) -> Self {
        Target::Batch {
            id: id.to_owned(),
            resume_token: String::new(),
        }
    }

    /// A task from its start.
    pub(super) fn task(id: &str) -> Self {
        Target::Task {
            id: id.to_owned(),
            revision: 0,
            epoch: 0,
        }
    }

    /// The id.
    pub(super) fn id(&self) -> &str {
        match self {
            Target::Batch { id, .. } | Target::Task { id, .. } => id,
        }
    }

    /// Opens a stream that goes on where this target is.
    pub(super) async fn open(
        &self,
        mut client: TaskServiceClient<Channel>,
        include_results: bool,
    ) -> Result<Messages, Status> {
        Ok(Messages(match self {
            Target::Batch { id, resume_token } => client
                .watch_batch(WatchBatchRequest {
                    batch_id: id.clone(),
                    resume_token: resume_token.clone(),
                    include_results,
                })
                .await?
                .into_inner()
                .map(|message| message.map(Message::Batch))
                .boxed(),
            Target::Task {
                id,
                revision,
                epoch,
            } => client
                .watch_task(WatchTaskRequest {
                    task_id: id.clone(),
                    after_revision: *revision,
                    store_epoch: *epoch,
                    include_deltas: false,
                })
                .await?
                .into_inner()
                .map(|message| message.map(Message::Task))
                .boxed(),
        }))
    }

    fn advance(&mut self, message: Message) -> Event {
        match message {
            Message::Batch(message) => {
                if let Target::Batch { resume_token, .. } = self
                    && !message.resume_token.is_empty()
                {
                    *resume_token = message.resume_token;
                }
                match message.event {
                    Some(watch_batch_response::Event::Task(task)) => Event::Task(Box::new(task)),
                    Some(watch_batch_response::Event::Progress(now)) => Event::Progress(now),
                    Some(watch_batch_response::Event::Heartbeat(_)) | None => Event::Alive,
                }
            }
            Message::Task(message) => match message.event {
                Some(watch_task_response::Event::Task(task)) => {
                    if let Target::Task {
                        revision, epoch, ..
                    } = self
                    {
                        *revision = task.revision;
                        *epoch = task.store_epoch;
                    }
                    Event::Task(Box::new(task))
                }
                Some(watch_task_response::Event::Notice(notice)) => Event::Notice(notice),
                Some(
                    watch_task_response::Event::Delta(_) | watch_task_response::Event::Heartbeat(_),
                )
                | None => Event::Alive,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_goes_on_after_the_last_message() {
        let mut batch = Target::batch("b");
        for token in ["t1", ""] {
            batch.advance(Message::Batch(v1::WatchBatchResponse {
                resume_token: token.to_owned(),
                event: None,
            }));
        }
        assert!(matches!(batch, Target::Batch { resume_token, .. } if resume_token == "t1"));

        let mut task = Target::task("t");
        let event = watch_task_response::Event::Task(v1::Task {
            revision: 2,
            store_epoch: 7,
            ..v1::Task::default()
        });
        task.advance(Message::Task(v1::WatchTaskResponse {
            event: Some(event),
            reset: false,
        }));
        assert!(matches!(
            task,
            Target::Task {
                revision: 2,
                epoch: 7,
                ..
            }
        ));
    }
}
