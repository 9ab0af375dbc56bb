//! The one Redis of a fleet: killed and restarted on its append-only file, and frozen.

use std::time::Duration;

use rand::RngExt as _;
use tokio::time::sleep;

use super::{
    fleet::now,
    kills::on_redis,
    load::Watching,
    run::{Run, Title, upstream},
};
use crate::support::{
    chance::Seed, checker::Evidence, process::signal, redis::RedisServer, scale::scale,
    server::soon,
};

const LIMIT: Duration = Duration::from_secs(300);
const LEASE: Duration = Duration::from_secs(2);

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
async fn killed(seed: Seed, policy: &str, kills: usize) -> (Run, Title, Evidence) {
    let options = ["--appendonly", "yes", "--appendfsync", policy];
    let mut redis = RedisServer::start(&options).await;
    let upstream = upstream(100, 900).await;
    let setup = on_redis(&redis, &upstream, LEASE);
    let mut run = Run::start(seed, setup, upstream, Watching::Tasks).await;
    let mut rng = run.seed.rng(0);
    strike_store(&mut run, kills, async || {
        redis.kill();
        sleep(Duration::from_millis(rng.random_range(100..1_500))).await;
        redis.restart().await;
    })
    .await;
    let evidence = run.evidence(LIMIT).await;
    let title = Title {
        fault: format!("kill -9 of Redis, restarted on its AOF ({policy})"),
        on: format!("Redis, 3 replicas, lease {} s", LEASE.as_secs()),
        times: kills,
        note: String::new(),
    };
    (run, title, evidence)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_syncs_always_loses_nothing_that_it_acknowledged() {
    let seed = Seed::of("a_redis_that_syncs_always");
    let (run, title, evidence) = killed(seed, "always", scale(2, 20)).await;
    run.conclude(title, &evidence);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_syncs_every_second_comes_back_and_goes_on() {
    let seed = Seed::of("a_redis_that_syncs_every_second");
    let (run, mut title, evidence) = killed(seed, "everysec", scale(1, 20)).await;
    title.note = "a second may be lost by this policy: counted, not forbidden".into();
    let verdict = run.report(title, &evidence);
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
