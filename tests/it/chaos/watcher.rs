//! A client that follows a task or a batch to its end, on whatever replica there is.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tidings::{
    model::{Status, TaskId},
    proto::v1::{
        Task, WatchBatchRequest, WatchTaskRequest, watch_batch_response, watch_task_response,
    },
};
use tokio::time::{sleep, timeout};
use tonic::{Code, Streaming};
use tonic_types::StatusExt as _;

use super::fleet::now;
use crate::support::{
    checker::{Gone, Millis, Told, Watched, millis},
    history::Seen,
    server::Client,
};

/// A stream that has not begun by then is tried elsewhere.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Before a watcher comes back, unless it was told to wait longer; drawn anew each time, up to twice this.
const PAUSE: Duration = Duration::from_millis(50);

/// What a watcher asks for.
pub(super) enum Asked {
    /// One task.
    Task(TaskId),
    /// A batch, which holds these.
    Batch(String, BTreeSet<TaskId>),
}

/// Connections to every replica that some watchers share.
#[derive(Clone)]
pub(super) struct Clients(Arc<Vec<Client>>);

impl Clients {
    pub(super) fn new(clients: Vec<Client>) -> Self {
        Clients(Arc::new(clients))
    }
}

/// One message of either kind of stream.
struct Message {
    task: Option<Task>,
    token: Option<String>,
    reset: bool,
}

enum Stream {
    Task(Streaming<tidings::proto::v1::WatchTaskResponse>),
    Batch(Streaming<tidings::proto::v1::WatchBatchResponse>),
}

/// Where a watcher is.
#[derive(Default)]
struct Place {
    revision: u64,
    epoch: u64,
    token: String,
    /// A reset came with a message that tells of no task: it belongs to the next that does.
    owes_reset: bool,
}

/// Follows to the end. After every break it resumes on the next replica with what it was told last.
pub(super) async fn follow(
    asked: Asked,
    clients: Clients,
    home: usize,
    open: Arc<Mutex<usize>>,
) -> Watched {
    let mut watched = Watched {
        asked: match &asked {
            Asked::Task(id) => BTreeSet::from([*id]),
            Asked::Batch(_, ids) => ids.clone(),
        },
        ..Watched::default()
    };
    let mut place = Place::default();
    for attempt in home.. {
        let by = attempt % clients.0.len();
        let begun = begin(&asked, &place, clients.0[by].clone());
        let broken = match timeout(ANSWER_WITHIN, begun).await {
            Ok(Ok(stream)) => {
                *open.lock() += 1;
                let since = now();
                if attempt > home {
                    watched.resumed.push(since);
                }
                let ended = listen(stream, &mut place, &mut watched, by, since).await;
                *open.lock() -= 1;
                ended
            }
            Ok(Err(status)) => Err(status),
            Err(_late) => Err(tonic::Status::unavailable("no answer in time")),
        };
        let Err(status) = broken else {
            watched.is_over = true;
            return watched;
        };
        if status.code() == Code::NotFound {
            // Accepted and gone: the checker says so, and nobody has to wait for it.
            watched.gone = Some(gone(&status));
            return watched;
        }
        if status.code() == Code::OutOfRange {
            // Told less than before, and not why: the checker says so.
            watched.refused += 1;
            place = Place::default();
        }
        sleep(pause(&status)).await;
    }
    watched
}

async fn begin(asked: &Asked, place: &Place, mut client: Client) -> Result<Stream, tonic::Status> {
    Ok(match asked {
        Asked::Task(id) => {
            let request = WatchTaskRequest {
                task_id: id.to_string(),
                after_revision: place.revision,
                store_epoch: place.epoch,
                include_deltas: false,
            };
            Stream::Task(client.watch_task(request).await?.into_inner())
        }
        Asked::Batch(id, _) => {
            let request = WatchBatchRequest {
                batch_id: id.clone(),
                resume_token: place.token.clone(),
                include_results: true,
            };
            Stream::Batch(client.watch_batch(request).await?.into_inner())
        }
    })
}

async fn listen(
    mut stream: Stream,
    place: &mut Place,
    watched: &mut Watched,
    by: usize,
    since: Millis,
) -> Result<(), tonic::Status> {
    while let Some(message) = stream.next().await? {
        if let Some(token) = message.token {
            place.token = token;
        }
        watched.resets += usize::from(message.reset);
        place.owes_reset |= message.reset;
        if let Some(task) = message.task {
            place.revision = task.revision;
            place.epoch = task.store_epoch;
            let reset = std::mem::take(&mut place.owes_reset);
            watched.told.push(Told {
                reset,
                ..told(task, by, since)
            });
        }
    }
    Ok(())
}

impl Stream {
    async fn next(&mut self) -> Result<Option<Message>, tonic::Status> {
        Ok(match self {
            Stream::Task(stream) => stream.message().await?.map(|message| Message {
                reset: message.reset,
                token: None,
                task: match message.event {
                    Some(watch_task_response::Event::Task(task)) => Some(task),
                    _ => None,
                },
            }),
            Stream::Batch(stream) => stream.message().await?.map(|message| Message {
                reset: message.reset,
                token: Some(message.resume_token),
                task: match message.event {
                    Some(watch_batch_response::Event::Task(task)) => Some(task),
                    _ => None,
                },
            }),
        })
    }
}

fn told(task: Task, by: usize, since: Millis) -> Told {
    Told {
        seen: seen(&task),
        happened: millis(task.transition_time.as_ref()).unwrap(),
        arrived: now(),
        by,
        since,
        epoch: task.store_epoch,
        reset: false,
        body: task.result.map(|result| result.body),
    }
}

/// Whether it was told why there is nothing to watch.
fn gone(status: &tonic::Status) -> Gone {
    let info = status.get_error_details().error_info().cloned();
    match info {
        Some(info) if info.reason == "DATA_LOSS" => Gone::Lost,
        _ => Gone::Unknown,
    }
}

/// What a history needs to know of a task as it was told.
pub(super) fn seen(task: &Task) -> Seen<TaskId> {
    Seen {
        task: task.id.parse().unwrap(),
        revision: task.revision,
        status: Status::from_code(u8::try_from(task.status).unwrap()).unwrap(),
        attempt: task.attempt,
    }
}

/// What the server asked for, and never at once: those who were cut off together must not come back together.
fn pause(status: &tonic::Status) -> Duration {
    let told = status.get_error_details().retry_info().cloned();
    let told = told.and_then(|info| info.retry_delay).unwrap_or_default();
    told.max(PAUSE).mul_f64(1.0 + rand::random::<f64>())
}
