//! One run: everything that follows from one seed.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tidings::{
    chance,
    model::TaskId,
    store::{Lookup, Store as _},
    upstream,
};
use tokio::{
    runtime::Builder,
    time::{sleep, timeout},
};

use super::{client, verdict, world::World};

/// Everything has ended this long after the start, or never will.
const END: Duration = Duration::from_secs(300);

/// How often it is looked whether everything has ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What came of a run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    /// What was wrong.
    pub(super) faults: Vec<String>,
    /// What happened, if asked for.
    pub(super) trace: Vec<String>,
}

/// Runs a seed. The same seed gives the same run.
pub(super) fn run(seed: u64, upstream: &upstream::Client, is_traced: bool) -> Report {
    chance::seed(seed);
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let upstream = upstream.clone();
    let ran = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(play(seed, upstream, is_traced))
    }));
    ran.unwrap_or_else(|_| Report {
        faults: vec!["it panicked".into()],
        trace: Vec::new(),
    })
}

async fn play(seed: u64, upstream: upstream::Client, is_traced: bool) -> Report {
    let world = World::new(seed, upstream, is_traced);
    tokio::spawn(world.clone().run_deeds());
    for order in world.plan.orders.clone() {
        world.clients.spawn(client::run(Arc::clone(&world), order));
    }
    world.clients.close();
    let all = async {
        world.clients.wait().await;
        ended(&world).await;
    };
    if timeout(END, all).await.is_err() {
        let left = world.clients.len();
        world.ledger.fault(format!(
            "not all has come to its end, nor have {left} clients"
        ));
    }
    let faults = verdict::faults(&world).await;
    let trace = world.ledger.book(|book| std::mem::take(&mut book.trace));
    Report { faults, trace }
}

/// Waits for what nobody waits for any more: a store that is restored to an earlier state has tasks to run again whose
/// end was told before.
async fn ended(world: &World) {
    let accepted = world.ledger.book(|book| book.accepted.clone());
    let tasks = accepted.iter().flat_map(|batch| &batch.tasks);
    let ids: Vec<TaskId> = tasks.map(|(id, _)| *id).collect();
    let is_open =
        |found: &Lookup| matches!(found, Lookup::Found(task) if !task.status().is_terminal());
    while world.model.tasks(&ids).await.unwrap().iter().any(is_open) {
        sleep(LOOK_EVERY).await;
    }
}
