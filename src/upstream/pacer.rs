//! Waiting for one's turn: the schedules of [`pace`](super::pace), one for each model, in real time.
//!
//! Calls of a model stand in a queue. Only the first of it looks at the schedule, at the moment when it may go, so that
//! whatever was learnt until then counts, and whoever leaves the queue has taken nothing.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Call,
    asked::cost,
    pace::{Answer, Bucket, Cost, Reply, Room, Seconds, Sent, Settings, float},
    queue::{FIRST, Queue, ahead, duration},
    shared::{Changed, FRESH, Link, Shared},
};
use crate::{
    clock::{Clock, SystemClock, Timestamp},
    model::{ErrorCode, Failed, WaitReason, Waiting},
};

/// The schedule is looked at again at least this often: a limit may be raised while a call waits.
const LOOK: Duration = Duration::from_millis(500);
/// A turn that could not be used for so long is over.
const STALE: Seconds = 0.15;
/// While nothing limits a model's calls, whether others have met a limit is looked up this often.
const ASK_OTHERS: Seconds = 1.0;
/// A model that no call asked for in so long takes no part in [`Pacer::room`].
const IDLE: Seconds = 60.0;
/// Calls that would wait for less are merely on their way.
const BEHIND: Duration = Duration::from_millis(250);
/// Models remembered; beyond it those without calls are forgotten.
const MODELS_MAX: usize = 1_024;

/// The queues of all models.
#[derive(Debug)]
pub(super) struct Pacer {
    settings: Settings,
    is_adaptive: bool,
    /// Tells the endpoint and the key from others, and tells nobody what they are.
    scope: blake3::Hasher,
    link: OnceLock<Link>,
    start: (Timestamp, Instant),
    queues: Mutex<HashMap<String, Arc<Queue>>>,
}

/// The right to send one call. Dropped before [`Turn::go`], it is given back.
#[derive(Debug)]
pub(super) struct Turn {
    pacer: Arc<Pacer>,
    queue: Arc<Queue>,
    sent: Sent,
    at: Seconds,
    /// When the call went out.
    out_at: Option<Seconds>,
}

impl Pacer {
    /// Schedules for one endpoint and key, which `scope` has hashed. Where it is adaptive, how many calls are under way
    /// at once follows how long answers take.
    pub(super) fn new(settings: Settings, is_adaptive: bool, scope: blake3::Hasher) -> Self {
        Pacer {
            settings,
            is_adaptive,
            scope,
            link: OnceLock::new(),
            start: (SystemClock.now(), Instant::now()),
            queues: Mutex::default(),
        }
    }

    /// From now on the schedules are those of all processes that share this. The first wins.
    pub(super) fn share(&self, shared: Arc<dyn Shared>) {
        let member = rand::random();
        let _ = self.link.set(Link { shared, member });
    }

    /// Waits until the call may be sent, as long as `patience` lasts, from which the wait is taken. Else tells when to
    /// come again.
    pub(super) async fn turn(
        self: &Arc<Self>,
        call: &Call,
        patience: &mut Duration,
    ) -> Result<Turn, Duration> {
        self.wait(call, patience, false).await
    }

    /// As [`Pacer::turn`], for a call that has had a turn already and needs another.
    pub(super) async fn next_turn(
        self: &Arc<Self>,
        call: &Call,
        patience: &mut Duration,
    ) -> Result<Turn, Duration> {
        self.wait(call, patience, true).await
    }

    async fn wait(
        self: &Arc<Self>,
        call: &Call,
        patience: &mut Duration,
        had: bool,
    ) -> Result<Turn, Duration> {
        let cost = cost(call.kind, &call.body);
        let begun = Instant::now();
        let queue = self.queue(&call.model);
        let place = queue.enter(cost, *patience, had, self.now())?;
        let most = *patience + queue.length(cost, self.now());
        let turn = timeout(most, self.first(&queue, cost)).await;
        drop(place);
        *patience = patience.saturating_sub(begun.elapsed());
        turn.unwrap_or_else(|_| Err(queue.due(cost, self.now())))
    }

    /// How long a call would wait for its turn behind those that do; zero where nothing is in its way.
    pub(super) fn opens_in(&self, model: &str, cost: Cost) -> Duration {
        let queue = self.queues.lock().get(model).cloned();
        queue.map_or(Duration::ZERO, |queue| queue.opens_in(cost, self.now()))
    }

    /// Whether a call would wait behind others, and until when none goes out at all where that was told.
    pub(super) fn waiting(&self, model: &str) -> Option<Waiting> {
        let queue = self.queues.lock().get(model).cloned()?;
        let now = self.now();
        let until = queue.held_until(now).map(timestamp);
        let waits = until.is_some() || queue.opens_in(Cost::default(), now) > BEHIND;
        let reason = WaitReason::RateLimited;
        waits.then_some(Waiting { reason, until })
    }

    /// How many calls may wait for their turns, of those models that some asked for lately and that count; none where
    /// any number may.
    pub(super) fn room(&self, counts: impl Fn(&str) -> bool) -> Option<usize> {
        let now = self.now();
        let queues = self.queues.lock();
        let mut room = 0;
        for (model, queue) in queues.iter() {
            let state = queue.state.lock();
            if now - state.used_at < IDLE && counts(model) {
                room += state.room(now)?;
            }
        }
        Some(room)
    }

    /// How many calls may wait before any has asked for a model.
    pub(super) fn first_room(&self) -> usize {
        let configured = self.settings.requests;
        configured.map_or(FIRST, ahead)
    }

    /// Waits at the head of the queue.
    async fn first(self: &Arc<Self>, queue: &Arc<Queue>, cost: Cost) -> Result<Turn, Duration> {
        let _first = queue.first.lock().await;
        loop {
            let freed = queue.freed.notified();
            if queue.state.lock().is_full() {
                freed.await;
                continue;
            }
            let until = match self.step(queue, cost).await {
                Ok(sent) => {
                    return Ok(Turn {
                        pacer: self.clone(),
                        queue: queue.clone(),
                        sent,
                        at: self.now(),
                        out_at: None,
                    });
                }
                Err(until) => until,
            };
            let now = self.now();
            let wait = duration(until - now);
            if queue.is_held(now) {
                return Err(wait);
            }
            sleep(wait.min(LOOK)).await;
        }
    }

    /// The turn of the first in the queue, or when to look again.
    async fn step(&self, queue: &Queue, cost: Cost) -> Result<Sent, Seconds> {
        let Some(link) = self.link.get() else {
            return queue.state.lock().step_alone(cost, 1.0, self.now());
        };
        self.look(link, queue).await;
        let step = queue.state.lock().step(cost, self.now());
        match step {
            Some(step) => step,
            None => self.lease(link, queue, cost).await,
        }
    }

    /// Looks whether others have met a limit: before a turn that was taken some time ago is used, and now and then while
    /// nothing limits the calls.
    async fn look(&self, link: &Link, queue: &Queue) {
        let now = self.now();
        let age = match queue.state.lock().line.pace(now) {
            Some(_) => FRESH,
            None => ASK_OTHERS,
        };
        let mut known = queue.known.lock().await;
        if known.is_older(age, now) && link.read(&queue.key, &mut known, now).await {
            let mut state = queue.state.lock();
            if let Some(stored) = known.stored() {
                state.line.tell(stored, now);
            }
        }
    }

    /// Takes turns from the schedule of all.
    async fn lease(&self, link: &Link, queue: &Queue, cost: Cost) -> Result<Sent, Seconds> {
        let mut known = queue.known.lock().await;
        let take = |stored: Option<Bucket>| {
            let mut state = queue.state.lock();
            let stored = stored.unwrap_or_else(|| state.line.bucket().clone());
            let now = self.now();
            let (tokens, waiting) = (state.line.tokens(cost, now), state.waiting as u64);
            let waiting = (float(waiting), state.tokens);
            state.line.lease_shared(stored, tokens, waiting, now)
        };
        let changed = link
            .change(&queue.key, &mut known, || self.now(), take)
            .await;
        let (mut state, now) = (queue.state.lock(), self.now());
        match changed {
            Changed::Done(bucket, block) => {
                state.line.told(bucket, Some(block), now);
                Err(now)
            }
            Changed::Refused(until) => Err(until),
            Changed::Away => state.step_alone(cost, known.share(), now),
        }
    }

    /// Tells the others what they should know at once.
    async fn tell(&self, queue: &Queue) {
        let Some(link) = self.link.get() else { return };
        if !queue.state.lock().line.has_urgent_news() {
            return;
        }
        let mut known = queue.known.lock().await;
        let tell = |stored: Option<Bucket>| {
            let mut state = queue.state.lock();
            let stored = stored.unwrap_or_else(|| state.line.bucket().clone());
            Ok::<_, ()>((state.line.tell(stored, self.now()), ()))
        };
        let changed = link
            .change(&queue.key, &mut known, || self.now(), tell)
            .await;
        if let Changed::Done(bucket, ()) = changed {
            queue.state.lock().line.told(bucket, None, self.now());
        }
    }

    fn queue(&self, model: &str) -> Arc<Queue> {
        let mut queues = self.queues.lock();
        if let Some(queue) = queues.get(model) {
            return queue.clone();
        }
        if queues.len() >= MODELS_MAX {
            queues.retain(|_, queue| Arc::strong_count(queue) > 1);
        }
        let key = self.scope.clone().update(model.as_bytes()).finalize();
        let key = format!("pace:{}", key.to_hex());
        let queue = Arc::new(Queue::new(self.settings, self.is_adaptive, key));
        queues.insert(model.to_owned(), queue.clone());
        queue
    }

    /// By a clock that never leaps, or that of all.
    fn now(&self) -> Seconds {
        if let Some(link) = self.link.get() {
            return seconds(link.now());
        }
        let (at, start) = self.start;
        seconds(at) + start.elapsed().as_secs_f64()
    }
}

impl Turn {
    /// It was so long ago that whoever sends now sends together with those whose turn it is.
    pub(super) fn is_stale(&self) -> bool {
        let now = self.pacer.now();
        now - self.at > STALE && self.queue.state.lock().line.pace(now).is_some()
    }

    /// No answer came to it.
    pub(super) fn lost(&self, failed: &Failed) {
        let Some(out_at) = self
            .out_at
            .filter(|_| failed.failure.code == ErrorCode::UpstreamTimeout)
        else {
            return;
        };
        let took = self.pacer.now() - out_at;
        self.queue.state.lock().answered(Answer::Overloaded, took);
    }

    /// The call goes out.
    pub(super) fn go(&mut self) {
        self.out_at = Some(self.pacer.now());
    }

    /// What came back: what its headers say of calls and of tokens, and what it means.
    pub(super) fn heard(&self, (requests, tokens): (Room, Room), answer: Answer) {
        let reply = Reply {
            requests,
            tokens,
            answer,
        };
        let now = self.pacer.now();
        let mut state = self.queue.state.lock();
        state.line.heard(&self.sent, &reply, now);
        if let Some(out_at) = self.out_at {
            state.answered(answer, now - out_at);
        }
    }

    /// Lets other processes know of a 429.
    pub(super) async fn tell(&self) {
        self.pacer.tell(&self.queue).await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.out_at.is_none() {
            let now = self.pacer.now();
            self.queue.state.lock().line.gave_back(&self.sent, now);
        }
        self.queue.free();
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
fn timestamp(at: Seconds) -> Timestamp {
    Timestamp((at * 1_000.0) as i64)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 stay below 2^53"
)]
fn seconds(at: Timestamp) -> Seconds {
    at.0 as f64 / 1_000.0
}

#[cfg(test)]
#[path = "pacer_tests.rs"]
mod tests;
