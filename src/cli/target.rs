//! What a watch follows, and how far it has come: enough to open the stream again where it broke.

use futures::{StreamExt as _, stream::BoxStream};
use tonic::{Status, transport::Channel};

use super::told::Told;
use crate::proto::v1::{
    self, WatchBatchRequest, WatchTaskRequest, task_service_client::TaskServiceClient,
    watch_batch_response, watch_task_response,
};

/// The trailer in which a stream that ended early says where to resume.
const RESUME_TRAILER: &str = "tidings-resume";

/// What a stream told.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A task as it stood after a transition.
    Task(Box<v1::Task>),
    /// The counters of the batch.
    Progress(v1::BatchProgress),
    /// News of a task between transitions.
    Notice(v1::TaskNotice),
    /// A piece of a task's output, none of which was told before.
    Delta(v1::OutputDelta),
    /// The store lost writes: what was told before may be undone, and what follows is the truth.
    Reset,
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
        /// How much of its output was told; none when nobody asks for it.
        output: Option<Told>,
    },
}

/// One message of either stream.
enum Message {
    Batch(v1::WatchBatchResponse),
    Task(v1::WatchTaskResponse),
}

impl Message {
    fn is_reset(&self) -> bool {
        match self {
            Message::Batch(message) => message.reset,
            Message::Task(message) => message.reset,
        }
    }
}

/// Messages of either stream.
pub(super) struct Messages {
    stream: BoxStream<'static, Result<Message, Status>>,
    /// What came with a message besides what is told first.
    next: Option<Event>,
}

impl Messages {
    fn of(stream: BoxStream<'static, Result<Message, Status>>) -> Self {
        Messages { stream, next: None }
    }

    /// The next event; moves the target past it. None when the stream ended well.
    pub(super) async fn next(&mut self, target: &mut Target) -> Option<Result<Event, Status>> {
        if let Some(next) = self.next.take() {
            return Some(Ok(next));
        }
        let message = match self.stream.next().await? {
            Ok(message) => message,
            Err(status) => {
                target.resume_from(&status);
                return Some(Err(status));
            }
        };
        let is_reset = message.is_reset();
        let event = target.advance(message);
        let first = if is_reset {
            target.forget_output();
            Some(Event::Reset)
        } else {
            target.rest(&event).map(Event::Delta)
        };
        Some(Ok(match first {
            Some(first) => {
                self.next = Some(event);
                first
            }
            None => event,
        }))
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
            output: None,
        }
    }

    /// Asks for the output too, of a task.
    pub(super) fn with_output(mut self) -> Self {
        if let Target::Task { output, .. } = &mut self {
            *output = Some(Told::default());
        }
        self
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
        Ok(Messages::of(match self {
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
                output,
            } => client
                .watch_task(WatchTaskRequest {
                    task_id: id.clone(),
                    after_revision: *revision,
                    store_epoch: *epoch,
                    include_deltas: output.is_some(),
                })
                .await?
                .into_inner()
                .map(|message| message.map(Message::Task))
                .boxed(),
        }))
    }

    /// Takes over the epoch in which a task's stream has ended: it may be later than that of its last message. Of
    /// another revision it says nothing. A batch's last token says it all.
    fn resume_from(&mut self, status: &Status) {
        let Target::Task {
            revision, epoch, ..
        } = self
        else {
            return;
        };
        let place = status.metadata().get(RESUME_TRAILER);
        let Some(place) = place.and_then(|place| place.to_str().ok()) else {
            return;
        };
        let field = |name: &str| {
            let mut fields = place.split(',').filter_map(|field| field.split_once('='));
            let (_, value) = fields.find(|field| field.0 == name)?;
            value.parse::<u64>().ok()
        };
        if let Some(ended) =
            field("store_epoch").filter(|_| field("after_revision") == Some(*revision))
        {
            *epoch = ended;
        }
    }

    /// What was told of the output may be undone, and is told anew.
    fn forget_output(&mut self) {
        if let Target::Task { output, .. } = self {
            *output = output.map(|_| Told::default());
        }
    }

    /// What of a finished task's output was not told while it ran.
    fn rest(&mut self, event: &Event) -> Option<v1::OutputDelta> {
        let (
            Target::Task {
                output: Some(told), ..
            },
            Event::Task(task),
        ) = (self, event)
        else {
            return None;
        };
        let text = task.result.as_ref()?.text.clone();
        told.fresh(v1::OutputDelta {
            task_id: task.id.clone(),
            text,
            attempt: task.attempt,
            offset: 0,
        })
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
                Some(watch_task_response::Event::Delta(delta)) => match self {
                    Target::Task {
                        output: Some(told), ..
                    } => told.fresh(delta).map_or(Event::Alive, Event::Delta),
                    _ => Event::Alive,
                },
                Some(watch_task_response::Event::Heartbeat(_)) | None => Event::Alive,
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
                ..v1::WatchBatchResponse::default()
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

    #[test]
    fn a_task_goes_on_in_the_epoch_that_the_end_of_its_stream_says() {
        let mut task = Target::Task {
            id: "t".to_owned(),
            revision: 3,
            epoch: 1,
            output: None,
        };
        let mut end = |place: &'static str| {
            let mut status = Status::unavailable("the stream has lived its time");
            let place = tonic::metadata::MetadataValue::from_static(place);
            status.metadata_mut().insert(RESUME_TRAILER, place);
            task.resume_from(&status);
            task.resume_from(&Status::unavailable("gone"));
            match task {
                Target::Task {
                    revision, epoch, ..
                } => (revision, epoch),
                Target::Batch { .. } => unreachable!(),
            }
        };
        assert_eq!(end("after_revision=3,store_epoch=2,later=x"), (3, 2));
        assert_eq!(end("after_revision=4,store_epoch=5"), (3, 2));
        assert_eq!(end("nonsense"), (3, 2));
    }
}
