//! A replica's line to the store: everything it asks and hears goes through here, and here it goes wrong.

mod store;

use std::{pin::pin, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tidings::store::{Change, Error, Store as _};
use tokio::{
    sync::{Notify, broadcast},
    time::sleep,
};

use super::{
    ledger::{Ledger, short},
    plan::{CallFaults, HintFaults, LONGEST_DELAY, SLOWEST},
};
use crate::support::model_store::ModelStore;

/// More than any run has under way.
const CHANGES: usize = 1_024;

/// Whether the replica behind a line runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    On,
    /// Its process stands still: nothing it asked comes back, nothing new is asked.
    Paused,
    /// Its process is gone.
    Off,
}

/// One line.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) number: usize,
    pub(super) ledger: Arc<Ledger>,
    model: Arc<ModelStore>,
    power: Mutex<Power>,
    /// Wakes in the order of waiting, which a watch channel would not.
    switched: Notify,
    faults: Mutex<Faults>,
    changes: broadcast::Sender<Change>,
}

/// What may go wrong now.
#[derive(Debug)]
struct Faults {
    calls: CallFaults,
    hints: HintFaults,
    /// Nobody reaches the store.
    is_away: bool,
    dice: StdRng,
}

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fault {
    there: u64,
    back: u64,
    lost: bool,
    twice: bool,
    refused: bool,
    full: bool,
}

/// What becomes of one hint: after how long each of its copies arrives.
pub(super) type Copies = Vec<Duration>;

impl Link {
    pub(super) fn new(
        number: usize,
        seed: u64,
        model: Arc<ModelStore>,
        ledger: Arc<Ledger>,
    ) -> Arc<Self> {
        let from = ledger.now();
        ledger.book(|book| book.line(number).from = from);
        ledger.unrest(number);
        Arc::new(Link {
            number,
            ledger,
            model,
            power: Mutex::new(Power::On),
            switched: Notify::new(),
            faults: Mutex::new(Faults {
                calls: CallFaults::default(),
                hints: HintFaults::default(),
                is_away: false,
                dice: StdRng::seed_from_u64(seed),
            }),
            changes: broadcast::channel(CHANGES).0,
        })
    }

    /// What may go wrong from now on.
    pub(super) fn set(&self, calls: CallFaults, hints: HintFaults, is_away: bool) {
        let mut faults = self.faults.lock();
        (faults.calls, faults.hints, faults.is_away) = (calls, hints, is_away);
    }

    /// The replica stands still, goes on, or is gone.
    pub(super) fn switch(&self, to: Power) {
        let mut power = self.power.lock();
        if *power != Power::Off {
            *power = to;
            self.switched.notify_waiters();
        }
    }

    /// Waits until the replica runs; for ever when it is gone.
    pub(super) async fn running(&self) {
        self.reached(Power::On).await;
    }

    /// Waits until the replica is gone.
    pub(super) async fn gone(&self) {
        self.reached(Power::Off).await;
    }

    async fn reached(&self, wanted: Power) {
        loop {
            let mut switched = pin!(self.switched.notified());
            switched.as_mut().enable();
            if *self.power.lock() == wanted {
                return;
            }
            switched.await;
        }
    }

    /// What the store announces, before anything happens to it.
    pub(super) fn announced(&self) -> broadcast::Receiver<Change> {
        self.model.changes()
    }

    /// What is to become of a hint.
    pub(super) fn copies(&self) -> Copies {
        let mut faults = self.faults.lock();
        let HintFaults {
            lost,
            twice,
            delayed,
        } = faults.hints;
        if faults.dice.random_bool(lost) {
            return Copies::new();
        }
        let copies = 1 + usize::from(faults.dice.random_bool(twice));
        (0..copies)
            .map(|_| match faults.dice.random_bool(delayed) {
                true => Duration::from_millis(faults.dice.random_range(1..900)),
                false => Duration::ZERO,
            })
            .collect()
    }

    /// A hint arrives.
    pub(super) fn hint(&self, change: Change) {
        self.ledger
            .trace(|| format!("r{} hears {}", self.number, shown(&change)));
        // Nobody listening is no fault.
        let _ = self.changes.send(change);
    }

    /// One call of the store, and what goes wrong with it.
    async fn call<T>(
        &self,
        name: &'static str,
        act: impl Fn(&ModelStore) -> Result<T, Error> + Send + Sync,
    ) -> Result<T, Error>
    where
        T: Send,
    {
        let asked = self.ledger.now();
        self.running().await;
        let fault = self.draw(name);
        sleep_for(fault.there).await;
        self.running().await;
        if fault != Fault::default() {
            self.ledger
                .trace(|| format!("r{} {name} meets {fault:?}", self.number));
            self.ledger.unrest(self.number);
        }
        if fault.refused || fault.full {
            self.ledger.trouble(self.number, asked);
            return Err(match fault.full {
                true => Error::Full("told to be full".into()),
                false => Error::Unavailable("told to refuse".into()),
            });
        }
        if fault.twice {
            // The first answer is nobody's.
            let _ = act(&self.model);
        }
        let reply = act(&self.model);
        sleep_for(fault.back).await;
        self.running().await;
        if fault != Fault::default() {
            self.ledger.unrest(self.number);
        }
        if fault.twice || fault.lost || fault.there.max(fault.back) > LONGEST_DELAY {
            self.ledger.trouble(self.number, asked);
        }
        if fault.lost {
            return Err(Error::Unavailable("told to lose the reply".into()));
        }
        reply
    }

    fn draw(&self, name: &str) -> Fault {
        let mut faults = self.faults.lock();
        let Faults {
            calls,
            is_away,
            dice,
            ..
        } = &mut *faults;
        let mut delay = || {
            let slow = match name {
                "reap" => calls.hesitant,
                _ => calls.slow,
            };
            if dice.random_bool(slow) {
                dice.random_range(LONGEST_DELAY..=SLOWEST)
            } else if dice.random_bool(calls.delayed) {
                dice.random_range(1..=LONGEST_DELAY)
            } else {
                0
            }
        };
        let (there, back) = (delay(), delay());
        let may_fill = matches!(name, "submit" | "commit" | "reap");
        Fault {
            there,
            back,
            lost: dice.random_bool(calls.lost),
            twice: dice.random_bool(calls.twice),
            refused: dice.random_bool(calls.refused) || *is_away,
            full: dice.random_bool(calls.full) && may_fill,
        }
    }
}

async fn sleep_for(millis: u64) {
    if millis > 0 {
        sleep(Duration::from_millis(millis)).await;
    }
}

fn shown(change: &Change) -> String {
    match change {
        Change::Moved(moved) => moved
            .iter()
            .map(|it| format!("{}@{}:{:?} ", short(&it.task), it.revision, it.status))
            .collect(),
        Change::Noted(notes) => format!("{} notes", notes.len()),
        Change::Amended(batch) => format!("amended {}", short(batch)),
        Change::Gap => "a gap".into(),
    }
}
