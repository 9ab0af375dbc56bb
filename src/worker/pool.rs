//! Acquires tasks whenever there is room, and starts them.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Notify, broadcast::error::RecvError};
use tokio_util::sync::CancellationToken;

use super::{
    Config,
    attempt::Attempts,
    backoff::{Backoff, jittered},
    slot::{Free, Room},
};
use crate::{
    clock::Timestamp,
    model::{Status, WorkerId},
    store::{Change, Store},
};

/// Bounds one acquire's size.
const MAX_BATCH: usize = 512;
/// How often to look without having heard anything: a hint may be lost.
const FALLBACK: Duration = Duration::from_secs(1);

/// Acquires tasks and starts them.
pub(super) struct Pool {
    store: Arc<dyn Store>,
    attempts: Arc<Attempts>,
    worker: WorkerId,
    config: Config,
    room: Room,
}

impl Pool {
    pub(super) fn new(
        store: Arc<dyn Store>,
        attempts: Attempts,
        worker: WorkerId,
        config: Config,
    ) -> Self {
        Pool {
            store,
            attempts: Arc::new(attempts),
            worker,
            config,
            room: Room::new(config.concurrency),
        }
    }

    /// Works until `shutdown`, then waits for the running tasks and gives back what outlasts the grace.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let work = Arc::new(Notify::new());
        // Acquiring before listening: a flood of changes must not use up the turns in which tasks are taken.
        tokio::select! {
            biased;
            () = self.acquire(&work, &shutdown) => {}
            () = hear(self.store.as_ref(), &work) => {}
        }
        self.attempts.end(self.config.grace).await;
    }

    /// Acquires until `shutdown`. An acquire under way is never dropped: what it took would be lost until its lease
    /// ends.
    async fn acquire(&self, work: &Notify, shutdown: &CancellationToken) {
        let mut backoff = Backoff::default();
        while let Some(free) = self.take_places(shutdown).await {
            let (worker, lease) = (self.worker, self.config.lease);
            match self.store.acquire(worker, free.len(), lease).await {
                Ok(acquired) => {
                    backoff.reset();
                    self.attempts.start(acquired.tasks, free);
                    if !acquired.more {
                        self.wait(work, acquired.next_due, shutdown).await;
                    }
                }
                Err(error) => {
                    drop(free);
                    tracing::warn!(%error, "no tasks could be acquired; trying again");
                    backoff.pause().await;
                }
            }
        }
    }

    /// Every free place that is worth asking for, at least one, for as many tasks as can be sent soon; none at shutdown.
    async fn take_places(&self, shutdown: &CancellationToken) -> Option<Free> {
        let mut free = tokio::select! {
            biased;
            () = shutdown.cancelled() => return None,
            free = self.room.enter() => free?,
        };
        let turns = tokio::select! {
            biased;
            () = shutdown.cancelled() => return None,
            turns = self.room.wait(|| self.attempts.room()) => turns,
        };
        free.fit(MAX_BATCH.min(turns));
        Some(free)
    }

    async fn wait(&self, work: &Notify, next_due: Option<Timestamp>, shutdown: &CancellationToken) {
        let mut pause = jittered(FALLBACK);
        if let Some(due) = next_due {
            pause = pause.min(due.since(self.store.now()));
        }
        let prompted = async {
            match self.store.prompts() {
                Some(prompts) => prompts.next().await,
                None => work.notified().await,
            }
        };
        // Being told is the rule, looking again the floor.
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = prompted => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Wakes the pool when something may have become ready, where the store does not say so itself.
async fn hear(store: &dyn Store, work: &Notify) {
    if store.prompts().is_some() {
        return std::future::pending().await;
    }
    let mut changes = store.changes();
    loop {
        let wake = match changes.recv().await {
            Ok(Change::Moved(moved)) => moved.iter().any(|m| m.status == Status::Queued),
            Ok(Change::Amended(_) | Change::Gap) | Err(RecvError::Lagged(_)) => true,
            Ok(Change::Noted(_)) => false,
            Err(RecvError::Closed) => return std::future::pending().await,
        };
        if wake {
            work.notify_one();
        }
    }
}
