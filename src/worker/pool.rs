//! Acquires tasks whenever there is room, and starts them.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Notify, broadcast::error::RecvError};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Config,
    backoff::{Backoff, jittered},
    committer::Finished,
    held::Held,
    lane::Lanes,
    runner::Runner,
    slot::{Room, Slot},
};
use crate::{
    clock::Timestamp,
    journal,
    model::{Event, Status, Task, Work, WorkerId},
    store::{Change, Store},
};

/// Bounds one acquire's size.
const MAX_BATCH: usize = 512;
/// How often to look without having heard anything: a hint may be lost.
const FALLBACK: Duration = Duration::from_secs(1);
/// What a commit of released tasks may take when the grace is over.
const RELEASE_TIME: Duration = Duration::from_secs(1);

/// Acquires tasks and starts them.
pub(super) struct Pool {
    store: Arc<dyn Store>,
    held: Arc<Held>,
    runner: Arc<Runner>,
    done: Lanes<Finished>,
    worker: WorkerId,
    config: Config,
    room: Room,
    release: CancellationToken,
    running: TaskTracker,
}

impl Pool {
    pub(super) fn new(
        store: Arc<dyn Store>,
        held: Arc<Held>,
        runner: Runner,
        done: Lanes<Finished>,
        worker: WorkerId,
        config: Config,
    ) -> Self {
        Pool {
            store,
            held,
            runner: Arc::new(runner),
            done,
            worker,
            config,
            room: Room::new(config.concurrency),
            release: CancellationToken::new(),
            running: TaskTracker::new(),
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
        self.running.close();
        let grace = self.config.grace.saturating_sub(RELEASE_TIME / 2);
        if tokio::time::timeout(grace, self.running.wait())
            .await
            .is_err()
        {
            tracing::info!(
                tasks = self.running.len(),
                "grace is over; giving tasks back"
            );
            self.release.cancel();
            self.running.wait().await;
        }
    }

    /// Acquires until `shutdown`. An acquire under way is never dropped: what it took would be lost until its lease
    /// ends.
    async fn acquire(&self, work: &Notify, shutdown: &CancellationToken) {
        let mut backoff = Backoff::default();
        while let Some(slots) = self.take_slots(shutdown).await {
            let wanted = slots.len();
            match self
                .store
                .acquire(self.worker, wanted, self.config.lease)
                .await
            {
                Ok(acquired) => {
                    backoff.reset();
                    let mut slots = slots.into_iter();
                    for task in acquired.tasks {
                        match slots.next() {
                            Some(slot) => self.start(task, slot),
                            None => self.give_back(task),
                        }
                    }
                    if !acquired.more {
                        self.wait(work, acquired.next_due, shutdown).await;
                    }
                }
                Err(error) => {
                    drop(slots);
                    tracing::warn!(%error, "no tasks could be acquired; trying again");
                    backoff.pause().await;
                }
            }
        }
    }

    /// Every free slot, at least one, for as many tasks as can be sent soon; none at shutdown.
    async fn take_slots(&self, shutdown: &CancellationToken) -> Option<Vec<Slot>> {
        let first = tokio::select! {
            biased;
            () = shutdown.cancelled() => return None,
            slot = self.room.enter() => slot?,
        };
        let turns = tokio::select! {
            biased;
            () = shutdown.cancelled() => return None,
            turns = self.room.wait(|| self.runner.room()) => turns,
        };
        let mut slots = vec![first];
        while slots.len() < MAX_BATCH.min(turns)
            && let Some(slot) = self.room.try_enter()
        {
            slots.push(slot);
        }
        Some(slots)
    }

    async fn wait(&self, work: &Notify, next_due: Option<Timestamp>, shutdown: &CancellationToken) {
        let mut pause = jittered(FALLBACK);
        if let Some(due) = next_due {
            pause = pause.min(due.since(self.store.now()));
        }
        let submitted = async {
            match self.store.submits() {
                Some(submits) => submits.notified().await,
                None => std::future::pending().await,
            }
        };
        // Being told is the rule, looking again the floor.
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = work.notified() => {}
            () = submitted => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// An acquire whose answer was lost had asked for more than there is room for by now.
    fn give_back(&self, task: Task) {
        journal::moved(&task);
        let finished = Finished {
            task: Arc::new(task),
            event: Event::Released,
            said: String::new(),
            _slot: None,
        };
        self.done.send(finished.task.id, finished);
    }

    fn start(&self, task: Task, mut slot: Slot) {
        let (lost, progress) = self.held.insert(&task);
        let (runner, held, done) = (self.runner.clone(), self.held.clone(), self.done.clone());
        let release = self.release.clone();
        slot.fill();
        journal::moved(&task);
        self.running.spawn(async move {
            let task = Arc::new(task);
            let (event, said) = tokio::select! {
                biased;
                () = lost.cancelled() => {
                    held.remove(task.id, task.fence());
                    return;
                }
                ended = runner.run(task.clone(), progress, &mut slot) => ended,
                () = release.cancelled() => (Event::Released, String::new()),
            };
            // However it ended, it waits for no turn any more.
            drop(slot.waiting());
            // What was paid for stays within the bound on what may run: it would be paid for again if this process were lost.
            let was_free = matches!(task.spec.work, Work::Function { .. });
            if was_free && matches!(event, Event::Succeeded(_)) {
                slot.end();
            }
            let id = task.id;
            let finished = Finished {
                task,
                event,
                said,
                _slot: Some(slot),
            };
            // The other end outlives this one.
            done.send(id, finished);
        });
    }
}

/// Wakes the pool when something may have become ready.
async fn hear(store: &dyn Store, work: &Notify) {
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
