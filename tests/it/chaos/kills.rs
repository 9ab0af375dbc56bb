//! `kill -9` and SIGSTOP of replicas that hold tasks.

use std::{ops::Range, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand::{RngExt as _, rngs::StdRng};
use tokio::{sync::Semaphore, task::JoinSet, time::sleep};

use super::{
    fleet::{Fleet, Setup},
    load::Watching,
    run::{Run, Title, upstream},
};
use crate::support::{
    chance::Seed,
    redis::RedisServer,
    scale::{scale, soaking},
    server::soon,
};

const SHORT_LEASE: Duration = Duration::from_secs(2);
const DEFAULT_LEASE: Duration = Duration::from_secs(15);
/// Everything has ended by then, or something hangs.
const LIMIT: Duration = Duration::from_secs(300);

/// A series of faults of replicas. One replica at least is always whole, unless there is only one.
pub(super) struct Storm {
    /// How many faults.
    pub(super) strikes: usize,
    /// Milliseconds from one to the next.
    pub(super) between: Range<u64>,
    /// Milliseconds that a replica stays away.
    pub(super) away: Range<u64>,
    /// Whether every other one is frozen instead of killed.
    pub(super) freezes: bool,
}

/// Strikes, and returns when every replica is whole again.
pub(super) async fn rage(fleet: &Arc<Fleet>, storm: Storm, rng: &mut StdRng) {
    let whole: Arc<Mutex<Vec<usize>>> = Arc::new(Mutex::new((0..fleet.len()).collect()));
    let may_fall = Arc::new(Semaphore::new((fleet.len() - 1).max(1)));
    let mut healing = JoinSet::new();
    for strike in 0..storm.strikes {
        sleep(Duration::from_millis(
            rng.random_range(storm.between.clone()),
        ))
        .await;
        let permit = may_fall.clone().acquire_owned().await.unwrap();
        let index = {
            let mut whole = whole.lock();
            let at = rng.random_range(0..whole.len());
            whole.swap_remove(at)
        };
        let is_frozen = storm.freezes && strike % 2 == 1;
        let away = Duration::from_millis(rng.random_range(storm.away.clone()));
        if is_frozen {
            fleet.freeze(index);
        } else {
            fleet.kill(index);
        }
        let (fleet, whole) = (fleet.clone(), whole.clone());
        healing.spawn(async move {
            sleep(away).await;
            if is_frozen {
                fleet.thaw(index);
            } else {
                fleet.restart(index).await;
            }
            whole.lock().push(index);
            drop(permit);
        });
    }
    while let Some(healed) = healing.join_next().await {
        healed.unwrap();
    }
}

/// Late outcomes that the replicas, as they run now, had refused.
pub(super) async fn refused(fleet: &Fleet) -> u64 {
    let mut refused = 0;
    for index in 0..fleet.len() {
        refused += fleet.counter(index, "tidings_fence_rejected_total").await;
    }
    refused
}

/// Three replicas on this Redis, or however many.
pub(super) fn on_redis(
    redis: &RedisServer,
    upstream: &tidings::simulator::Running,
    lease: Duration,
) -> Setup {
    on_store(redis.url(), upstream, lease)
}

/// The same on a store with this address.
pub(super) fn on_store(
    store: String,
    upstream: &tidings::simulator::Running,
    lease: Duration,
) -> Setup {
    let upstream = upstream.base_url();
    Setup {
        replicas: 3,
        lease,
        concurrency: 16,
        grace: Duration::from_secs(5),
        settings: "",
        store: Box::new(move |_| store.clone()),
        upstream: Box::new(move |_| upstream.clone()),
    }
}

/// Tasks under a storm: `tasks` in batches of `size`, one every `pace`.
async fn storm_over(seed: Seed, lease: Duration, tasks: usize, pace: Duration, storm: Storm) {
    let redis = RedisServer::start(&["--appendonly", "yes"]).await;
    let upstream = if soaking() {
        upstream(200, 2_000).await
    } else {
        upstream(100, 600).await
    };
    let mut setup = on_redis(&redis, &upstream, lease);
    // So many that whoever is left can take over at once all that the others held.
    setup.concurrency = scale(16, 128);
    let mut run = Run::start(seed, setup, upstream, Watching::Batch).await;
    let strikes = storm.strikes;
    let fault = if storm.freezes {
        "kill -9 or SIGSTOP of a replica"
    } else {
        "kill -9 of a replica"
    };
    let fleet = run.fleet.clone();
    let mut rng = run.seed.rng(0);
    let submitting = async {
        for _ in 0..tasks / 50 {
            // One acquire may take a whole batch: of several, every replica has some.
            run.load.submit(50, 10).await;
            sleep(pace).await;
        }
    };
    tokio::join!(rage(&fleet, storm, &mut rng), submitting);
    let evidence = run.evidence(LIMIT).await;
    let title = Title {
        fault: fault.into(),
        on: format!("Redis, 3 replicas, lease {} s", lease.as_secs()),
        times: strikes,
        note: format!("{} late outcomes refused", refused(&fleet).await),
    };
    let verdict = run.conclude(title, &evidence);
    assert!(verdict.duplicates_allowed > 0, "no strike took a task");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_killed_and_frozen_lose_no_task_and_end_none_twice() {
    let seed = Seed::of("replicas_killed_and_frozen_lose_no_task");
    let storm = Storm {
        strikes: scale(4, 200),
        between: if soaking() { 400..2_400 } else { 200..700 },
        away: if soaking() { 100..5_000 } else { 100..2_500 },
        freezes: true,
    };
    let pace = Duration::from_millis(scale(50, 1_300) as u64);
    storm_over(seed, SHORT_LEASE, scale(300, 10_000), pace, storm).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_under_the_default_lease_are_made_good_within_it() {
    // A lease of 15 s takes 15 s: a short run holds to the same with 2 s.
    let lease = if soaking() {
        DEFAULT_LEASE
    } else {
        SHORT_LEASE
    };
    for _ in 0..scale(1, 5) {
        let seed = Seed::of("kills_under_the_default_lease");
        let storm = Storm {
            strikes: scale(1, 4),
            between: if soaking() { 1_000..5_000 } else { 200..500 },
            away: 100..1_000,
            freezes: false,
        };
        let pace = Duration::from_millis(scale(50, 1_300) as u64);
        storm_over(seed, lease, scale(100, 500), pace, storm).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_says_after_its_lease_is_refused() {
    let seed = Seed::of("what_a_replica_says_after_its_lease_is_refused");
    let redis = RedisServer::start(&["--appendonly", "yes"]).await;
    let upstream = upstream(400, 900).await;
    let setup = on_redis(&redis, &upstream, SHORT_LEASE);
    let mut run = Run::start(seed, setup, upstream.clone(), Watching::Tasks).await;
    let (times, mut rounds) = (scale(1, 20), 0);
    // A replica that hears first that its leases are lost drops its calls, and has nothing to say: then once more.
    while rounds < times || refused(&run.fleet).await == 0 {
        assert!(rounds < times + 5, "no late outcome was refused");
        run.load.submit(40, 40).await;
        soon("all replicas are at work", async || {
            upstream.open_calls() >= 30
        })
        .await;
        let frozen = rounds % run.fleet.len();
        run.fleet.freeze(frozen);
        // Its own calls are answered meanwhile, and the others take over and finish what it holds.
        let taken = run.others_finish(frozen).await;
        assert!(taken > 0, "the frozen replica held a task");
        run.fleet.thaw(frozen);
        let clients = [run.fleet.connect().remove(frozen)];
        soon("it goes on", async || run.reads(&clients).await).await;
        rounds += 1;
    }
    let evidence = run.evidence(LIMIT).await;
    let title = Title {
        fault: "SIGSTOP past the lease while others finish, then SIGCONT".into(),
        on: "Redis, 3 replicas, lease 2 s".into(),
        times: rounds,
        note: format!("{} late outcomes refused", refused(&run.fleet).await),
    };
    run.conclude(title, &evidence);
}
