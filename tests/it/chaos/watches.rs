//! Watches through killed replicas and broken connections.

use std::time::Duration;

use rand::{RngExt as _, rngs::StdRng};
use tokio::time::sleep;

use super::{
    fleet::Fleet,
    kills::{Storm, on_redis, rage},
    load::Watching,
    run::{Run, Title, upstream},
};
use crate::support::{
    chance::Seed,
    proxy::Fate,
    redis::RedisServer,
    scale::{scale, soaking},
    server::soon,
};

const LIMIT: Duration = Duration::from_secs(600);

/// Breaks connections of clients one by one, each in its own way.
async fn break_connections(fleet: &Fleet, cuts: usize, pause: Duration, rng: &mut StdRng) -> usize {
    let mut broken = 0;
    for _ in 0..cuts {
        sleep(pause.mul_f64(rng.random_range(0.0..2.0))).await;
        let fate = match rng.random_range(0..10) {
            0..3 => Fate::Cut,
            3..6 => Fate::Reset,
            6..8 => Fate::Torn,
            8 => Fate::Swallowed,
            _ => Fate::Muted,
        };
        let first = rng.random_range(0..fleet.len());
        // A replica that was just killed has no clients.
        let mut replicas = (first..first + fleet.len()).map(|index| index % fleet.len());
        let hit = replicas.any(|index| fleet.clients_of(index).meet_one(fate, rng));
        broken += usize::from(hit);
    }
    broken
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_survive_killed_replicas_and_broken_connections_without_gap_or_repeat() {
    let seed = Seed::of("watches_survive_killed_replicas");
    let redis = RedisServer::start(&["--appendonly", "yes"]).await;
    let upstream = upstream(100, 900).await;
    let setup = on_redis(&redis, &upstream, Duration::from_secs(2));
    let mut run = Run::start(seed, setup, upstream, Watching::Tasks).await;
    run.load.submit(scale(300, 10_000), scale(100, 500)).await;
    let (kills, cuts) = (scale(2, 20), scale(20, 1_000));
    let storm = Storm {
        strikes: kills,
        between: if soaking() { 2_000..6_000 } else { 300..900 },
        away: 100..1_500,
        freezes: false,
    };
    let fleet = run.fleet.clone();
    let (mut killing, mut cutting) = (run.seed.rng(0), run.seed.rng(1));
    let pause = Duration::from_millis(80);
    let (broken, ()) = tokio::join!(
        break_connections(&fleet, cuts, pause, &mut cutting),
        rage(&fleet, storm, &mut killing),
    );
    let evidence = run.evidence(LIMIT).await;
    assert!(broken > cuts / 2, "{broken} of {cuts} connections broken");
    let title = Title {
        fault: "client connections closed, reset, torn, black-holed, and replicas killed".into(),
        on: "Redis, 3 replicas, lease 2 s".into(),
        times: broken + kills,
        note: format!("{broken} connections broken, {kills} replicas killed"),
    };
    run.conclude(title, &evidence);
    let resumed = evidence.watchers.iter().any(|w| !w.resumed.is_empty());
    assert!(resumed, "no watcher was struck");
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_that_nothing_strikes_are_told_at_once() {
    let seed = Seed::of("watchers_that_nothing_strikes_are_told_at_once");
    let redis = RedisServer::start(&["--appendonly", "yes"]).await;
    let upstream = upstream(100, 900).await;
    let setup = on_redis(&redis, &upstream, Duration::from_secs(15));
    let mut run = Run::start(seed, setup, upstream, Watching::Tasks).await;
    run.load.submit(scale(150, 10_000), scale(50, 500)).await;
    let watchers = run.load.accepted.len();
    soon("all watch", async || *run.load.open.lock() > 0).await;
    let evidence = run.evidence(LIMIT).await;
    assert!(evidence.watchers.len() > watchers);
    let title = Title {
        fault: "none".into(),
        on: "Redis, 3 replicas, lease 15 s".into(),
        times: 0,
        note: String::new(),
    };
    let verdict = run.conclude(title, &evidence);
    assert_eq!(verdict.duplicate_calls, 0);
}
