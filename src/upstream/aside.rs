//! Which routes are set aside for a model, because they said that they cannot serve it: no money, no access, no such
//! model, or a pause of more than two minutes.
//!
//! A mark only steers calls to other routes. It never ends a task by itself: where all routes are set aside, a call asks
//! each of them once more, so that a batch that was resumed, or a model that was added, is found out at once. Told pauses
//! are the exception: until they are over nobody asks.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{client::throttled, taxonomy::is_held_back};
use crate::model::{ErrorCode, Failed, Recourse};

/// A longer pause sets the route aside; a shorter one holds it back like any rate limit.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// How long a route is left alone that named no time itself.
const LEFT_ALONE: Duration = Duration::from_secs(30);
/// How long the one call may take that finds out whether a route is itself again, before another one tries.
const TRIAL: Duration = Duration::from_secs(10);
/// How many models may have marks before old ones are looked for.
const MANY: usize = 256;

/// Why a route is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// No money is left.
    Money,
    /// The key may not.
    Access,
    /// The model is not served.
    Model,
    /// It said when to come back.
    Pause(Duration),
}

impl Reason {
    /// Why a failure sets its route aside; none when it does not.
    pub(super) fn of(failed: &Failed) -> Option<Self> {
        match (failed.failure.code, failed.recourse) {
            (ErrorCode::QuotaExhausted, Recourse::Park(_)) => Some(Reason::Money),
            (_, Recourse::Park(_)) => Some(Reason::Access),
            (ErrorCode::ModelNotFound, _) => Some(Reason::Model),
            // A call that was not sent was told nothing by the upstream.
            _ => throttled(failed)
                .filter(|told| *told > LONGEST_PAUSE && !is_held_back(failed))
                .map(Reason::Pause),
        }
    }

    /// For logs and metrics.
    pub(super) fn word(self) -> &'static str {
        match self {
            Reason::Money => "money",
            Reason::Access => "access",
            Reason::Model => "model",
            Reason::Pause(_) => "pause",
        }
    }

    /// How long the route is left alone.
    pub(super) fn lasts(self) -> Duration {
        match self {
            Reason::Pause(told) => told,
            _ => LEFT_ALONE,
        }
    }
}

/// How a route stands for one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing is known against it.
    Free,
    /// It was left alone long enough: one call may try it.
    OnTrial,
    /// Set aside since then.
    Aside(Instant),
    /// It said when to come back, which is not yet.
    Paused,
}

/// One route that is set aside for one model and path.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    route: usize,
    path: String,
    reason: Reason,
    since: Instant,
    /// When it may be tried again.
    pub(super) until: Instant,
    /// What it said.
    pub(super) failed: Failed,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work<'a> {
    /// The model.
    pub(super) model: &'a str,
    /// The path below the base URL: a server may know a model under one and not under another.
    pub(super) path: &'a str,
}

/// All marks, by model.
#[derive(Debug, Default)]
pub(super) struct Marks {
    of: HashMap<String, Vec<Mark>>,
    look_at: usize,
}

impl Marks {
    /// How a route stands for some work.
    pub(super) fn standing(&self, route: usize, work: Work<'_>, now: Instant) -> Standing {
        match self.find(route, work) {
            None => Standing::Free,
            Some(mark) if mark.until <= now => Standing::OnTrial,
            Some(mark) if matches!(mark.reason, Reason::Pause(_)) => Standing::Paused,
            Some(mark) => Standing::Aside(mark.since),
        }
    }

    /// The mark of a route, in force or not.
    pub(super) fn find(&self, route: usize, work: Work<'_>) -> Option<&Mark> {
        let mut marks = self.of.get(work.model)?.iter();
        marks.find(|mark| mark.route == route && mark.path == work.path)
    }

    /// Whether a route was set aside after an instant.
    pub(super) fn is_newer(&self, route: usize, work: Work<'_>, than: Instant) -> bool {
        self.find(route, work).is_some_and(|mark| mark.since > than)
    }

    /// Whether anything at all is held against a route for a model, even if it is time to try it again.
    pub(super) fn holds(&self, route: usize, model: &str) -> bool {
        let mut marks = self.of.get(model).into_iter().flatten();
        marks.any(|mark| mark.route == route)
    }

    /// A call tries a route that is on trial: the others wait for what becomes of it.
    pub(super) fn tried(&mut self, route: usize, work: Work<'_>, now: Instant) {
        let marks = self.of.get_mut(work.model).into_iter().flatten();
        for mark in marks.filter(|mark| mark.route == route && mark.path == work.path) {
            mark.until = mark.until.max(now + TRIAL);
        }
    }

    /// Sets a route aside. True when it was not already.
    pub(super) fn set(
        &mut self,
        route: usize,
        work: Work<'_>,
        reason: Reason,
        failed: &Failed,
        now: Instant,
    ) -> bool {
        let was_set = self.clear(route, work, now);
        self.forget(now);
        let marks = self.of.entry(work.model.to_owned()).or_default();
        marks.push(Mark {
            route,
            path: work.path.to_owned(),
            reason,
            since: now,
            until: now + reason.lasts(),
            failed: failed.clone(),
        });
        !was_set
    }

    /// A call sent at `sent` was served: what was set aside before that is no more. True when it was.
    pub(super) fn clear(&mut self, route: usize, work: Work<'_>, sent: Instant) -> bool {
        let Some(marks) = self.of.get_mut(work.model) else {
            return false;
        };
        let before = marks.len();
        marks.retain(|mark| mark.route != route || mark.path != work.path || mark.since > sent);
        let cleared = marks.len() < before;
        if marks.is_empty() {
            self.of.remove(work.model);
        }
        cleared
    }

    /// Tasks may name any number of models.
    fn forget(&mut self, now: Instant) {
        if self.of.len() < self.look_at.max(MANY) {
            return;
        }
        self.of.retain(|_, marks| {
            marks.retain(|mark| mark.until > now);
            !marks.is_empty()
        });
        self.look_at = 2 * self.of.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Budget, Failure, ParkReason, Wait},
        upstream::taxonomy::held_back,
    };

    const WORK: Work<'static> = Work {
        model: "m",
        path: "/chat/completions",
    };

    fn failed(code: ErrorCode, recourse: Recourse) -> Failed {
        Failed {
            failure: Failure {
                http_status: 429,
                ..Failure::new(code, "no")
            },
            recourse,
        }
    }

    fn paused(seconds: u64) -> Failed {
        let wait = Wait::Told(Duration::from_secs(seconds));
        let budget = Budget::Time;
        failed(ErrorCode::RateLimited, Recourse::Retry { budget, wait })
    }

    fn broke() -> Failed {
        let recourse = Recourse::Park(ParkReason::QuotaExhausted);
        failed(ErrorCode::QuotaExhausted, recourse)
    }

    fn set(marks: &mut Marks, route: usize, failed: &Failed, now: Instant) -> bool {
        let reason = Reason::of(failed).expect("it sets its route aside");
        marks.set(route, WORK, reason, failed, now)
    }

    #[test]
    fn four_things_set_a_route_aside_and_nothing_else_does() {
        let park = |reason| Recourse::Park(reason);
        for (failed, reason) in [
            (broke(), Some(Reason::Money)),
            (
                failed(ErrorCode::AuthFailed, park(ParkReason::AuthFailed)),
                Some(Reason::Access),
            ),
            (
                failed(
                    ErrorCode::PermissionDenied,
                    park(ParkReason::PermissionDenied),
                ),
                Some(Reason::Access),
            ),
            (
                failed(ErrorCode::ModelNotFound, Recourse::Never),
                Some(Reason::Model),
            ),
            (paused(121), Some(Reason::Pause(Duration::from_secs(121)))),
            (paused(120), None),
            (held_back(Duration::from_secs(121)), None),
            (failed(ErrorCode::InvalidRequest, Recourse::Never), None),
        ] {
            assert_eq!(Reason::of(&failed), reason, "{failed:?}");
        }
    }

    #[test]
    fn a_route_set_aside_is_tried_by_one_call_after_a_while() {
        let now = Instant::now();
        let mut marks = Marks::default();
        assert_eq!(marks.standing(0, WORK, now), Standing::Free);
        assert!(set(&mut marks, 0, &broke(), now), "news");
        assert!(!set(&mut marks, 0, &broke(), now), "known");
        assert_eq!(marks.standing(0, WORK, now), Standing::Aside(now));
        assert_eq!(marks.standing(1, WORK, now), Standing::Free);
        let other = Work {
            path: "/embeddings",
            ..WORK
        };
        assert_eq!(marks.standing(0, other, now), Standing::Free);
        let later = now + LEFT_ALONE;
        assert_eq!(marks.standing(0, WORK, later), Standing::OnTrial);
        marks.tried(0, WORK, later);
        assert_eq!(marks.standing(0, WORK, later), Standing::Aside(now));
        let much_later = later + TRIAL;
        assert_eq!(marks.standing(0, WORK, much_later), Standing::OnTrial);
    }

    #[test]
    fn an_answer_to_a_later_call_clears_the_mark_and_one_to_an_earlier_does_not() {
        let now = Instant::now();
        let mut marks = Marks::default();
        set(&mut marks, 0, &broke(), now);
        assert!(!marks.clear(0, WORK, now - Duration::from_millis(1)));
        assert_eq!(marks.standing(0, WORK, now), Standing::Aside(now));
        assert!(marks.clear(0, WORK, now));
        assert_eq!(marks.standing(0, WORK, now), Standing::Free);
    }

    #[test]
    fn a_told_pause_is_kept_to_its_end() {
        let now = Instant::now();
        let mut marks = Marks::default();
        set(&mut marks, 0, &paused(86_400), now);
        let day = now + Duration::from_secs(86_400);
        let almost = day - Duration::from_secs(1);
        assert_eq!(marks.standing(0, WORK, almost), Standing::Paused);
        assert_eq!(marks.standing(0, WORK, day), Standing::OnTrial);
    }

    #[test]
    fn marks_of_many_models_are_forgotten_once_they_are_over() {
        let start = Instant::now();
        let mut marks = Marks::default();
        for n in 0..10_000 {
            let now = start + Duration::from_secs(n);
            let model = format!("model-{n}");
            let work = Work {
                model: &model,
                ..WORK
            };
            marks.set(0, work, Reason::Model, &broke(), now);
        }
        assert!(marks.of.len() <= 2 * MANY, "{} are kept", marks.of.len());
    }
}
