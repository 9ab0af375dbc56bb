//! W2: one task at a time on an idle system, from the submit until the client knows the result.

use std::time::{Duration, Instant};

use tidings::proto::v1::{
    SubmitBatchRequest, Task, WatchBatchRequest, WatchTaskRequest, WatchTaskResponse,
    watch_batch_response, watch_task_response,
};
use tokio::{sync::mpsc, time::timeout};
use tonic::Streaming;

use super::{
    Bench, Fallible,
    check::is_right,
    client::{Client, Job, Told},
    process::Setup,
    report::{Report, percentile},
    stage::{Kind, Stage},
    throughput::PAYLOAD,
};

/// Tasks a round.
const TASKS: usize = 2_000;
/// Before those that count.
const WARM_UP: usize = 50;
/// After so long without an answer a task is lost.
const LOST_AFTER: Duration = Duration::from_secs(30);
/// The name in the tables.
const W2: &str = "W2";
const JOB: Job = Job::Echo(PAYLOAD);

/// Measures every store, in both ways of hearing.
pub(crate) async fn measure(bench: &Bench, report: &mut Report) {
    for kind in bench.chosen(Kind::ALL) {
        let outcome = by_batch(bench, report, kind).await;
        report.hold(W2, kind.name(), outcome);
        let case = format!("{}, a watch each", kind.name());
        let outcome = by_task(bench, report, kind, &case).await;
        report.hold(W2, &case, outcome);
    }
}

/// Every task goes into one open batch, which is watched throughout.
async fn by_batch(bench: &Bench, report: &mut Report, kind: Kind) -> Fallible<()> {
    let stage = Stage::start(&bench.folder, kind, 1, Setup::default())?;
    let mut client = only(stage.clients().await?)?;
    let first = client.submit_batch(request(0, "")).await?.into_inner();
    let mut ends = ends(client.clone(), first.batch_id.clone()).await?;
    told(&mut ends, &first.task_ids, 0).await?;
    let count = bench.scaled(TASKS);
    let (mut half, mut most) = (Vec::new(), Vec::new());
    let mut number = 1;
    for _ in 0..bench.rounds {
        let mut millis = Vec::with_capacity(count);
        for nth in 0..WARM_UP + count {
            let began = Instant::now();
            let reply = client
                .submit_batch(request(number, &first.batch_id))
                .await?;
            told(&mut ends, &reply.into_inner().task_ids, number).await?;
            if nth >= WARM_UP {
                millis.push(began.elapsed().as_secs_f64() * 1e3);
            }
            number += 1;
        }
        half.extend(percentile(&millis, 0.5));
        most.extend(percentile(&millis, 0.99));
    }
    report.add(W2, kind.name(), "p50 ms", half);
    report.add(W2, kind.name(), "p99 ms", most);
    Ok(())
}

/// Every task is a batch of its own, watched once it is submitted.
async fn by_task(bench: &Bench, report: &mut Report, kind: Kind, case: &str) -> Fallible<()> {
    let stage = Stage::start(&bench.folder, kind, 1, Setup::default())?;
    let mut client = only(stage.clients().await?)?;
    let count = bench.scaled(TASKS);
    let (mut half, mut most) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let mut millis = Vec::with_capacity(count);
        for number in 0..WARM_UP + count {
            let began = Instant::now();
            let lone = SubmitBatchRequest {
                keep_open: false,
                ..request(number, "")
            };
            let reply = client.submit_batch(lone).await?.into_inner();
            let mut rest = watched(&mut client, reply.task_ids, number).await?;
            if number >= WARM_UP {
                millis.push(began.elapsed().as_secs_f64() * 1e3);
            }
            // HTTP/2 gives a connection up on which too many streams are cut off.
            while rest.message().await?.is_some() {}
        }
        half.extend(percentile(&millis, 0.5));
        most.extend(percentile(&millis, 0.99));
    }
    report.add(W2, case, "p50 ms", half);
    report.add(W2, case, "p99 ms", most);
    Ok(())
}

fn only(clients: Vec<Client>) -> Fallible<Client> {
    clients.into_iter().next().ok_or_else(|| "no server".into())
}

fn request(number: usize, batch_id: &str) -> SubmitBatchRequest {
    SubmitBatchRequest {
        tasks: vec![JOB.spec(number)],
        batch_id: batch_id.to_owned(),
        keep_open: true,
        ..SubmitBatchRequest::default()
    }
}

/// The tasks of a batch as they end. Fails in the other end's place when a history has a gap or a repeat.
async fn ends(mut client: Client, batch_id: String) -> Fallible<mpsc::UnboundedReceiver<Task>> {
    let request = WatchBatchRequest {
        batch_id,
        include_results: true,
        ..WatchBatchRequest::default()
    };
    let mut stream = client.watch_batch(request).await?.into_inner();
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut revision = 0;
        // One task at a time: the revisions of all of them are 1, 2, 3, 1, 2, 3 and so on.
        while let Ok(Some(message)) = stream.message().await {
            let Some(watch_batch_response::Event::Task(task)) = message.event else {
                continue;
            };
            revision = revision % 3 + 1;
            let is_lawful = task.revision == revision;
            if !is_lawful || (revision == 3 && sender.send(task).is_err()) {
                return;
            }
        }
    });
    Ok(receiver)
}

async fn told(
    ends: &mut mpsc::UnboundedReceiver<Task>,
    ids: &[String],
    number: usize,
) -> Fallible<()> {
    let task = timeout(LOST_AFTER, ends.recv()).await;
    let task = task
        .map_err(|_| "1 lost")?
        .ok_or("the watch ended, or a history has a gap or a repeat")?;
    let is_it = ids == [task.id.as_str()];
    if !is_it || !is_right(&Told::of(task)?, JOB, number) {
        return Err("a task was told twice, or with a wrong answer".into());
    }
    Ok(())
}

/// Watches a task until its result is known. The stream is to be read to its end.
async fn watched(
    client: &mut Client,
    ids: Vec<String>,
    number: usize,
) -> Fallible<Streaming<WatchTaskResponse>> {
    let task_id = ids.into_iter().next().ok_or("no id")?;
    let request = WatchTaskRequest {
        task_id,
        ..WatchTaskRequest::default()
    };
    let mut stream = client.watch_task(request).await?.into_inner();
    for revision in 1..=3 {
        let task = loop {
            let message = timeout(LOST_AFTER, stream.message()).await;
            let message = message
                .map_err(|_| "1 lost")??
                .ok_or("a watch ended early")?;
            if let Some(watch_task_response::Event::Task(task)) = message.event {
                break task;
            }
        };
        if task.revision != revision {
            return Err(
                format!("revision {} came in the place of {revision}", task.revision).into(),
            );
        }
        if revision == 3 && !is_right(&Told::of(task)?, JOB, number) {
            return Err("a wrong answer".into());
        }
    }
    Ok(stream)
}
