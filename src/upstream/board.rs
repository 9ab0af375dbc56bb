//! What is known of all routes, and which of them a call takes.
//!
//! Pure: time and the rate limits' waits are parameters. A call goes where it can be sent earliest; where several could
//! take it equally soon, to the cheapest; among those, to the one not used for longest.

use std::{
    cmp::Ordering,
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{
    aside::{Marks, Reason, Standing, Work},
    breaker::{Breaker, Health, Permit},
    client::throttled,
    taxonomy::{held_back, is_held_back},
};
use crate::model::{Budget, ErrorCode, Failed, Outcome, Recourse, Wait};

/// How many models may have breakers before idle ones are looked for.
const MANY: usize = 256;

/// One endpoint with one of its keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    /// Routes of one endpoint share a breaker: it is the same server.
    pub(super) endpoint: usize,
    /// The endpoint's price.
    pub(super) price: f64,
}

/// A call on its way, and what it has met so far.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    /// What it asks for.
    pub(super) work: Work<'a>,
    /// When it began to look for a route.
    pub(super) began: Instant,
    /// The routes that did not serve it, with what they said. It asks none of them again.
    pub(super) refused: Vec<(usize, Failed)>,
}

/// A route that serves the model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Which one.
    pub(super) route: usize,
    /// How long the call would wait there for its turn.
    pub(super) opens_in: Duration,
}

/// Where a call goes.
#[derive(Debug)]
pub(super) enum Pick {
    /// There, once its rate limit lets it through.
    Go {
        /// The route.
        route: usize,
        /// How long the rate limit holds it back.
        opens_in: Duration,
        /// How soon the next best could take it.
        next_best: Option<Duration>,
    },
    /// Nowhere for so long: servers that keep failing are given a rest.
    Hold(Duration),
    /// Nowhere: every route said that it cannot serve it.
    Nowhere,
}

/// What follows from the end of a call at one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is the end of the call.
    Done,
    /// It cost nothing, and another route may serve it.
    Elsewhere,
    /// It was told of a rate limit: whichever route is free first, this one included.
    Throttled,
    /// It was not sent: the server has begun to fail since the route was chosen.
    Withheld,
}

/// What else came of it, for operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// The breaker opened (true) or closed.
    pub(super) breaker_opened: Option<bool>,
    /// The route was set aside, which it was not before.
    pub(super) set_aside: Option<Reason>,
}

/// What is known of all routes.
#[derive(Debug)]
pub(super) struct Board {
    seats: Vec<Seat>,
    /// When each was used last, as a count of picks.
    used: Vec<u64>,
    picks: u64,
    marks: Marks,
    /// Of each model, one an endpoint.
    breakers: HashMap<String, Vec<Breaker>>,
    look_at: usize,
}

impl Board {
    /// A board on which nothing is known against any route.
    pub(super) fn new(seats: Vec<Seat>) -> Self {
        Board {
            used: vec![0; seats.len()],
            seats,
            picks: 0,
            marks: Marks::default(),
            breakers: HashMap::new(),
            look_at: MANY,
        }
    }

    /// Chooses a route, and takes note that it is used.
    pub(super) fn pick(
        &mut self,
        asking: &Asking<'_>,
        candidates: &[Candidate],
        now: Instant,
    ) -> Pick {
        self.know(asking.work.model, now);
        let mut offers = self.offers(asking, candidates, now);
        offers.sort_by(|a, b| self.compare(a, b));
        let Some(best) = offers.first() else {
            return Pick::Nowhere;
        };
        if !best.breaker.is_zero() {
            return Pick::Hold(best.opens_in());
        }
        let (route, opens_in) = (best.route, best.turn);
        let next_best = offers.get(1).map(Offer::opens_in);
        self.picks += 1;
        self.used[route] = self.picks;
        if self.marks.standing(route, asking.work, now) == Standing::OnTrial {
            self.marks.tried(route, asking.work, now);
        }
        Pick::Go {
            route,
            opens_in,
            next_best,
        }
    }

    /// Lets a call go out to `route`, at the moment when it does; none when the breaker has something against it by now,
    /// or the route was set aside while the call, which `began` then, waited for its turn.
    pub(super) fn admit(
        &mut self,
        work: Work<'_>,
        route: usize,
        began: Instant,
        now: Instant,
    ) -> Option<Permit> {
        self.know(work.model, now);
        if self.marks.is_newer(route, work, began) {
            return None;
        }
        self.breaker(route, work.model)?.admit(now)
    }

    /// Nobody waits for the end of a call to `route` any more.
    pub(super) fn gone(&mut self, work: Work<'_>, route: usize, permit: Permit) {
        if let Some(breaker) = self.breaker(route, work.model) {
            breaker.gone(permit);
        }
    }

    /// A call that was sent to `route` has ended.
    pub(super) fn ended(
        &mut self,
        work: Work<'_>,
        route: usize,
        permit: Permit,
        ended: &Result<Outcome, Failed>,
        now: Instant,
    ) -> (Next, News) {
        let mut news = News::default();
        if let Some(breaker) = self.breaker(route, work.model) {
            let was_closed = breaker.is_closed();
            breaker.ended(permit, Health::of(ended), now);
            let is_closed = breaker.is_closed();
            news.breaker_opened = (was_closed != is_closed).then_some(was_closed);
        }
        let failed = match ended {
            Ok(_) => {
                self.marks.clear(route, work, permit.sent());
                return (Next::Done, news);
            }
            Err(failed) => failed,
        };
        if let Some(reason) = Reason::of(failed) {
            let is_new = self.marks.set(route, work, reason, failed, now);
            news.set_aside = is_new.then_some(reason);
            return (Next::Elsewhere, news);
        }
        let next = match failed.failure.code {
            ErrorCode::UpstreamUnreachable | ErrorCode::UpstreamOverloaded => Next::Elsewhere,
            // What was left out of it would be sent anew, for which there is no turn within the time that it can wait.
            _ if is_held_back(failed) => Next::Elsewhere,
            _ if throttled(failed).is_some() => Next::Throttled,
            _ => Next::Done,
        };
        (next, news)
    }

    /// What becomes of a call that no route serves. What passes by itself goes before what somebody has to mend, and
    /// that before the end of the task.
    pub(super) fn verdict(
        &self,
        asking: &Asking<'_>,
        candidates: &[Candidate],
        now: Instant,
    ) -> Option<Failed> {
        let said = candidates.iter().filter_map(|candidate| {
            let mut refused = asking.refused.iter();
            let own = refused.find(|(route, _)| *route == candidate.route);
            own.map(|(_, failed)| failed)
                .or_else(|| Some(&self.marks.find(candidate.route, asking.work)?.failed))
        });
        let failed = said.min_by_key(|failed| (hopelessness(failed), throttled(failed)))?;
        if !matches!(Reason::of(failed), Some(Reason::Pause(_))) {
            return Some(failed.clone());
        }
        let until = candidates
            .iter()
            .filter_map(|candidate| self.marks.find(candidate.route, asking.work))
            .filter(|mark| Reason::of(&mark.failed) != Some(Reason::Model))
            .map(|mark| mark.until)
            .min()?;
        let held = held_back(until.saturating_duration_since(now));
        let is_own = asking.refused.iter().any(|(_, own)| own == failed);
        Some(Failed {
            failure: if is_own {
                failed.failure.clone()
            } else {
                held.failure
            },
            recourse: held.recourse,
        })
    }

    /// Whether a route gets all the calls of a model that it can take: it is not set aside, and its endpoint does not keep
    /// failing.
    pub(super) fn is_well(&self, route: usize, model: &str) -> bool {
        let endpoint = self.seats[route].endpoint;
        let breaker = self.breakers.get(model).and_then(|of| of.get(endpoint));
        breaker.is_none_or(Breaker::is_closed) && !self.marks.holds(route, model)
    }

    /// How many models' calls an endpoint's breakers hold back.
    pub(super) fn open_breakers(&self, endpoint: usize) -> usize {
        let breakers = self.breakers.values().filter_map(|of| of.get(endpoint));
        breakers.filter(|breaker| !breaker.is_closed()).count()
    }

    /// The routes that this call may be sent to. Those set aside before it began come in only when there is no other, not
    /// even one to come back to.
    fn offers(
        &mut self,
        asking: &Asking<'_>,
        candidates: &[Candidate],
        now: Instant,
    ) -> Vec<Offer> {
        let (mut offers, mut aside, mut opens_later) = (Vec::new(), Vec::new(), false);
        for candidate in candidates {
            let route = candidate.route;
            let breaker = self.breaker(route, asking.work.model);
            let opens_at = breaker.map_or(now, |breaker| breaker.opens_at(now));
            let offer = Offer {
                route,
                turn: candidate.opens_in,
                breaker: opens_at.saturating_duration_since(now),
            };
            let mut refused = asking.refused.iter();
            let refused = refused.find(|(refused, _)| *refused == route);
            match self.marks.standing(route, asking.work, now) {
                Standing::Paused => opens_later = true,
                Standing::Free if refused.is_some_and(|(_, failed)| is_held_back(failed)) => {
                    opens_later = true;
                }
                _ if refused.is_some() => {}
                Standing::Free | Standing::OnTrial => offers.push(offer),
                // What was said while the call looked for a route is said to it as well.
                Standing::Aside(since) if since < asking.began => aside.push(offer),
                Standing::Aside(_) => {}
            }
        }
        if offers.is_empty() && !opens_later {
            return aside;
        }
        offers
    }

    fn compare(&self, a: &Offer, b: &Offer) -> Ordering {
        let price = |offer: &Offer| self.seats[offer.route].price;
        a.opens_in()
            .cmp(&b.opens_in())
            .then(price(a).total_cmp(&price(b)))
            .then(self.used[a.route].cmp(&self.used[b.route]))
    }

    fn breaker(&mut self, route: usize, model: &str) -> Option<&mut Breaker> {
        let endpoint = self.seats[route].endpoint;
        self.breakers.get_mut(model)?.get_mut(endpoint)
    }

    /// Sees to it that the model has breakers. Tasks may name any number of models.
    fn know(&mut self, model: &str, now: Instant) {
        if self.breakers.contains_key(model) {
            return;
        }
        if self.breakers.len() >= self.look_at {
            let is_used = |of: &Vec<Breaker>| !of.iter().all(|breaker| breaker.is_idle(now));
            self.breakers.retain(|_, of| is_used(of));
            self.look_at = MANY.max(2 * self.breakers.len());
        }
        let endpoints = self.seats.iter().map(|seat| seat.endpoint + 1).max();
        let mut breakers = Vec::new();
        breakers.resize_with(endpoints.unwrap_or(0), Breaker::default);
        self.breakers.insert(model.to_owned(), breakers);
    }
}

/// A route that a call may take.
#[derive(Clone, Copy, Debug)]
struct Offer {
    route: usize,
    turn: Duration,
    breaker: Duration,
}

impl Offer {
    fn opens_in(&self) -> Duration {
        self.turn.max(self.breaker)
    }
}

/// The higher, the more has to happen before the task can go on.
fn hopelessness(failed: &Failed) -> u8 {
    match failed.recourse {
        Recourse::Retry {
            budget: Budget::Time,
            wait: Wait::Told(_),
        } => 1,
        Recourse::Retry { .. } => 0,
        Recourse::Park(_) => 2,
        Recourse::Never => 3,
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
