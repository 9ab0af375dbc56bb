//! From queue to outcome: takes tasks, runs them, and commits what became of them.
//!
//! One duty, one file, one loop: [`pool`] acquires, [`attempt`] starts what was acquired, [`runner`] runs one task,
//! [`committer`] commits in batches, [`cache`] finds answers of equal tasks, [`marker`] marks calls as sent, [`relay`]
//! passes on what they answer as it comes, [`ledger`] tells what answers cost, [`keeper`] renews leases, [`reaper`] moves
//! tasks whose time has run out, [`janitor`] sweeps.

mod appetite;
mod attempt;
mod backoff;
mod cache;
mod checked;
mod committer;
mod flow;
pub mod function;
mod held;
mod janitor;
mod keeper;
mod lane;
mod ledger;
mod marker;
mod pool;
mod quota;
mod reaper;
mod relay;
mod runner;
mod slot;

use std::{sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    chance,
    model::{Prices, WorkerId},
    store::Store,
    upstream,
};

use lane::Lanes;

pub use function::{Function, Registry};

/// How a worker process works.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Ceiling of tasks that run at once. Those that wait for the call of an equal one do not count, nor those that are made
    /// ready for places about to come free: up to an eighth as many.
    pub concurrency: usize,
    /// How long a silent worker keeps a task; at least a second.
    pub lease: Duration,
    /// How long a shutdown waits for running tasks.
    pub grace: Duration,
    /// How old an answer may be that another task takes.
    pub cache_ttl: Duration,
}

/// The workers of one process.
pub struct Worker {
    store: Arc<dyn Store>,
    upstream: upstream::Router,
    functions: Arc<Registry>,
    ledger: ledger::Ledger,
    config: Config,
}

impl Worker {
    /// Workers that take tasks from `store`.
    pub fn new(
        store: Arc<dyn Store>,
        upstream: impl Into<upstream::Router>,
        functions: Arc<Registry>,
        config: Config,
    ) -> Self {
        Worker {
            store,
            upstream: upstream.into(),
            functions,
            ledger: ledger::Ledger::default(),
            config,
        }
    }

    /// Tells of every answer what it cost, by these prices, and operators by the values of `label` as well.
    #[must_use]
    pub fn priced(self, prices: Prices, label: Option<String>) -> Self {
        Worker {
            ledger: ledger::Ledger::new(prices, label),
            ..self
        }
    }

    /// Works until `shutdown`, then drains: takes no more tasks, lets the running ones finish within the grace and
    /// gives the rest back uncharged. Returns when all is committed or the store has been away for too long.
    pub async fn run(self, shutdown: CancellationToken) {
        let Worker {
            store,
            upstream,
            functions,
            ledger,
            config,
        } = self;
        let id = WorkerId(chance::number().max(1));
        tracing::info!(worker = %id, concurrency = config.concurrency, "worker started");
        let held = Arc::new(held::Held::default());
        let (loops, committers) = (TaskTracker::new(), TaskTracker::new());
        let stop = CancellationToken::new();
        let done = Lanes::start(store.as_ref(), &committers, |finished| {
            committer::run(store.clone(), held.clone(), finished)
        });
        let asks = Lanes::start(store.as_ref(), &loops, |asked| {
            marker::run(store.clone(), held.clone(), config.lease, asked)
        });
        let marker = marker::Marker::new(asks);
        upstream.share(Arc::new(quota::Quota(store.clone())));
        let heard = Lanes::start(store.as_ref(), &loops, |queue| {
            relay::run(store.clone(), queue)
        });
        let cache = Arc::new(cache::Cache::new(
            store.clone(),
            config.cache_ttl,
            marker.clone(),
            shutdown.clone(),
        ));
        let runner = runner::Runner {
            store: store.clone(),
            upstream,
            functions,
            marker,
            relay: relay::Relay::new(heard),
            cache: cache.clone(),
            ledger: Arc::new(ledger),
            worker: id,
        };
        let attempts = attempt::Attempts::new(held.clone(), runner, done);
        let pool = pool::Pool::new(store.clone(), attempts, id, config);
        loops.spawn(keeper::run(
            store.clone(),
            held.clone(),
            config.lease,
            stop.clone(),
        ));
        loops.spawn(cache::run(cache, stop.clone()));
        loops.spawn(reaper::run(store.clone(), config.lease, stop.clone()));
        loops.spawn(janitor::run(store, stop.clone()));

        pool.run(shutdown).await;
        // The pool held the last ends of the lanes: the committers end when they have committed what was sent.
        committers.close();
        committers.wait().await;
        stop.cancel();
        loops.close();
        loops.wait().await;
        tracing::info!(worker = %id, "worker stopped");
    }
}
