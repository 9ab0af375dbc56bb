//! The user's side: submits over gRPC in several calls at a time, and watches the batch to its end.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tidings::{
    model::{Status, TaskId},
    proto::v1::{
        FunctionCall, SubmitBatchRequest, Task, TaskSpec, WatchBatchRequest, WatchBatchResponse,
        task_service_client::TaskServiceClient, task_spec::Work, watch_batch_response::Event,
    },
};
use tokio::task::JoinHandle;
use tonic::{Streaming, transport::Channel};

use super::{Fallible, history::Seen};

/// A connection to a server.
pub(crate) type Client = TaskServiceClient<Channel>;

/// Tasks a call, where the payload lets so many in.
pub(crate) const PER_CALL: usize = 1_000;
/// Calls that may be under way at a time.
pub(crate) const CALLS_IN_FLIGHT: usize = 4;
/// Below the 4 MiB that a call may hold.
const BYTES_PER_CALL: usize = 3 << 20;
/// What a client reads at most in one message.
const MAX_MESSAGE: usize = 64 << 20;

/// What may be under way to a stream that is not read, and to its connection: the former is used up first.
const STREAM_WINDOW: u32 = (1 << 16) - 1;
const CONNECTION_WINDOW: u32 = 1 << 24;

/// Connects.
pub(crate) async fn connect(endpoint: &str) -> Fallible<Client> {
    let channel = Channel::from_shared(endpoint.to_owned())?.tcp_nodelay(true);
    let client = TaskServiceClient::new(channel.connect().await?);
    Ok(client.max_decoding_message_size(MAX_MESSAGE))
}

/// Connects in a way that lets a stream which is not read stop its sender soon.
pub(crate) async fn patient(endpoint: &str) -> Fallible<Client> {
    let channel = Channel::from_shared(endpoint.to_owned())?
        .initial_stream_window_size(Some(STREAM_WINDOW))
        .initial_connection_window_size(Some(CONNECTION_WINDOW));
    Ok(TaskServiceClient::new(channel.connect().await?))
}

/// What tasks do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// `debug.echo`, which returns at once, with arguments of so many bytes.
    Echo(usize),
    /// A prompt for the simulated upstream.
    Prompt,
}

impl Job {
    /// Its number, from which all that a task says follows.
    pub(crate) fn text(self, number: usize) -> String {
        let bytes = match self {
            // Two of them are the quotes that make it JSON.
            Job::Echo(bytes) => bytes.saturating_sub(2),
            Job::Prompt => 200,
        };
        let mut text = format!("{number:08}");
        text.extend(std::iter::repeat_n('x', bytes.saturating_sub(text.len())));
        text
    }

    /// The task with this number.
    pub(crate) fn spec(self, number: usize) -> TaskSpec {
        let text = self.text(number);
        let work = match self {
            Job::Echo(_) => Work::FunctionCall(FunctionCall {
                name: "debug.echo".into(),
                arguments: format!("\"{text}\""),
            }),
            Job::Prompt => Work::Prompt(text),
        };
        TaskSpec {
            work: Some(work),
            ..TaskSpec::default()
        }
    }

    /// How many of them go into one call.
    pub(crate) fn per_call(self) -> usize {
        match self {
            Job::Echo(bytes) => (BYTES_PER_CALL / (bytes + 100)).clamp(1, PER_CALL),
            Job::Prompt => PER_CALL,
        }
    }
}

/// One transition as the client keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// The transition.
    pub(crate) seen: Seen<TaskId>,
    /// The text of the result, where it brought one.
    pub(crate) text: Option<String>,
}

impl Told {
    /// Keeps what is checked later.
    pub(crate) fn of(task: Task) -> Fallible<Told> {
        let code = u8::try_from(task.status)?;
        let seen = Seen {
            task: task.id.parse()?,
            revision: task.revision,
            status: Status::from_code(code).ok_or("a status that is unknown")?,
            attempt: task.attempt,
        };
        let text = task.result.map(|result| result.text);
        Ok(Told { seen, text })
    }
}

/// What the client has seen of one batch.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// What was submitted.
    pub(crate) ids: Vec<String>,
    /// Every transition that was told, in that order. Checked once the clock has stopped.
    pub(crate) told: Vec<Told>,
    /// From the first call to the last transition.
    pub(crate) took: Duration,
    /// The same without the first call.
    pub(crate) rest_took: Duration,
}

/// Submits `count` tasks through all of `clients` in turns, and watches them to their end through the first.
pub(crate) async fn run(clients: &[Client], job: Job, count: usize) -> Fallible<Round> {
    Begun::new(clients, job, count).await?.finish(clients).await
}

/// A round of which one call is made and watched.
#[derive(Debug)]
pub(crate) struct Begun {
    /// The batch of all its tasks.
    pub(crate) batch: String,
    ids: Vec<String>,
    job: Job,
    /// The calls that follow.
    rest: Vec<Range<usize>>,
    watching: JoinHandle<Fallible<(Vec<Told>, Instant)>>,
    began: Instant,
}

impl Begun {
    /// Makes the first call through the first of `clients`, and watches its batch from there.
    pub(crate) async fn new(clients: &[Client], job: Job, count: usize) -> Fallible<Begun> {
        let began = Instant::now();
        let mut rest: Vec<_> = (0..count)
            .step_by(job.per_call())
            .map(|from| from..(from + job.per_call()).min(count))
            .collect();
        if rest.is_empty() {
            return Err("no tasks".into());
        }
        let first = rest.remove(0);
        let watcher = clients.first().ok_or("no client")?;
        let made = request(job, first, "", !rest.is_empty());
        let made = watcher.clone().submit_batch(made).await?.into_inner();
        let watching = tokio::spawn(watch(watcher.clone(), made.batch_id.clone(), count));
        Ok(Begun {
            batch: made.batch_id,
            ids: made.task_ids,
            job,
            rest,
            watching,
            began,
        })
    }

    /// Makes all other calls, and answers once the last transition is told.
    pub(crate) async fn finish(mut self, clients: &[Client]) -> Fallible<Round> {
        let rest_began = Instant::now();
        if let Some(last) = self.rest.pop() {
            let calls = self.rest.drain(..).zip(clients.iter().cycle());
            let (job, batch) = (self.job, &self.batch);
            let submits = calls.map(|(call, client)| {
                let (mut client, made) = (client.clone(), request(job, call, batch, true));
                async move { client.submit_batch(made).await }
            });
            let replies = stream::iter(submits).buffered(CALLS_IN_FLIGHT);
            let replies: Vec<_> = replies.try_collect().await?;
            let ids = replies.into_iter().map(|reply| reply.into_inner().task_ids);
            self.ids.extend(ids.flatten());
            let mut client = clients.first().ok_or("no client")?.clone();
            let closing = request(job, last, &self.batch, false);
            let closing = client.submit_batch(closing).await?.into_inner();
            self.ids.extend(closing.task_ids);
        }
        let (told, ended) = self.watching.await??;
        Ok(Round {
            ids: self.ids,
            told,
            took: ended - self.began,
            rest_took: ended.saturating_duration_since(rest_began),
        })
    }
}

fn request(job: Job, call: Range<usize>, batch: &str, keep_open: bool) -> SubmitBatchRequest {
    SubmitBatchRequest {
        tasks: call.map(|number| job.spec(number)).collect(),
        batch_id: batch.to_owned(),
        keep_open,
        ..SubmitBatchRequest::default()
    }
}

/// Every transition of the batch, and when the last one was told.
async fn watch(
    mut client: Client,
    batch_id: String,
    count: usize,
) -> Fallible<(Vec<Told>, Instant)> {
    let mut stream = client.watch_batch(whole(&batch_id)).await?.into_inner();
    let mut told = Vec::with_capacity(count * 3);
    let mut ended = Instant::now();
    while let Some(message) = stream.message().await? {
        if let Some(Event::Task(task)) = message.event {
            ended = Instant::now();
            told.push(Told::of(task)?);
        }
    }
    Ok((told, ended))
}

/// Opens so many streams of the batch, spread over `clients`.
pub(crate) async fn streams(
    clients: &[Client],
    batch: &str,
    count: usize,
) -> Fallible<Vec<Streaming<WatchBatchResponse>>> {
    let mut streams = Vec::with_capacity(count);
    for client in clients.iter().cycle().take(count) {
        let opened = client.clone().watch_batch(whole(batch)).await?;
        streams.push(opened.into_inner());
    }
    Ok(streams)
}

/// All of a batch, with its results.
fn whole(batch_id: &str) -> WatchBatchRequest {
    WatchBatchRequest {
        batch_id: batch_id.to_owned(),
        include_results: true,
        ..WatchBatchRequest::default()
    }
}
