//! Many watches, each of a task of its own that waits for its time until it is cancelled.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tidings::{
    clock::{Clock as _, SystemClock},
    proto::v1::{
        CancelTasksRequest, TaskStatus, WatchTaskRequest, WatchTaskResponse,
        watch_task_response::Event,
    },
};
use tokio::{
    task::JoinHandle,
    time::{interval, timeout},
};
use tonic::Streaming;

use crate::{
    Fallible,
    client::{CALLS_IN_FLIGHT, Client, connect},
    scale,
    stage::Stage,
};

/// Streams of one connection: what a proxy of many users may hold.
const PER_CONNECTION: usize = 5_000;
/// Watches that are being opened at once on a connection.
const OPENING: usize = 64;
/// Tasks that one call cancels.
const PER_CALL: usize = 500;
/// After so long without news a watch has lost them.
const LOST_AFTER: Duration = Duration::from_secs(60);

/// Submits tasks that wait for their time, through the first server.
pub(super) async fn waiting(stage: &Stage, count: usize) -> Fallible<Vec<String>> {
    scale::wait(stage.clients().await?, count).await
}

/// A watch that has been told that its task is queued: answers how long after its transition it heard of the end, and
/// when.
type Watch = JoinHandle<Fallible<(f64, Instant)>>;

/// Open watches, and their tasks.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    watches: Vec<(String, Watch)>,
}

/// How soon a crowd heard.
#[derive(Debug)]
pub(super) struct Told {
    /// Milliseconds from each transition to its client.
    pub(super) millis: Vec<f64>,
    /// From the first cancellation until the last watch had heard of its own.
    pub(super) took: Duration,
}

impl Crowd {
    /// Opens a watch of each task, spread over all servers, and waits until all have been told the beginning.
    pub(super) async fn open(stage: &Stage, ids: Vec<String>) -> Fallible<Crowd> {
        let mut crowd = Crowd::default();
        let share = ids.len().div_ceil(stage.servers.len()).max(1);
        for (ids, server) in ids
            .chunks(share.min(PER_CONNECTION))
            .zip(stage.servers.iter().cycle())
        {
            let client = connect(&server.endpoint).await?;
            let opening = ids.iter().cloned().map(|id| open(client.clone(), id));
            let opened = stream::iter(opening).buffer_unordered(OPENING);
            crowd.watches.extend(opened.try_collect::<Vec<_>>().await?);
        }
        Ok(crowd)
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.watches.len()
    }

    /// Cancels the tasks of so many watches, so many a second or as fast as it goes, and waits until each has heard.
    pub(super) async fn tell(
        &mut self,
        stage: &Stage,
        count: usize,
        per_second: Option<usize>,
    ) -> Fallible<Told> {
        let watches: Vec<_> = self.watches.drain(..count).collect();
        let (ids, watches): (Vec<String>, Vec<Watch>) = watches.into_iter().unzip();
        let client = stage
            .clients()
            .await?
            .into_iter()
            .next()
            .ok_or("no server")?;
        let began = Instant::now();
        let calls = ids.chunks(PER_CALL).map(<[String]>::to_vec);
        match per_second {
            None => {
                let cancelling = stream::iter(calls.map(|ids| cancel(client.clone(), ids)));
                cancelling
                    .buffer_unordered(CALLS_IN_FLIGHT)
                    .try_for_each(|()| async { Ok(()) })
                    .await?;
            }
            Some(per_second) => {
                let mut turn =
                    interval(Duration::from_secs_f64(PER_CALL as f64 / per_second as f64));
                let mut cancelling = Vec::new();
                for ids in calls {
                    turn.tick().await;
                    cancelling.push(tokio::spawn(cancel(client.clone(), ids)));
                }
                for cancelled in cancelling {
                    cancelled.await??;
                }
            }
        }
        let (mut millis, mut took) = (Vec::with_capacity(count), Duration::ZERO);
        for watch in watches {
            let (late, heard) = timeout(LOST_AFTER, watch)
                .await
                .map_err(|_| "a watch was not told")???;
            millis.push(late);
            took = took.max(heard - began);
        }
        Ok(Told { millis, took })
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for (_, watch) in &self.watches {
            watch.abort();
        }
    }
}

async fn open(mut client: Client, task_id: String) -> Fallible<(String, Watch)> {
    let request = WatchTaskRequest {
        task_id: task_id.clone(),
        ..WatchTaskRequest::default()
    };
    let mut stream = client.watch_task(request).await?.into_inner();
    expect(&mut stream, 1, TaskStatus::Queued).await?;
    Ok((task_id, tokio::spawn(end(stream))))
}

/// Waits for the end of the task, and of the stream.
async fn end(mut stream: Streaming<WatchTaskResponse>) -> Fallible<(f64, Instant)> {
    let late = expect(&mut stream, 2, TaskStatus::Cancelled).await?;
    let heard = Instant::now();
    match stream.message().await? {
        None => Ok((late, heard)),
        Some(_) => Err("a watch was told more than the end".into()),
    }
}

/// The next transition, which has to be this one. Answers how many milliseconds ago it was.
async fn expect(
    stream: &mut Streaming<WatchTaskResponse>,
    revision: u64,
    status: TaskStatus,
) -> Fallible<f64> {
    let task = loop {
        let message = stream.message().await?.ok_or("a watch ended early")?;
        if let Some(Event::Task(task)) = message.event {
            break task;
        }
    };
    let now = SystemClock.now();
    if (task.revision, task.status()) != (revision, status) {
        return Err(format!("revision {} in the place of {revision}", task.revision).into());
    }
    let at = task.transition_time.ok_or("a transition without a time")?;
    let at = at.seconds * 1_000 + i64::from(at.nanos) / 1_000_000;
    Ok((now.0 - at) as f64)
}

async fn cancel(mut client: Client, task_ids: Vec<String>) -> Fallible<()> {
    let count = task_ids.len() as u64;
    let request = CancelTasksRequest {
        task_ids,
        ..CancelTasksRequest::default()
    };
    let reply = client.cancel_tasks(request).await?.into_inner();
    if reply.cancelled_count != count {
        return Err(format!("{} of {count} tasks were cancelled", reply.cancelled_count).into());
    }
    Ok(())
}
