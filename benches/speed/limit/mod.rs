//! What the machine and Redis could do at best, in the same run: what W1 is measured against.

mod drive;
mod echo;
mod record;
mod replay;
mod resp;

use std::{process::Command, time::Duration};

use super::{
    Bench, Fallible,
    disk::Probe,
    process::{Redis, echo_server},
    report::{Report, percentile},
};
use record::Recorder;

pub(crate) use echo::serve;

/// Tasks a round of the scripts: as many as W1 has.
const TASKS: usize = 50_000;
/// Tasks a call: what a worker of the usual concurrency takes and commits at a time, and the most that a submit holds.
const PER_CALL: [(&str, usize); 2] = [
    ("scripts bare, 256 a call", 256),
    ("scripts bare, 1,000 a call", 1_000),
];
/// What W2 is measured against: its calls, each sent once the one before is answered.
const ONE_BY_ONE: &str = "scripts bare, one task at a time";
/// Tasks, and messages, a round that come one by one: as many as W2 has.
const ALONE: usize = 2_000;
/// Messages a round of the echo stream.
const MESSAGES: usize = 500_000;
/// Commands of redis-benchmark.
const COMMANDS: usize = 1_000_000;
/// How long the disk is looked at.
const DISK: Duration = Duration::from_secs(10);
/// The name in the tables.
const LIMIT: &str = "limit";

/// Measures all of them.
pub(crate) async fn measure(bench: &Bench, report: &mut Report) {
    for (case, per_call) in PER_CALL {
        let outcome = scripts(bench, report, case, per_call).await;
        report.hold(LIMIT, case, outcome);
    }
    let outcome = alone(bench, report, ONE_BY_ONE).await;
    report.hold(LIMIT, ONE_BY_ONE, outcome);
    let outcome = echoes(bench, report).await;
    report.hold(LIMIT, "tonic echo", outcome);
    let outcome = hset(bench, report);
    report.hold(LIMIT, "redis-benchmark", outcome);
    let case = "fsync of 4 KiB every 20 ms";
    let outcome = disk(bench, report, case).await;
    report.hold(LIMIT, case, outcome);
}

/// The very calls of submit, acquire and commit that the store makes for so many tasks.
async fn recorded(bench: &Bench, count: usize, per_call: usize) -> Fallible<replay::Calls> {
    let folder = tempfile::tempdir_in(&bench.folder)?;
    let redis = Redis::start(folder.path(), false)?;
    let recorder = Recorder::start(redis.port).await?;
    drive::drive(&recorder.url(), count, per_call).await?;
    replay::Calls::of(recorder.recorded())
}

/// They once more, over one pipelined connection.
async fn scripts(bench: &Bench, report: &mut Report, case: &str, per_call: usize) -> Fallible<()> {
    let count = bench.scaled(TASKS);
    let calls = recorded(bench, count, per_call).await?;
    let folder = tempfile::tempdir_in(&bench.folder)?;
    let (mut rates, mut in_scripts, mut in_all) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        // Empty each time: the calls make the same tasks.
        let redis = Redis::start(folder.path(), false)?;
        let calls = calls.clone();
        let replayed = tokio::task::spawn_blocking(move || calls.replay(&redis, count)).await??;
        rates.push(count as f64 / replayed.took.as_secs_f64());
        in_scripts.push(replayed.script_micros / count as f64);
        in_all.push(replayed.cpu_seconds * 1e6 / count as f64);
    }
    report.add(LIMIT, case, "tasks/s", rates);
    report.add(
        LIMIT,
        case,
        "µs a task in scripts (commandstats)",
        in_scripts,
    );
    report.add(LIMIT, case, "Redis CPU µs a task", in_all);
    Ok(())
}

/// They once more, for one task after the other.
async fn alone(bench: &Bench, report: &mut Report, case: &str) -> Fallible<()> {
    let count = bench.scaled(ALONE);
    let calls = recorded(bench, count, 1).await?;
    let folder = tempfile::tempdir_in(&bench.folder)?;
    let mut half = Vec::new();
    for _ in 0..bench.rounds {
        let redis = Redis::start(folder.path(), false)?;
        let calls = calls.clone();
        let millis = tokio::task::spawn_blocking(move || calls.one_by_one(&redis, count)).await??;
        half.extend(percentile(&millis, 0.5));
    }
    report.add(LIMIT, case, "p50 ms", half);
    Ok(())
}

async fn echoes(bench: &Bench, report: &mut Report) -> Fallible<()> {
    let (_server, endpoint) = echo_server()?;
    let (mut rates, mut half) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        rates.push(echo::rate(&endpoint, bench.scaled(MESSAGES)).await?);
        let millis = echo::one_by_one(&endpoint, bench.scaled(ALONE)).await?;
        half.extend(percentile(&millis, 0.5));
    }
    report.add(LIMIT, "tonic echo", "messages/s", rates);
    report.add(LIMIT, "tonic echo, one at a time", "p50 ms", half);
    Ok(())
}

/// The disk, with nothing else to do.
async fn disk(bench: &Bench, report: &mut Report, case: &str) -> Fallible<()> {
    let probe = Probe::start(&bench.folder)?;
    tokio::time::sleep(DISK).await;
    let millis = probe.finish()?;
    for (what, figure) in [
        ("p50 ms", percentile(&millis, 0.5)),
        ("p99 ms", percentile(&millis, 0.99)),
        ("longest ms", percentile(&millis, 1.0)),
    ] {
        report.add(LIMIT, case, what, figure.into_iter().collect());
    }
    Ok(())
}

fn hset(bench: &Bench, report: &mut Report) -> Fallible<()> {
    let folder = tempfile::tempdir_in(&bench.folder)?;
    let redis = Redis::start(folder.path(), false)?;
    let count = bench.scaled(COMMANDS).to_string();
    let mut rates = Vec::new();
    for _ in 0..bench.rounds {
        let said = Command::new("redis-benchmark")
            .args([
                "-p",
                &redis.port.to_string(),
                "-t",
                "hset",
                "-P",
                "64",
                "--csv",
                "-n",
                &count,
            ])
            .output()
            .map_err(|error| format!("redis-benchmark: {error}; it comes with redis-tools"))?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let line = said.lines().find(|line| line.starts_with("\"HSET\""));
        let rate = line
            .and_then(|line| line.split(',').nth(1))
            .ok_or("redis-benchmark said nothing of HSET")?;
        rates.push(rate.trim_matches('"').parse()?);
    }
    report.add(LIMIT, "redis-benchmark", "HSET/s", rates);
    Ok(())
}
