//! The one Redis of a fleet: killed and restarted on its append-only file, and frozen.

use std::time::Duration;

use rand::RngExt as _;
use tokio::time::sleep;

use super::{
    failover::{conclude_losses, window},
    fleet::now,
    kills::on_redis,
    load::Watching,
    run::{Run, Title, upstream},
};
use crate::support::{
    chance::Seed,
    checker::{Evidence, Window},
    process::signal,
    redis::RedisServer,
    scale::scale,
    server::soon,
};

const LIMIT: Duration = Duration::from_secs(300);
const LEASE: Duration = Duration::from_secs(2);
/// How long a Redis that syncs every second may keep what it acknowledged to itself: while a sync takes long, it does not
/// even write for so many milliseconds.
const UNWRITTEN: i64 = 2_000;

/// Does something to the store while tasks are under way, again and again. Returns when it is whole again.
pub(super) async fn strike_store(run: &mut Run, times: usize, mut fault: impl AsyncFnMut()) {
    for _ in 0..times {
        let before = run.upstream.finished_calls();
        run.load.submit(100, 50).await;
        let upstream = run.upstream.clone();
        soon("tasks are under way", async || {
            upstream.finished_calls() > before && upstream.open_calls() > 0
        })
        .await;
        let at = now();
        fault().await;
        run.fleet.all_struck(at);
    }
}

/// Kills Redis under load, `kills` times, and restarts it on what it wrote with this policy.
async fn killed(seed: Seed, policy: &str, kills: usize) -> (Run, Title, Evidence, Vec<Window>) {
    let options = ["--appendonly", "yes", "--appendfsync", policy];
    let mut redis = RedisServer::start(&options).await;
    let upstream = upstream(100, 900).await;
    let setup = on_redis(&redis, &upstream, LEASE);
    let mut run = Run::start(seed, setup, upstream, Watching::Tasks).await;
    // Where the first may be lost, the same cannot be asked for again.
    run.load.twice = policy == "always";
    let mut rng = run.seed.rng(0);
    let mut windows = Vec::new();
    strike_store(&mut run, kills, async || {
        let from = now() - UNWRITTEN;
        redis.kill();
        sleep(Duration::from_millis(rng.random_range(100..1_500))).await;
        redis.restart().await;
        windows.push(window(from));
    })
    .await;
    let evidence = run.evidence(LIMIT).await;
    let title = Title {
        fault: format!("kill -9 of Redis, restarted on its AOF ({policy})"),
        on: format!("Redis, 3 replicas, lease {} s", LEASE.as_secs()),
        times: kills,
        note: String::new(),
    };
    (run, title, evidence, windows)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_syncs_always_loses_nothing_that_it_acknowledged() {
    let seed = Seed::of("a_redis_that_syncs_always");
    let (run, title, evidence, _) = killed(seed, "always", scale(2, 20)).await;
    run.conclude(title, &evidence);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_redis_that_syncs_every_second_loses_is_told() {
    let seed = Seed::of("what_a_redis_that_syncs_every_second_loses");
    let (run, title, evidence, windows) = killed(seed, "everysec", scale(1, 20)).await;
    let (verdict, _) = conclude_losses(&run, title, &evidence, &windows);
    assert!(verdict.lost < evidence.accepted.len(), "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_stands_still_is_waited_for() {
    let seed = Seed::of("a_redis_that_stands_still_is_waited_for");
    let redis = RedisServer::start(&["--appendonly", "yes"]).await;
    let upstream = upstream(100, 900).await;
    let setup = on_redis(&redis, &upstream, LEASE);
    let mut run = Run::start(seed, setup, upstream, Watching::Tasks).await;
    let server = redis.info("server").await;
    let process = server
        .lines()
        .find_map(|line| line.strip_prefix("process_id:"));
    let process = process.unwrap().trim().parse().unwrap();
    let times = scale(1, 20);
    strike_store(&mut run, times, async || {
        signal(process, "STOP");
        sleep(Duration::from_secs(3)).await;
        signal(process, "CONT");
    })
    .await;
    let evidence = run.evidence(LIMIT).await;
    let title = Title {
        fault: "SIGSTOP of Redis for 3 s".into(),
        on: format!("Redis, 3 replicas, lease {} s", LEASE.as_secs()),
        times,
        note: String::new(),
    };
    run.conclude(title, &evidence);
}
