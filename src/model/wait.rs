//! Why a queued task waits.

use std::time::Duration;

use super::{status::Status, task::Task, transition::Cause};
use crate::clock::Timestamp;

/// A ready task that no worker has taken within this is waiting for one; before, it is merely on its way.
pub const PROMPTLY: Duration = Duration::from_secs(1);

/// What a queued task waits for. The numbers are those of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Reason {
    /// Its `not_before` lies ahead.
    NotBefore = 1,
    /// An attempt failed.
    Backoff = 2,
    /// The upstream asked for a pause.
    RateLimited = 3,
    /// Its batch is held back.
    Parked = 4,
    /// No worker has taken it up promptly.
    NoWorker = 5,
    /// What is left of its batch's budget is less than the next task may cost.
    Budget = 6,
}

/// What a queued task waits for, and until when where that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Why.
    pub reason: Reason,
    /// When the reason passes.
    pub until: Option<Timestamp>,
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
    /// the last transition stands in.
    pub fn waiting(self, now: Timestamp, held: Option<Option<Reason>>) -> Option<Waiting> {
        let reason = |reason, until| Some(Waiting { reason, until });
        if let Some(why) = held.unwrap_or(self.parked.then_some(Reason::Parked)) {
            reason(why, None)
        } else if self.at > now {
            reason(self.reason, Some(self.at))
        } else if self.at + PROMPTLY <= now {
            reason(Reason::NoWorker, None)
        } else {
            None
        }
    }

    /// When the answer of [`Due::waiting`] changes by itself after `now`, unless the batch is held back.
    pub fn changes(self, now: Timestamp) -> Option<Timestamp> {
        let next = [self.at, self.at + PROMPTLY];
        next.into_iter().find(|at| *at > now)
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
        let waiting = due(false).waiting(Timestamp(millis), held)?;
        Some(waiting.reason)
    }

    #[test]
    fn a_task_waits_for_its_time_then_for_a_worker() {
        assert_eq!(at(9_999, None), Some(Reason::Backoff));
        assert_eq!(at(10_000, None), None);
        assert_eq!(at(10_999, Some(None)), None);
        assert_eq!(at(11_000, None), Some(Reason::NoWorker));
        let early = due(false).waiting(Timestamp(0), None).unwrap();
        assert_eq!(early.until, Some(AT));
    }

    #[test]
    fn what_is_known_of_the_batch_comes_before_what_the_task_says() {
        for why in [Reason::Parked, Reason::Budget] {
            assert_eq!(at(0, Some(Some(why))), Some(why));
        }
        let came_back = due(true);
        let reason = |held| came_back.waiting(AT, held).map(|it| it.reason);
        assert_eq!(reason(None), Some(Reason::Parked));
        assert_eq!(reason(Some(None)), None);
    }

    #[test]
    fn a_change_is_foreseen_exactly_when_it_comes() {
        for now in [0, 9_999, 10_000, 10_999, 11_000, 20_000] {
            let now = Timestamp(now);
            let next = due(false).changes(now);
            let before = due(false).waiting(now, Some(None));
            match next {
                Some(next) => {
                    assert_ne!(due(false).waiting(next, Some(None)), before);
                    let almost = Timestamp(next.0 - 1);
                    assert_eq!(due(false).waiting(almost, Some(None)), before);
                }
                None => assert_eq!(before.map(|it| it.reason), Some(Reason::NoWorker)),
            }
        }
    }
}
