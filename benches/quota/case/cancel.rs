//! Cancelling: a thousand running tasks, from a replica that runs none of them.

use std::time::Duration;

use tidings::{
    clock::{Clock as _, SystemClock, Timestamp},
    proto::v1::{CancelTasksRequest, TaskOptions},
    simulator::{self, CallRecord, Ended, Latency},
};
use tokio::time::{sleep, timeout};

use crate::{
    client::{Batch, connect},
    judge::percentile,
    process::{Redis, Server, Setup},
    report::{Finding, Outcome, Stop},
    stage::{Bench, key_of, prompts, upstream},
};

/// As many as one call may name.
const TASKS: usize = 1_000;

/// The whole case.
pub(crate) async fn elsewhere(bench: Bench) -> Outcome {
    let name = "cancel";
    let folder = bench.folder_of(name)?;
    let asleep = simulator::Config {
        latency: Latency::Fixed(Duration::from_secs(3_600)),
        ..simulator::Config::default()
    };
    let upstream = upstream(&folder, "calls", asleep).await?;
    let redis = Redis::start(&folder)?;
    let start = |name: &str, concurrency| {
        Server::start(&Setup {
            folder: &folder,
            name,
            store: &redis.url,
            key: &key_of("cancel"),
            config: "plain.toml",
            words: &[("@UPSTREAM@", upstream.base_url())],
            concurrency,
        })
    };
    let running = start("running", TASKS)?;
    let mut client = connect(&running.endpoint).await?;
    let mut batch = Batch::default();
    let specs = prompts(name, TASKS);
    batch
        .add(&mut client, specs, &TaskOptions::default(), false)
        .await?;
    until("all tasks run", || upstream.open_calls() == TASKS).await?;
    let other = start("other", 1)?;
    let mut client = connect(&other.endpoint).await?;
    let request = CancelTasksRequest {
        task_ids: batch.tasks.iter().map(|(id, _)| id.clone()).collect(),
        ..CancelTasksRequest::default()
    };
    let asked = SystemClock.now();
    let cancelled = client
        .cancel_tasks(request)
        .await?
        .into_inner()
        .cancelled_count;
    let answered = SystemClock.now().since(asked).as_millis();
    let closed = until("all sockets are closed", || upstream.open_calls() == 0).await;
    let mut findings = judge(&upstream.calls(), asked, closed.is_ok());
    findings.push(Finding::check(
        format!("{cancelled} cancelled, answered after {answered} ms"),
        cancelled == TASKS as u64,
    ));
    Ok(findings)
}

/// How long after it was asked for each socket was closed.
fn judge(calls: &[CallRecord], asked: Timestamp, all_closed: bool) -> Vec<Finding> {
    let hung_up = calls.iter().filter(|call| call.ended == Ended::HungUp);
    let mut times: Vec<f64> = hung_up
        .map(|call| call.time_out.since(asked).as_secs_f64() * 1000.0)
        .collect();
    let p99 = percentile(&mut times, 0.99);
    let text = format!(
        "sockets closed after p50 {:.0} ms, p99 {p99:.0} ms, at most {:.0} ms",
        percentile(&mut times, 0.5),
        percentile(&mut times, 1.0)
    );
    let closed = times.len();
    vec![
        Finding::check(text, p99 <= 200.0),
        Finding::check(
            format!("{closed} of {TASKS} sockets closed"),
            all_closed && closed == TASKS,
        ),
    ]
}

async fn until(what: &str, is_so: impl Fn() -> bool) -> Result<(), Stop> {
    let wait = async {
        while !is_so() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = timeout(Duration::from_secs(120), wait).await;
    waited.map_err(|_| Stop::Broken(format!("in vain waited until {what}")))
}
