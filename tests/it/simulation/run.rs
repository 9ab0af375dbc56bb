//! One run: everything that follows from one seed.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tidings::{chance, upstream};
use tokio::{runtime::Builder, time::timeout};

use super::{client, verdict, world::World};

/// Everything has ended this long after the start, or never will.
const END: Duration = Duration::from_secs(300);

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
    if timeout(END, world.clients.wait()).await.is_err() {
        let left = world.clients.len();
        world
            .ledger
            .fault(format!("{left} clients have not come to their end"));
    }
    let faults = verdict::faults(&world).await;
    let trace = world.ledger.book(|book| std::mem::take(&mut book.trace));
    Report { faults, trace }
}
