//! Stops calling a server that keeps failing, asks once a second whether it is back, and then comes back gently.
//!
//! Pure: the time is a parameter. What a call's end says about the server is [`Health`]; whether another call may go
//! out is [`Breaker::admit`]. A server that answers is well, whatever it answers: a refusal or a rate limit never opens
//! a breaker. What may have been answered and was lost says nothing either way.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use crate::model::{ErrorCode, Failed, Outcome};

/// How far back calls count.
const WINDOW: Duration = Duration::from_secs(10);
/// How finely the window moves on.
const GRAIN: Duration = Duration::from_secs(1);
/// Fewer calls than this say too little for a share of them to count.
const LEAST_CALLS: u32 = 10;
/// So many failures in a row are enough by themselves.
const IN_A_ROW: u32 = 5;
/// One call a second finds out whether the server is back.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// A server that has just come back gets a tenth of the calls it had.
const GENTLY: u32 = 10;
/// So many answers in a row and it gets them all again.
const CLOSE_AFTER: u32 = 3;

/// What the end of a call says about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// It answered.
    Alive,
    /// It could not be reached, or answered that it fails.
    Failing,
    /// Nothing for certain.
    Unknown,
}

impl Health {
    /// What a call's end says: no connection and a status of 498 or 5xx are failures.
    pub(super) fn of(ended: &Result<Outcome, Failed>) -> Self {
        let Err(Failed { failure, .. }) = ended else {
            return Health::Alive;
        };
        match (failure.code, failure.http_status) {
            (
                ErrorCode::UpstreamUnreachable
                | ErrorCode::UpstreamOverloaded
                | ErrorCode::UpstreamError,
                _,
            )
            | (ErrorCode::UpstreamTimeout, 500..) => Health::Failing,
            // Lost on the way, not understood, or not even sent.
            (
                ErrorCode::UpstreamBadResponse
                | ErrorCode::StreamTruncated
                | ErrorCode::UpstreamStreamError,
                _,
            )
            | (_, 0) => Health::Unknown,
            _ => Health::Alive,
        }
    }
}

/// Lets one call through; its end is told to [`Breaker::ended`], or to [`Breaker::gone`] when nobody waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Permit {
    at: Instant,
    turn: u64,
    number: u64,
}

impl Permit {
    /// When the call was let through.
    pub(super) fn sent(self) -> Instant {
        self.at
    }
}

/// Whether calls go to one server. Begins closed, which lets all of them through.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: State,
    /// Counts changes of state: a call sent before the last one says nothing about the time after it.
    turn: u64,
    number: u64,
    /// The calls on their way, in the order in which they were sent.
    out: BTreeMap<u64, Instant>,
    latest: Option<Instant>,
}

#[derive(Debug)]
enum State {
    Closed(Tally),
    /// Nothing but probes.
    Open {
        next: Instant,
        gently: Duration,
    },
    /// A tenth of the calls.
    HalfOpen {
        next: Instant,
        gently: Duration,
        answers: u32,
    },
}

impl Default for State {
    fn default() -> Self {
        State::Closed(Tally::default())
    }
}

impl Breaker {
    /// When the next call may go out; an instant not after `now` means at once.
    pub(super) fn opens_at(&self, now: Instant) -> Instant {
        match &self.state {
            State::Closed(tally) if tally.is_suspicious(&self.out, now) => {
                let latest = self.latest.unwrap_or(now);
                latest + tally.gently
            }
            State::Closed(_) => now,
            State::Open { next, .. } | State::HalfOpen { next, .. } => *next,
        }
    }

    /// Lets a call through that goes out now; none when it has to wait.
    pub(super) fn admit(&mut self, now: Instant) -> Option<Permit> {
        if self.opens_at(now) > now {
            return None;
        }
        match &mut self.state {
            State::Closed(_) => {}
            State::Open { next, .. } => *next = now + PROBE_EVERY,
            State::HalfOpen { next, gently, .. } => *next = now + *gently,
        }
        self.number += 1;
        self.latest = Some(now);
        self.out.insert(self.number, now);
        Some(Permit {
            at: now,
            turn: self.turn,
            number: self.number,
        })
    }

    /// A call that was let through has ended without anybody hearing how.
    pub(super) fn gone(&mut self, permit: Permit) {
        self.out.remove(&permit.number);
    }

    /// A call that was let through has ended.
    pub(super) fn ended(&mut self, permit: Permit, health: Health, now: Instant) {
        self.gone(permit);
        if permit.turn != self.turn {
            return;
        }
        let next = match (&mut self.state, health) {
            (_, Health::Unknown) | (State::Open { .. }, Health::Failing) => return,
            (State::Closed(tally), health) => {
                tally.add(permit, health == Health::Failing, now);
                if !tally.is_too_much(&self.out, now) {
                    return;
                }
                State::Open {
                    next: now + PROBE_EVERY,
                    gently: tally.gently,
                }
            }
            (State::Open { gently, .. }, Health::Alive) => State::HalfOpen {
                next: now + *gently,
                gently: *gently,
                answers: 1,
            },
            (State::HalfOpen { gently, .. }, Health::Failing) => State::Open {
                next: now + PROBE_EVERY,
                gently: *gently,
            },
            (State::HalfOpen { answers, .. }, Health::Alive) => {
                *answers += 1;
                if *answers < CLOSE_AFTER {
                    return;
                }
                State::default()
            }
        };
        self.state = next;
        self.turn += 1;
        self.out.clear();
    }

    /// Whether all calls go through.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed(_))
    }

    /// Whether forgetting it changes nothing: it is closed and has seen nothing lately, or nobody has asked for long.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        match &self.state {
            State::Closed(tally) => self.out.is_empty() && tally.is_old(now),
            State::Open { next, .. } | State::HalfOpen { next, .. } => *next + 60 * WINDOW <= now,
        }
    }
}

/// How the latest calls ended.
#[derive(Debug, Default)]
struct Tally {
    grains: VecDeque<Grain>,
    /// The failures since the last answer.
    row: u32,
    /// The first call of the row: an answer to an older one does not end it, which with slow answers and quick failures
    /// would hide it.
    row_from: u64,
    /// The longest that a failure of the row took.
    row_took: Duration,
    /// At the latest failure: the time from one call to the next when there are a tenth as many.
    gently: Duration,
}

#[derive(Debug)]
struct Grain {
    from: Instant,
    calls: u32,
    failures: u32,
}

impl Tally {
    fn add(&mut self, permit: Permit, failed: bool, now: Instant) {
        let is_over = |oldest: &Grain| oldest.from + WINDOW <= now;
        while self.grains.front().is_some_and(is_over) {
            self.grains.pop_front();
        }
        if self
            .grains
            .back()
            .is_none_or(|grain| grain.from + GRAIN <= now)
        {
            self.grains.push_back(Grain {
                from: now,
                calls: 0,
                failures: 0,
            });
        }
        if let Some(grain) = self.grains.back_mut() {
            grain.calls += 1;
            grain.failures += u32::from(failed);
        }
        if failed {
            let took = now.saturating_duration_since(permit.at);
            self.row_from = match self.row {
                0 => permit.number,
                _ => self.row_from.min(permit.number),
            };
            self.row += 1;
            self.gently = self.tenth(now);
            self.row_took = self.row_took.max(took);
        } else if permit.number >= self.row_from {
            (self.row, self.row_took) = (0, Duration::ZERO);
        }
    }

    fn is_too_much(&self, out: &BTreeMap<u64, Instant>, now: Instant) -> bool {
        if self.row >= IN_A_ROW && self.is_row(out, now) {
            return true;
        }
        let (calls, failures) = self.sum();
        calls >= LEAST_CALLS
            && 2 * failures >= calls
            && 2 * failures as usize >= calls as usize + self.outlived(out, 0, now).count()
    }

    /// Two failures in a row may be the first of many: until that is clear, calls come as if it had just come back.
    fn is_suspicious(&self, out: &BTreeMap<u64, Instant>, now: Instant) -> bool {
        self.row >= 2 && self.is_row(out, now)
    }

    /// Whether the failures are at least half of what was sent since the first of them, as far as that can be known.
    fn is_row(&self, out: &BTreeMap<u64, Instant>, now: Instant) -> bool {
        let most = self.row as usize;
        self.outlived(out, self.row_from, now).nth(most).is_none()
    }

    /// The calls since this one that have been on their way for longer than the failures took: those will be answered,
    /// most likely. Where failures are quick and answers are slow, failures come in rows although they are few.
    fn outlived<'a>(
        &self,
        out: &'a BTreeMap<u64, Instant>,
        from: u64,
        now: Instant,
    ) -> impl Iterator<Item = &'a Instant> + use<'a> {
        let took = self.row_took;
        out.range(from..)
            .map(|(_, sent)| sent)
            .take_while(move |sent| **sent + took < now)
    }

    fn sum(&self) -> (u32, u32) {
        self.grains.iter().fold((0, 0), |(calls, failures), grain| {
            (calls + grain.calls, failures + grain.failures)
        })
    }

    fn tenth(&self, now: Instant) -> Duration {
        let span = self
            .grains
            .front()
            .map_or(WINDOW, |oldest| now.saturating_duration_since(oldest.from));
        let spacing = span.max(GRAIN) / self.sum().0.max(1);
        spacing.saturating_mul(GENTLY).min(PROBE_EVERY)
    }

    fn is_old(&self, now: Instant) -> bool {
        self.grains
            .back()
            .is_none_or(|latest| latest.from + GRAIN + WINDOW <= now)
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
