//! One replica after the other replaced by SIGTERM, under load and with watches open.

use std::time::Duration;

use super::{
    kills::on_redis,
    load::Watching,
    run::{Run, Title, upstream},
};
use crate::support::{
    chance::Seed,
    checker::{Evidence, Millis},
    eventually,
    redis::RedisServer,
    scale::scale,
};

/// Tasks that are left at every restart at least.
const BUSY_WITH: usize = 100;
const LIMIT: Duration = Duration::from_secs(600);
/// What a stop may take beyond its grace.
const BEYOND_GRACE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_is_missed_by_no_watcher_and_repeats_no_call() {
    let seed = Seed::of("a_rolling_restart_is_missed_by_no_watcher");
    let redis = RedisServer::start(&["--appendonly", "yes"]).await;
    let upstream = upstream(100, 600).await;
    let mut setup = on_redis(&redis, &upstream, Duration::from_secs(15));
    setup.concurrency = scale(4, 16);
    let grace = setup.grace;
    let mut run = Run::start(seed, setup, upstream.clone(), Watching::Tasks).await;
    run.load.submit(scale(200, 10_000), scale(100, 500)).await;
    let (mut slowest, rounds) = (Duration::ZERO, scale(1, 5));
    for restart in 0..rounds * run.fleet.len() {
        let finished = upstream.finished_calls() as usize;
        if run.load.accepted.len() < finished + BUSY_WITH {
            run.load.submit(BUSY_WITH, BUSY_WITH).await;
        }
        eventually("all watch", LIMIT, async || all_watch(&run)).await;
        let took = run.fleet.replace(restart % run.fleet.len()).await;
        slowest = slowest.max(took);
    }
    let evidence = run.evidence(LIMIT).await;
    assert!(slowest <= grace + BEYOND_GRACE, "a stop took {slowest:?}");
    let (most, of) = busiest(&evidence);
    let title = Title {
        fault: "SIGTERM of each replica in turn".into(),
        on: "Redis, 3 replicas, lease 15 s".into(),
        times: rounds * run.fleet.len(),
        note: format!(
            "slowest stop {} ms; of {of} watchers cut off at once at most {most} came back within the same 100 ms",
            slowest.as_millis()
        ),
    };
    let verdict = run.conclude(title, &evidence);
    assert_eq!(verdict.duplicate_calls, 0, "tasks shorter than the grace");
    assert!(of > 0, "some watched the replica that went");
    // All at once would be a stampede on those that are left.
    assert!(of < 50 || most * 2 < of, "{most} of {of} came back at once");
}

/// Whether a stream stands for every task that has not ended.
fn all_watch(run: &Run) -> Option<()> {
    let ended = run.upstream.finished_calls() as usize;
    (*run.load.open.lock() + ended >= run.load.accepted.len()).then_some(())
}

/// Of the watchers that one stop cut off, how many came back within the same 100 ms at most, and of how many.
fn busiest(evidence: &Evidence) -> (usize, usize) {
    let stops: Vec<Millis> = evidence.strikes.iter().map(|stop| stop.at).collect();
    let next = stops.iter().skip(1).copied().chain([Millis::MAX]);
    let back = stops.iter().zip(next).map(|(at, next)| {
        let resumed = evidence.watchers.iter().flat_map(|w| &w.resumed).copied();
        let mut back: Vec<Millis> = resumed.filter(|back| (*at..next).contains(back)).collect();
        back.sort_unstable();
        let within = |from: Millis| back.partition_point(|at| *at < from + 100);
        let most = back.iter().enumerate();
        let most = most.map(|(before, from)| within(*from) - before).max();
        (most.unwrap_or_default(), back.len())
    });
    back.max().unwrap_or_default()
}
