//! The replicas, the store they share, and the hand that does them harm.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tidings::upstream;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::TaskTracker;

use super::{
    clock::VirtualClock,
    ledger::Ledger,
    link::{Link, Power},
    plan::{CALM, CallFaults, Deed, HintFaults, Plan},
    replica::Replica,
};
use crate::support::model_store::{ModelStore, Snapshot};

/// What a run happens in.
pub(super) struct World {
    pub(super) ledger: Arc<Ledger>,
    pub(super) model: Arc<ModelStore>,
    pub(super) plan: Plan,
    pub(super) clients: TaskTracker,
    upstream: upstream::Client,
    start: Instant,
    state: Mutex<State>,
}

struct State {
    places: Vec<Option<Arc<Replica>>>,
    seeds: StdRng,
    replicas: usize,
    faults: (CallFaults, HintFaults, bool),
    snapshot: Option<(u64, Snapshot)>,
}

impl World {
    /// A world with all replicas running.
    pub(super) fn new(seed: u64, upstream: upstream::Client, is_traced: bool) -> Arc<World> {
        let plan = Plan::draw(seed);
        let clock = Arc::new(VirtualClock::start());
        let world = Arc::new(World {
            ledger: Arc::new(Ledger::new(clock.clone(), is_traced)),
            model: Arc::new(ModelStore::new(clock)),
            clients: TaskTracker::new(),
            upstream,
            start: Instant::now(),
            state: Mutex::new(State {
                places: vec![None; plan.replicas],
                seeds: StdRng::seed_from_u64(!seed),
                replicas: 0,
                faults: (plan.calls, plan.hints, false),
                snapshot: None,
            }),
            plan,
        });
        for place in 0..world.plan.replicas {
            world.start_in(place);
        }
        world
    }

    /// Any replica that is there, once there is one.
    pub(super) async fn any(&self, dice: &mut StdRng) -> Arc<Replica> {
        loop {
            let there: Vec<Arc<Replica>> =
                self.state.lock().places.iter().flatten().cloned().collect();
            if !there.is_empty() {
                return there[dice.random_range(0..there.len())].clone();
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until so many milliseconds after the start.
    pub(super) async fn until(&self, millis: u64) {
        sleep_until(self.start + Duration::from_millis(millis)).await;
    }

    /// Does what the plan says, and lets everything be well from [`CALM`] on.
    pub(super) async fn run_deeds(self: Arc<Self>) {
        for (at, deed) in self.plan.deeds.clone() {
            self.until(at).await;
            self.ledger.trace(|| format!("--- {deed:?}"));
            match deed {
                Deed::Crash { place, back_after } => self.crash(place, back_after),
                Deed::Pause { place, length } => self.pause(place, length),
                Deed::Drain { place } => self.drain(place),
                Deed::Away { length } => self.away(length),
                Deed::Snapshot => {
                    let taken = (self.ledger.now(), self.model.snapshot());
                    self.state.lock().snapshot = Some(taken);
                }
                Deed::Restore => self.restore(),
            }
        }
        self.until(CALM).await;
        self.ledger.trace(|| "--- calm".into());
        self.set_faults((CallFaults::default(), self.plan.calm_hints, false));
    }

    fn start_in(&self, place: usize) {
        let mut state = self.state.lock();
        let (number, seed) = (state.replicas, state.seeds.random());
        state.replicas += 1;
        let link = Link::new(number, seed, self.model.clone(), self.ledger.clone());
        let (calls, hints, is_away) = state.faults;
        link.set(calls, hints, is_away);
        self.ledger.trace(|| format!("r{number} starts in {place}"));
        let replica = Replica::start(link, self.upstream.clone(), self.plan.concurrency);
        state.places[place] = Some(replica);
    }

    /// Takes a replica out of its place, so that no client finds it.
    fn take(&self, place: usize) -> Option<Arc<Replica>> {
        self.state.lock().places[place].take()
    }

    fn crash(self: &Arc<Self>, place: usize, back_after: u64) {
        let Some(replica) = self.take(place) else {
            return;
        };
        let now = self.ledger.now();
        self.ledger
            .book(|book| book.line(replica.link.number).dead = Some(now));
        replica.crash();
        let world = self.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(back_after)).await;
            world.start_in(place);
        });
    }

    fn pause(self: &Arc<Self>, place: usize, length: u64) {
        let Some(replica) = self.state.lock().places[place].clone() else {
            return;
        };
        let (now, ledger) = (self.ledger.now(), self.ledger.clone());
        // It has been in trouble from the first moment, whether it ever goes on or not.
        let line = replica.link.number;
        ledger.book(|book| book.line(line).troubles.push((now, now + length)));
        replica.link.switch(Power::Paused);
        tokio::spawn(async move {
            sleep(Duration::from_millis(length)).await;
            ledger.trouble(line, now);
            ledger.trace(|| format!("--- r{line} goes on"));
            replica.link.switch(Power::On);
        });
    }

    fn drain(self: &Arc<Self>, place: usize) {
        let Some(replica) = self.take(place) else {
            return;
        };
        let now = self.ledger.now();
        self.ledger
            .book(|book| book.line(replica.link.number).drained = Some(now));
        self.start_in(place);
        let ledger = self.ledger.clone();
        tokio::spawn(async move {
            replica.drain().await;
            let now = ledger.now();
            ledger.book(|book| book.line(replica.link.number).dead = Some(now));
        });
    }

    fn away(self: &Arc<Self>, length: u64) {
        let (calls, hints, _) = self.state.lock().faults;
        self.set_faults((calls, hints, true));
        let world = self.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(length)).await;
            world.set_faults((calls, hints, false));
        });
    }

    fn restore(&self) {
        let Some((taken, snapshot)) = self.state.lock().snapshot.take() else {
            return;
        };
        let now = self.ledger.now();
        self.model.restore(snapshot);
        self.ledger.book(|book| {
            book.lost.push((taken, now));
            book.leases.clear();
        });
    }

    fn set_faults(&self, faults: (CallFaults, HintFaults, bool)) {
        let mut state = self.state.lock();
        state.faults = faults;
        for replica in state.places.iter().flatten() {
            replica.link.set(faults.0, faults.1, faults.2);
        }
    }
}
