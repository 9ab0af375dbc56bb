//! Why a queued task waits.

use std::{fmt, time::Duration};

use super::{status::Status, task::Task, transition::Cause};
use crate::clock::Timestamp;

/// A ready task that no worker has taken within this is waiting for one; before, it is merely on its way.
pub const PROMPTLY: Duration = Duration::from_secs(1);

/// What a queued task waits for. The numbers are those of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Reason {
    /// Its `not_before` lies ahead.
    NotBefore = 1,
    /// An attempt failed.
    Backoff = 2,
    /// The upstream asked for a pause, or the calls that its limit lets through go to others first.
    RateLimited = 3,
    /// Its batch is held back.
    Parked = 4,
    /// No worker has taken it up promptly.
    NoWorker = 5,
    /// What is left of its batch's budget is less than the next task may cost.
    Budget = 6,
}

/// After this a ready task that still waits is looked at again: what it waits for is not in its record.
const AGAIN: Duration = Duration::from_secs(5);

/// What a queued task waits for, and until when where that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Waiting {
    /// Why.
    pub reason: Reason,
    /// When the reason passes.
    pub until: Option<Timestamp>,
}

/// Knows whether the calls of a model have to wait for a limit of the upstream.
pub trait Limits: fmt::Debug + Send + Sync {
    /// What a ready task that asks for the model waits for, unless its call could go out at once.
    fn waiting(&self, model: &str) -> Option<Waiting>;
}

/// Nothing has to wait.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unlimited;

impl Limits for Unlimited {
    fn waiting(&self, _model: &str) -> Option<Waiting> {
        None
    }
}

/// What a task's own record says about its waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// When it may start.
    at: Timestamp,
    /// Why not before.
    reason: Reason,
    /// It came back because its batch was held back.
    parked: bool,
}

impl Due {
    /// Of a queued task; none of any other.
    pub fn of(task: &Task) -> Option<Due> {
        let last = task.last();
        (last.status == Status::Queued).then(|| Due {
            at: task.due,
            reason: match last.cause {
                Cause::Submitted => Reason::NotBefore,
                _ if task.is_throttled() => Reason::RateLimited,
                _ => Reason::Backoff,
            },
            parked: last.cause == Cause::Parked,
        })
    }

    /// What it waits for at `now`. `held` says why its batch is held back, if it is; where that is not known, the cause of
    /// the last transition stands in. `limited` is asked about a task that was not taken up promptly.
    pub fn waiting(
        self,
        now: Timestamp,
        held: Option<Option<Reason>>,
        limited: impl FnOnce() -> Option<Waiting>,
    ) -> Option<Waiting> {
        let reason = |reason, until| Some(Waiting { reason, until });
        if let Some(why) = held.unwrap_or(self.parked.then_some(Reason::Parked)) {
            reason(why, None)
        } else if self.at > now {
            reason(self.reason, Some(self.at))
        } else if self.at + PROMPTLY <= now {
            limited().or_else(|| reason(Reason::NoWorker, None))
        } else {
            None
        }
    }

    /// When the answer of [`Due::waiting`] may change by itself after `now`, unless the batch is held back.
    pub fn changes(self, now: Timestamp) -> Timestamp {
        let next = [self.at, self.at + PROMPTLY];
        next.into_iter().find(|at| *at > now).unwrap_or(now + AGAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp(10_000);

    fn due(parked: bool) -> Due {
        Due {
            at: AT,
            reason: Reason::Backoff,
            parked,
        }
    }

    fn at(millis: i64, held: Option<Option<Reason>>) -> Option<Reason> {
        let waiting = due(false).waiting(Timestamp(millis), held, || None)?;
        Some(waiting.reason)
    }

    #[test]
    fn a_task_waits_for_its_time_then_for_a_worker() {
        assert_eq!(at(9_999, None), Some(Reason::Backoff));
        assert_eq!(at(10_000, None), None);
        assert_eq!(at(10_999, Some(None)), None);
        assert_eq!(at(11_000, None), Some(Reason::NoWorker));
        let early = due(false).waiting(Timestamp(0), None, || None).unwrap();
        assert_eq!(early.until, Some(AT));
    }

    #[test]
    fn one_that_is_not_taken_up_may_wait_for_a_limit_instead() {
        let limit = Waiting {
            reason: Reason::RateLimited,
            until: Some(Timestamp(90_000)),
        };
        let at = |millis| due(false).waiting(Timestamp(millis), None, || Some(limit));
        assert_eq!(at(10_999), None, "it may be on its way");
        assert_eq!(at(11_000), Some(limit));
        assert_eq!(at(9_999).map(|it| it.reason), Some(Reason::Backoff));
    }

    #[test]
    fn what_is_known_of_the_batch_comes_before_what_the_task_says() {
        for why in [Reason::Parked, Reason::Budget] {
            assert_eq!(at(0, Some(Some(why))), Some(why));
        }
        let came_back = due(true);
        let reason = |held| {
            let waiting = came_back.waiting(AT, held, || None);
            waiting.map(|it| it.reason)
        };
        assert_eq!(reason(None), Some(Reason::Parked));
        assert_eq!(reason(Some(None)), None);
    }

    #[test]
    fn a_change_is_foreseen_exactly_when_it_comes() {
        for now in [0, 9_999, 10_000, 10_999, 11_000, 20_000] {
            let now = Timestamp(now);
            let at = |now| due(false).waiting(now, Some(None), || None);
            let (before, next) = (at(now), due(false).changes(now));
            if before.map(|it| it.reason) == Some(Reason::NoWorker) {
                assert_eq!(next, now + AGAIN, "only a limit could change that");
                continue;
            }
            assert_ne!(at(next), before);
            assert_eq!(at(Timestamp(next.0 - 1)), before);
        }
    }
}
