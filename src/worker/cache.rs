//! One call for all equal tasks, on whatever replica: the cache, and single-flight before there is an answer.
//!
//! The first task to ask becomes the lead of its key, in the store, and makes the call. Its record says the rest:
//! while it is processing the others wait, once it is completed they take its answer, and when it came to nothing
//! one of them takes its place. So a lead that crashes, fails, is cancelled or shut down needs nobody to clean up, and
//! there is no second copy of an answer. Within a process, equal tasks queue before a cell, so that one asks for all.

mod cells;
mod ears;
mod judge;

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::{
    cells::{Cells, Found, Turn},
    ears::Ears,
    judge::{Asker, Standing},
};
use super::{backoff::Backoff, marker::Marker, slot::Slot};
use crate::{
    model::{BatchId, CacheKey, Cached, Caching, Failed, Outcome, Task},
    store::{Bid, Error, Lead, Lookup, Over, Store},
    upstream,
};

/// How often to look at a lead without having heard of it: a hint may be lost.
const FALLBACK: Duration = Duration::from_secs(2);
/// How long a task waits for a store that does not answer: before it makes its call without the cache, or in the place of
/// a lead that cannot be read.
const PATIENCE: Duration = Duration::from_secs(10);

/// The cache as one process sees it.
#[derive(Debug)]
pub(super) struct Cache {
    store: Arc<dyn Store>,
    /// Answers older than this are not taken.
    ttl: Duration,
    cells: Cells,
    ears: Ears,
    marker: Marker,
    /// From then on nobody waits: other replicas take the waiting tasks up at once.
    shutdown: CancellationToken,
}

/// What becomes of a task that asked.
#[derive(Debug)]
pub(super) enum Asked {
    /// It has the answer of an equal one.
    Answer(Outcome),
    /// It makes the call itself.
    Call(Call),
    /// Its batch is held back, or this process shuts down: it goes back to the queue, uncharged.
    GiveBack,
    /// So many tasks wait for others' calls already that it has to wait in the queue.
    Later,
}

/// A call that is to be made.
#[derive(Debug)]
pub(super) struct Call {
    cached: Option<Cached>,
    /// Those behind it wait for the end of the call.
    turn: Option<Turn>,
}

impl Call {
    const UNCACHED: Call = Call {
        cached: None,
        turn: None,
    };

    fn miss(turn: Option<Turn>) -> Self {
        Call {
            cached: Some(Cached::Miss),
            turn,
        }
    }

    /// The call has ended so: those that wait for it hear what it was good for.
    pub(super) fn end(self, ended: Result<Outcome, Failed>) -> Result<Outcome, Failed> {
        let outcome = Outcome {
            cached: self.cached,
            ..ended?
        };
        if let Some(mut turn) = self.turn.filter(Turn::has_company) {
            turn.leave(if outcome.is_shareable() {
                Found::Answer(Arc::new(outcome.shared(Cached::Coalesced)))
            } else {
                Found::Unshareable
            });
        }
        Ok(outcome)
    }
}

/// Listens to the store until `stop`, so that those who wait for a lead hear of it.
pub(super) async fn run(cache: Arc<Cache>, stop: CancellationToken) {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = cache.ears.hear(cache.store.as_ref()) => {}
    }
}

impl Cache {
    /// The cache in this store, in which nobody waits after `shutdown`.
    pub(super) fn new(
        store: Arc<dyn Store>,
        ttl: Duration,
        marker: Marker,
        shutdown: CancellationToken,
    ) -> Self {
        Cache {
            store,
            ttl,
            cells: Cells::default(),
            ears: Ears::default(),
            marker,
            shutdown,
        }
    }

    /// What becomes of a task. While it waits for another one's call its slot is free; it has one again when it is to
    /// call.
    pub(super) async fn ask(&self, task: &Task, slot: &mut Slot) -> Asked {
        let asked = match task.spec.caching {
            None => Asked::Call(Call::UNCACHED),
            Some(caching) => match upstream::cache_key(&task.spec) {
                None => Asked::Call(Call::UNCACHED),
                // In boxes of their own: what waits in here is large, and most tasks are moved without it.
                Some(key) if caching.refresh => Box::pin(self.refresh(task, key)).await,
                Some(key) => Box::pin(self.queue(task, key, caching, slot)).await,
            },
        };
        // What is answered, or goes back, needs no place to run.
        if matches!(asked, Asked::Call(_)) {
            slot.step_in().await;
        }
        asked
    }

    /// Takes the lead whoever has it: from now on nobody gets what was there.
    async fn refresh(&self, task: &Task, key: CacheKey) -> Asked {
        Asked::Call(match self.bid(task, key, Over::Anybody).await {
            Some(_) => Call::miss(None),
            None => Call::UNCACHED,
        })
    }

    /// Waits for what an equal task of this process finds; asks when it is its turn.
    async fn queue(&self, task: &Task, key: CacheKey, caching: Caching, slot: &mut Slot) -> Asked {
        let max_age = caching.max_age_ms.map(Duration::from_millis);
        let asker = Asker {
            task,
            key,
            max_age: max_age.map_or(self.ttl, |age| age.min(self.ttl)),
            has_waited: false,
        };
        let (turn, cached) = match self.cells.seat(key, asker.max_age).try_turn() {
            Ok(turn) => (turn, Cached::Hit),
            Err(seat) if seat.is_crowded() || slot.is_stuck() => return Asked::Later,
            Err(seat) => {
                self.step_aside(task, slot);
                let turn = tokio::select! {
                    biased;
                    () = self.shutdown.cancelled() => return Asked::GiveBack,
                    turn = seat.turn() => turn,
                };
                (turn, Cached::Coalesced)
            }
        };
        match turn.found() {
            Found::Answer(outcome) => Asked::Answer(Outcome::clone(outcome)),
            Found::Unshareable => Asked::Call(Call::miss(None)),
            Found::Nothing => self.lead_or_follow(asker, turn, cached, slot).await,
        }
    }

    async fn lead_or_follow(
        &self,
        mut asker: Asker<'_>,
        mut turn: Turn,
        mut cached: Cached,
        slot: &mut Slot,
    ) -> Asked {
        let mut over = Over::Nobody;
        loop {
            let Some(lead) = self.bid(asker.task, asker.key, over).await else {
                // Those behind it wait for this call instead of for a store that is away, one after the other.
                return Asked::Call(Call {
                    turn: Some(turn),
                    ..Call::UNCACHED
                });
            };
            if lead == own(asker.task) {
                return Asked::Call(Call::miss(Some(turn)));
            }
            let standing = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Asked::GiveBack,
                standing = self.follow(lead, &mut asker, slot) => standing,
            };
            let Some(standing) = standing else {
                return Asked::Later;
            };
            if asker.has_waited {
                cached = Cached::Coalesced;
            }
            match standing {
                Standing::Answered(outcome) => {
                    let outcome = outcome.shared(cached);
                    if turn.has_company() {
                        turn.leave(Found::Answer(Arc::new(outcome.clone())));
                    }
                    return Asked::Answer(outcome);
                }
                Standing::Unshareable => {
                    turn.leave(Found::Unshareable);
                    return Asked::Call(Call::miss(None));
                }
                Standing::HeldBack => return Asked::GiveBack,
                Standing::Gone | Standing::Running | Standing::Pausing(_) => {
                    over = Over::This(lead);
                }
            }
        }
    }

    /// Waits until a lead has come to something or to nothing. One that cannot be read for long is as good as gone: its
    /// call may be made twice then, but nobody stands still. None when there is no room to wait.
    async fn follow(&self, lead: Lead, asker: &mut Asker<'_>, slot: &mut Slot) -> Option<Standing> {
        let ear = self.ears.open(lead.task);
        asker.has_waited = false;
        let mut away_since = None;
        loop {
            // Listening, then looking, then waiting: nothing is missed in between.
            let mut moved = pin!(ear.moved.notified());
            moved.as_mut().enable();
            let looked = self.look(lead, asker).await;
            let away = match &looked {
                Ok(_) => {
                    away_since = None;
                    Duration::ZERO
                }
                Err(_) => away_since.get_or_insert_with(Instant::now).elapsed(),
            };
            let pause = match looked {
                Ok(Standing::Running) => FALLBACK,
                Ok(Standing::Pausing(free)) => free.since(self.store.now()).min(FALLBACK),
                Ok(standing) => return Some(standing),
                Err(error) if away >= PATIENCE => {
                    tracing::warn!(%error, "the lead of a cache key cannot be read; taking its place");
                    return Some(Standing::Gone);
                }
                Err(error) => {
                    tracing::debug!(%error, "the lead of a cache key cannot be read; looking again");
                    FALLBACK
                }
            };
            if slot.is_stuck() {
                return None;
            }
            self.step_aside(asker.task, slot);
            asker.has_waited = true;
            tokio::select! {
                () = moved => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Lets another task have the place and the money of this one while it waits.
    fn step_aside(&self, task: &Task, slot: &mut Slot) {
        if slot.step_aside() {
            self.marker.step_aside(task);
        }
    }

    async fn look(&self, lead: Lead, asker: &Asker<'_>) -> Result<Standing, Error> {
        let found = self.store.tasks(&[lead.task]).await?.pop();
        let found = found.unwrap_or(Lookup::Missing);
        let standing = asker.judge(lead, found, self.store.now());
        if standing == Standing::HeldBack && !self.is_parked(asker.task.batch_id).await? {
            // Resumed since: the lead waits in the queue like everybody else, maybe behind the asker.
            return Ok(Standing::Gone);
        }
        Ok(standing)
    }

    async fn is_parked(&self, batch: BatchId) -> Result<bool, Error> {
        let batch = self.store.batch(batch).await?;
        Ok(batch.is_some_and(|batch| batch.parked.is_some()))
    }

    /// Bids for the lead; none when the store does not answer.
    async fn bid(&self, task: &Task, key: CacheKey, over: Over) -> Option<Lead> {
        let bid = Bid {
            key,
            lead: own(task),
            over,
            // No call outlives the task's deadline, and no answer its time.
            until: task.spec.deadline + self.ttl,
        };
        let until = Instant::now() + PATIENCE;
        let mut backoff = Backoff::default();
        loop {
            match self.store.bid(bid).await {
                Ok(lead) => return Some(lead),
                Err(error) if Instant::now() >= until => {
                    tracing::warn!(%error, "a task goes on without the cache");
                    return None;
                }
                Err(error) => {
                    tracing::debug!(%error, "the cache does not answer; trying again");
                    backoff.pause().await;
                }
            }
        }
    }
}

fn own(task: &Task) -> Lead {
    Lead {
        task: task.id,
        fence: task.fence(),
    }
}
