//! Several endpoints and keys as one upstream: each call goes where it can be sent earliest, then to the cheapest.
//!
//! An endpoint that has no money, gives no access, does not know the model or asks for a long pause is set aside for
//! that model (`aside`), one that keeps failing is given a rest (`breaker`), and calls go to another at once; `board`
//! decides. What was certainly not answered may be sent elsewhere within the same attempt; what may have been answered,
//! and billed, never is: that is for the task's allowance to decide, and there is no hedging. Only when no route is left
//! is the call given back: to wait, to park its batch, or to fail.
//!
//! All of this is known to one process: another replica finds out by itself, at the price of a few calls. A batch that was
//! parked is what holds tasks back for good; resumed, its first call asks every endpoint again.

use std::{
    collections::BTreeSet,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use metrics::{counter, gauge};
use parking_lot::{Mutex, MutexGuard};

use super::{
    Call, Client, Config, Endpoint, Error, Models, Shared,
    aside::Work,
    asked::cost,
    board::{Asking, Board, Candidate, News, Next, Pick, Seat},
    client::wait,
    endpoint::renamed,
    flight::Flight,
    pace::Cost,
    patience::{Once, Patience, Throttles},
    taxonomy::held_back,
    unsent::{nameless, resting, unserved},
};
use crate::{
    chance,
    model::{Failed, Limits, Outcome, Recourse, Waiting},
};

/// How much longer than it looked a call waits at one route before it looks for another.
const SLACK: Duration = Duration::from_millis(250);
/// Waits are stretched by up to this share, so that not all calls come back at once.
const STRETCH: f64 = 0.1;

/// Calls one of several endpoints. Cheap to clone; clones share all that is known.
#[derive(Clone)]
pub struct Router(Arc<Inner>);

struct Inner {
    /// Names of the endpoints.
    endpoints: Vec<String>,
    routes: Vec<Route>,
    board: Mutex<Board>,
}

/// One endpoint with one of its keys.
struct Route {
    endpoint: usize,
    client: Client,
    models: Models,
}

impl Inner {
    /// Some route that is well serves the model.
    fn is_served_well(&self, board: &Board, model: &str) -> bool {
        let mut routes = self.routes.iter().enumerate();
        routes.any(|(route, seen)| {
            seen.models.name_of(model).is_some() && board.is_well(route, model)
        })
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("endpoints", &self.0.endpoints)
            .finish_non_exhaustive()
    }
}

impl Limits for Router {
    /// Calls wait when they do at every route that serves the model: no longer than at the one that is free first.
    fn waiting(&self, model: &str) -> Option<Waiting> {
        let serving = self.0.routes.iter().filter_map(|seen| {
            let name = seen.models.name_of(model)?;
            Some(seen.client.waiting(name))
        });
        let waits = serving.collect::<Option<Vec<_>>>()?;
        waits.into_iter().min_by_key(|waiting| waiting.until)
    }
}

impl From<Client> for Router {
    /// One server that serves every model.
    fn from(client: Client) -> Self {
        let seat = Seat {
            endpoint: 0,
            price: 0.0,
        };
        let route = Route {
            endpoint: 0,
            client,
            models: Models::Any,
        };
        Router::of(vec!["upstream".to_owned()], vec![(seat, route)])
    }
}

impl Router {
    /// A router over these endpoints. Nothing is sent yet. Fails when a URL or a key cannot be used.
    pub fn new(endpoints: &[Endpoint]) -> Result<Router, Error> {
        let mut routes = Vec::new();
        for (index, endpoint) in endpoints.iter().enumerate() {
            let keys = endpoint.keys.iter().cloned().map(Some);
            let none = endpoint.keys.is_empty().then_some(None);
            for api_key in keys.chain(none) {
                let config = Config {
                    base_url: endpoint.base_url.clone(),
                    api_key,
                    requests_per_minute: endpoint.requests_per_minute,
                    tokens_per_minute: endpoint.tokens_per_minute,
                    adaptive_concurrency: endpoint.adaptive_concurrency,
                };
                let client = Client::styled(config, endpoint.style)?;
                let seat = Seat {
                    endpoint: index,
                    price: endpoint.price,
                };
                let route = Route {
                    endpoint: index,
                    client,
                    models: endpoint.models.clone(),
                };
                routes.push((seat, route));
            }
        }
        let names = endpoints.iter().map(|endpoint| endpoint.name.clone());
        Ok(Router::of(names.collect(), routes))
    }

    /// What is known of all routes.
    pub(super) fn board(&self) -> MutexGuard<'_, Board> {
        self.0.board.lock()
    }

    fn of(endpoints: Vec<String>, routes: Vec<(Seat, Route)>) -> Self {
        let (seats, routes) = routes.into_iter().unzip();
        Router(Arc::new(Inner {
            endpoints,
            routes,
            board: Mutex::new(Board::new(seats)),
        }))
    }

    /// From now on all processes that share this keep to one schedule at each server and key. The first call counts.
    pub fn share(&self, shared: Arc<dyn Shared>) {
        for route in &self.0.routes {
            route.client.share(shared.clone());
        }
    }

    /// How many calls may wait for their turns, at all routes together; none where any number may be begun.
    ///
    /// A route that is set aside for a model, or whose endpoint keeps failing, counts for nothing as long as another one
    /// serves that model: its calls go there, and more of them than have room there would only be taken and given back.
    /// Where none is well they all count: few calls find out whether that is still so.
    pub fn room(&self) -> Option<usize> {
        let board = self.board();
        let mut room = 0;
        for (route, seen) in self.0.routes.iter().enumerate() {
            let counts =
                |model: &str| board.is_well(route, model) || !self.0.is_served_well(&board, model);
            let models = &seen.models;
            room += seen
                .client
                .room(|theirs| models.asked_as(theirs).any(counts))?;
        }
        let first = self.0.routes.iter().map(|route| route.client.first_room());
        Some(if room > 0 { room } else { first.sum() })
    }

    /// Sends the call and reads the answer, at whichever endpoint serves it. Short waits for a rate limit or for a server
    /// that keeps failing are waited out; every other failure comes back with what may be done about it. `before_send`
    /// is awaited once, before the first byte goes out. Dropping the future closes the connection.
    pub async fn complete(
        &self,
        call: &Call,
        before_send: impl Future<Output = ()> + Send,
    ) -> Result<Outcome, Failed> {
        let mut before_send = Once::new(before_send);
        let mut patience = Patience::default();
        let mut asking = Asking {
            work: Work {
                model: &call.model,
                path: call.kind.path(),
            },
            began: Instant::now(),
            refused: Vec::new(),
        };
        let mut throttles = Throttles::default();
        let cost = cost(call.kind, &call.body);
        loop {
            let candidates = self.candidates(&call.model, cost);
            let now = Instant::now();
            let picked = self.board().pick(&asking, &candidates, now);
            let (route, opens_in, next_best) = match picked {
                Pick::Nowhere => return Err(throttles.tell(self.given_up(&asking, &candidates))),
                Pick::Hold(rest) if rest > patience.rest => {
                    return Err(self.unless_refused(&asking, &candidates, resting()));
                }
                Pick::Hold(rest) => {
                    wait(stretched(rest), &mut patience.rest).await;
                    continue;
                }
                Pick::Go {
                    route,
                    opens_in,
                    next_best,
                } => (route, opens_in, next_best),
            };
            if !throttles.pause(candidates.len(), &mut patience.limit).await {
                let held = self.unless_refused(&asking, &candidates, held_back(opens_in));
                return Err(throttles.tell(held));
            }
            let most = next_best.map_or(patience.limit, |next| next.max(opens_in) + SLACK);
            let mut flight = Flight::new(self, &asking, route);
            let before_send = flight.begin(&mut before_send);
            let ended = self
                .send(route, call, before_send, &mut patience.limit, most)
                .await;
            let next = flight.ended(&ended);
            match (ended, next) {
                (Ok(outcome), _) => return Ok(outcome),
                (Err(failed), Next::Done) => return Err(failed),
                (Err(failed), Next::Elsewhere) => asking.refused.push((route, failed)),
                (Err(failed), Next::Throttled) => throttles.add(failed),
                (Err(_), Next::Withheld) => {}
            }
        }
    }

    /// The routes that serve the model, with how long a call of that cost would wait for its turn there.
    fn candidates(&self, model: &str, cost: Cost) -> Vec<Candidate> {
        let routes = self.0.routes.iter().enumerate();
        routes
            .filter_map(|(route, seen)| {
                let name = seen.models.name_of(model)?;
                let opens_in = seen.client.opens_in(name, cost);
                Some(Candidate { route, opens_in })
            })
            .collect()
    }

    async fn send(
        &self,
        route: usize,
        call: &Call,
        before_send: impl Future<Output = Result<(), Failed>> + Send,
        patience: &mut Duration,
        most: Duration,
    ) -> Result<Outcome, Failed> {
        let Route {
            client,
            models,
            endpoint,
        } = &self.0.routes[route];
        let name = models.name_of(&call.model).unwrap_or(&call.model);
        let renamed = if name == call.model {
            None
        } else {
            Some(renamed(call, name).ok_or_else(nameless)?)
        };
        let call = renamed.as_ref().unwrap_or(call);
        let granted = most.min(*patience);
        let mut left = granted;
        let ended = client.attempt(call, before_send, &mut left).await;
        *patience = patience.saturating_sub(granted - left);
        ended.map_err(|failed| self.named(*endpoint, failed))
    }

    /// The failure with the name of its endpoint, where there are several.
    fn named(&self, endpoint: usize, mut failed: Failed) -> Failed {
        if let [_, _, ..] = self.0.endpoints.as_slice() {
            let name = &self.0.endpoints[endpoint];
            failed.failure.message += &format!(" (endpoint {name})");
        }
        failed
    }

    fn given_up(&self, asking: &Asking<'_>, candidates: &[Candidate]) -> Failed {
        if candidates.is_empty() {
            return unserved();
        }
        let board = self.board();
        board
            .verdict(asking, candidates, Instant::now())
            .unwrap_or_else(resting)
    }

    /// `held`, unless an endpoint that failed in passing has been met already: that is what there is to tell.
    fn unless_refused(
        &self,
        asking: &Asking<'_>,
        candidates: &[Candidate],
        held: Failed,
    ) -> Failed {
        let met = asking.refused.iter().map(|(route, _)| *route).collect();
        let passing = |failed: &Failed| matches!(failed.recourse, Recourse::Retry { .. });
        Some(self.given_up(asking, &only(candidates, &met)))
            .filter(|failed| !met.is_empty() && passing(failed))
            .unwrap_or(held)
    }

    /// Tells operators what came of a call.
    pub(super) fn tell(&self, route: usize, news: News) {
        let endpoint = self.0.routes[route].endpoint;
        let name = &self.0.endpoints[endpoint];
        if let Some(reason) = news.set_aside {
            let (reason, lasts) = (reason.word(), reason.lasts());
            counter!("tidings_upstream_set_aside_total", "endpoint" => name.clone(), "reason" => reason)
                .increment(1);
            tracing::warn!(
                endpoint = name,
                reason,
                ?lasts,
                "endpoint set aside for a model"
            );
        }
        if let Some(opened) = news.breaker_opened {
            let open = self.board().open_breakers(endpoint);
            gauge!("tidings_upstream_breakers_open", "endpoint" => name.clone()).set(open as f64);
            if opened {
                tracing::warn!(
                    endpoint = name,
                    "endpoint keeps failing; asking once a second"
                );
            } else {
                tracing::info!(endpoint = name, "endpoint is back");
            }
        }
    }
}

fn only(candidates: &[Candidate], routes: &BTreeSet<usize>) -> Vec<Candidate> {
    let among = |candidate: &&Candidate| routes.contains(&candidate.route);
    candidates.iter().filter(among).copied().collect()
}

fn stretched(wait: Duration) -> Duration {
    wait.mul_f64(1.0 + STRETCH * chance::unit())
}
