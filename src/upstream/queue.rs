//! The queue of one model's calls, and who may still join it.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    pace::{Answer, Ceiling, Cost, Line, Seconds, Sent, Settings, Step, float},
    shared::Known,
};

/// A turn that is further away is not waited for.
pub(super) const NEAR: Duration = Duration::from_secs(2);
/// So many calls of a model may wait however slow it is, for as long as a call waits at all: without them every turn
/// of a slow one would find nobody there.
pub(super) const FEW: usize = 2;
/// Those that go out within this time may wait: the rest is better off in the queue, where others can come before it.
const AHEAD: Seconds = 0.5;
/// So many times as many may wait as are acquired for it: the limit may have fallen meanwhile.
const SLACK: usize = 2;
/// Longer than anything is waited for: a year.
const LONGEST: Seconds = 366.0 * 86_400.0;
/// Calls that may wait for their first turns while nothing is known yet.
pub(super) const FIRST: usize = 64;
/// Calls taken for a model that is held back find that out at once and make room for others.
const PASSING: usize = 32;
/// Calls are not put off for longer than this for want of a place: it may be free earlier than was thought.
const PUT_OFF_MAX: Seconds = 60.0;

/// How much of what is known of the time that calls take one more replaces.
const WEIGHT: f64 = 0.1;

/// The calls of one model.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) state: Mutex<State>,
    /// Held by the first of the queue.
    pub(super) first: tokio::sync::Mutex<()>,
    /// What all processes go by, and where it is stored.
    pub(super) known: tokio::sync::Mutex<Known>,
    pub(super) key: String,
    /// A call ended: there may be room below the ceiling.
    pub(super) freed: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) line: Line,
    pub(super) waiting: usize,
    /// Tokens of those that wait.
    pub(super) tokens: f64,
    /// When a call asked for a turn last.
    pub(super) used_at: Seconds,
    /// Calls that had their turn and have not ended.
    under_way: usize,
    /// How long they took lately.
    took: Seconds,
    /// How many of them there may be, where that follows how long answers take.
    ceiling: Option<Ceiling>,
    /// When the next call that finds no place in the queue should come again.
    later: Seconds,
}

impl Queue {
    /// A queue without calls, whose schedule is stored under `key`.
    pub(super) fn new(settings: Settings, is_adaptive: bool, key: String) -> Self {
        Queue {
            key,
            freed: Notify::new(),
            known: tokio::sync::Mutex::default(),
            state: Mutex::new(State {
                line: Line::new(settings),
                waiting: 0,
                tokens: 0.0,
                used_at: 0.0,
                under_way: 0,
                took: 0.0,
                ceiling: is_adaptive.then(Ceiling::default),
                later: 0.0,
            }),
            first: tokio::sync::Mutex::default(),
        }
    }

    /// Takes the last place, if its turn is near enough and, unless it `had` one before, there is room for it.
    pub(super) fn enter(
        self: &Arc<Self>,
        cost: Cost,
        patience: Duration,
        had: bool,
        now: Seconds,
    ) -> Result<Place, Duration> {
        let mut state = self.state.lock();
        state.used_at = now;
        let tokens = state.line.tokens(cost, now);
        let wait = state.due(tokens, now);
        if state.held_until(now).is_some() {
            return Err(wait);
        }
        let places = state.line.pace(now).map(|rate| SLACK * ahead(rate));
        let has_place = had || places.is_none_or(|places| state.waiting < places);
        // However large it is itself: smaller ones would always find the time that it does not.
        let before = wait.saturating_sub(duration(state.line.length(tokens, now)));
        if before > patience || !has_place {
            return Err(state.put_off(wait, now));
        }
        state.waiting += 1;
        state.tokens += tokens;
        Ok(Place {
            queue: self.clone(),
            tokens,
        })
    }

    /// How long the upstream takes to let such a call's tokens through.
    pub(super) fn length(&self, cost: Cost, now: Seconds) -> Duration {
        let line = &self.state.lock().line;
        duration(line.length(line.tokens(cost, now), now))
    }

    /// How long a call would wait behind those that do.
    pub(super) fn due(&self, cost: Cost, now: Seconds) -> Duration {
        let state = self.state.lock();
        let tokens = state.line.tokens(cost, now);
        state.due(tokens, now)
    }

    /// How long a call would wait for both, its turn and the ends of calls that are under way.
    pub(super) fn opens_in(&self, cost: Cost, now: Seconds) -> Duration {
        let state = self.state.lock();
        let due = state.due(state.line.tokens(cost, now), now);
        due.max(duration(state.free_in()))
    }

    /// A call ended.
    pub(super) fn free(&self) {
        self.state.lock().under_way -= 1;
        self.freed.notify_one();
    }

    /// Nothing goes out for longer than is waited for.
    pub(super) fn is_held(&self, now: Seconds) -> bool {
        self.held_until(now).is_some()
    }

    /// Until when nothing goes out, if that is longer than is waited for.
    pub(super) fn held_until(&self, now: Seconds) -> Option<Seconds> {
        self.state.lock().held_until(now)
    }
}

impl State {
    /// The turn of the first in the queue, or when to look again; none when it takes turns from the schedule to know.
    pub(super) fn step(&mut self, cost: Cost, now: Seconds) -> Option<Result<Sent, Seconds>> {
        let tokens = self.line.tokens(cost, now);
        let step = self.line.step(tokens, now);
        self.done(step, cost, tokens, now)
    }

    /// As [`State::step`], where this process has a share of the rate to itself.
    pub(super) fn step_alone(
        &mut self,
        cost: Cost,
        share: f64,
        now: Seconds,
    ) -> Result<Sent, Seconds> {
        let tokens = self.line.tokens(cost, now);
        let mut step = self.line.step(tokens, now);
        if step == Step::Lease {
            step = self.line.lease_alone(tokens, share, now);
        }
        self.done(step, cost, tokens, now).unwrap_or(Err(now))
    }

    fn done(
        &mut self,
        step: Step,
        cost: Cost,
        tokens: f64,
        now: Seconds,
    ) -> Option<Result<Sent, Seconds>> {
        match step {
            Step::Go => {
                self.under_way += 1;
                Some(Ok(self.line.used(cost, tokens, now)))
            }
            Step::Wait(until) => Some(Err(until)),
            Step::Lease => None,
        }
    }

    fn held_until(&self, now: Seconds) -> Option<Seconds> {
        let until = self.line.held_until();
        Some(until).filter(|until| *until > now + NEAR.as_secs_f64())
    }

    /// As many calls are under way as may be.
    pub(super) fn is_full(&self) -> bool {
        let ceiling = self.ceiling.as_ref();
        ceiling.is_some_and(|ceiling| ceiling.is_full(self.under_way))
    }

    /// An answer came after so long.
    pub(super) fn answered(&mut self, answer: Answer, took: Seconds) {
        let Some(ceiling) = &mut self.ceiling else {
            return;
        };
        self.took += WEIGHT * (took - self.took);
        match answer {
            Answer::Used(_, tokens) => ceiling.answered(took, tokens, self.under_way),
            Answer::Overloaded => ceiling.overloaded(),
            Answer::Throttled { .. } | Answer::Other => {}
        }
    }

    /// How long a call of so many tokens would wait behind those that do.
    pub(super) fn due(&self, tokens: f64, now: Seconds) -> Duration {
        let ahead = (float(self.waiting as u64), self.tokens);
        duration(self.line.due(ahead, tokens, now) - now)
    }

    /// How long until so many calls have ended that one more may go, if they go on as they did lately.
    fn free_in(&self) -> Seconds {
        if !self.is_full() {
            return 0.0;
        }
        self.took * float(self.waiting as u64 + 1) / float(self.under_way.max(1) as u64)
    }

    /// How many calls may wait; none where any number may.
    pub(super) fn room(&self, now: Seconds) -> Option<usize> {
        if self.held_until(now).is_some() {
            return Some(PASSING);
        }
        match self.line.pace(now) {
            Some(rate) => Some(ahead(rate)),
            None => match &self.ceiling {
                Some(ceiling) => Some(FEW + rounded_up(ceiling.limit() / 8.0)),
                None => {
                    let spare = self.line.beginning(now)?;
                    Some(FIRST.max(rounded_up(spare)))
                }
            },
        }
    }

    /// When a call that finds no place should come again: those before it were told an earlier time.
    fn put_off(&mut self, wait: Duration, now: Seconds) -> Duration {
        let each = self.line.pace(now).map_or(0.0, f64::recip);
        let at = (now + wait.as_secs_f64()).max(self.later.min(now + PUT_OFF_MAX));
        self.later = at + each;
        duration(at - now)
    }
}

/// A place in a queue.
pub(super) struct Place {
    queue: Arc<Queue>,
    tokens: f64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        state.waiting -= 1;
        state.tokens -= self.tokens;
    }
}

/// Nothing where it is negative, or no number.
pub(super) fn duration(seconds: Seconds) -> Duration {
    if seconds > 0.0 {
        Duration::from_secs_f64(seconds.min(LONGEST))
    } else {
        Duration::ZERO
    }
}

/// How many calls of a model may be taken and wait at such a rate.
pub(super) fn ahead(rate: f64) -> usize {
    FEW + rounded_up(rate * AHEAD)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and counts are not negative"
)]
fn rounded_up(count: f64) -> usize {
    count.ceil() as usize
}
