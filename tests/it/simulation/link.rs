//! A replica's line to the store: everything it asks and hears goes through here, and here it goes wrong.

use std::{pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::FutureExt as _;
use parking_lot::Mutex;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tidings::{
    clock::Timestamp,
    model::{Batch, BatchId, Cause, Task, TaskId, WorkerId},
    store::{
        Accepted, Acquired, Amendment, Change, Commit, Cursor, Error, Info, Listing, Log, Lookup,
        Renewal, Stats, Store, Submission, Verdict,
    },
};
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

/// The model answers at once.
fn at_once<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().expect("the model does not wait")
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

#[async_trait]
impl Store for Link {
    fn info(&self) -> Info {
        self.model.info()
    }

    fn now(&self) -> Timestamp {
        self.model.now()
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    async fn submit(&self, submission: Submission) -> Result<Accepted, Error> {
        self.call("submit", |model| at_once(model.submit(submission.clone())))
            .await
    }

    async fn acquire(
        &self,
        worker: WorkerId,
        max: usize,
        lease: Duration,
    ) -> Result<Acquired, Error> {
        self.call("acquire", |model| {
            let acquired = at_once(model.acquire(worker, max, lease))?;
            self.ledger
                .acquired(self.number, worker, &acquired.tasks, lease);
            for task in &acquired.tasks {
                let (id, revision) = (short(&task.id), task.revision());
                self.ledger
                    .trace(|| format!("r{} acquires {id}@{revision}", self.number));
            }
            Ok(acquired)
        })
        .await
    }

    async fn commit(&self, commits: Vec<Commit>) -> Result<Vec<Verdict>, Error> {
        let is_reaper = |commit: &Commit| {
            let cause = commit.task.last().cause;
            matches!(cause, Cause::LeaseExpired | Cause::Poisoned)
        };
        let name = match commits.iter().any(is_reaper) {
            true => "reap",
            false => "commit",
        };
        self.call(name, |model| {
            let verdicts = at_once(model.commit(commits.clone()))?;
            self.ledger.committed(&commits, &verdicts);
            for (commit, verdict) in commits.iter().zip(&verdicts) {
                let (id, last) = (short(&commit.task.id), commit.task.last());
                let (revision, cause) = (commit.task.revision(), last.cause);
                self.ledger.trace(|| {
                    format!(
                        "r{} commits {id}@{revision} {cause:?}: {verdict:?}",
                        self.number
                    )
                });
            }
            Ok(verdicts)
        })
        .await
    }

    async fn renew(&self, renewals: &[Renewal], lease: Duration) -> Result<Vec<bool>, Error> {
        self.call("renew", |model| {
            let kept = at_once(model.renew(renewals, lease))?;
            for (renewal, kept) in renewals.iter().zip(&kept) {
                if *kept {
                    self.ledger.renewed(renewal.id, lease);
                }
                let id = short(&renewal.id);
                self.ledger
                    .trace(|| format!("r{} renews {id}: {kept}", self.number));
            }
            Ok(kept)
        })
        .await
    }

    async fn overdue(&self, max: usize) -> Result<Vec<Task>, Error> {
        self.call("overdue", |model| at_once(model.overdue(max)))
            .await
    }

    async fn tasks(&self, ids: &[TaskId]) -> Result<Vec<Lookup>, Error> {
        self.call("tasks", |model| at_once(model.tasks(ids))).await
    }

    async fn batch(&self, id: BatchId) -> Result<Option<Batch>, Error> {
        self.call("batch", |model| at_once(model.batch(id))).await
    }

    async fn log(&self, id: BatchId, from: u64, max: usize) -> Result<Option<Log>, Error> {
        self.call("log", |model| at_once(model.log(id, from, max)))
            .await
    }

    async fn list(
        &self,
        batch: Option<BatchId>,
        cursor: Option<Cursor>,
        max: usize,
    ) -> Result<Listing, Error> {
        self.call("list", |model| at_once(model.list(batch, cursor, max)))
            .await
    }

    async fn amend(&self, id: BatchId, amendment: Amendment) -> Result<Option<Batch>, Error> {
        self.call("amend", |model| at_once(model.amend(id, amendment)))
            .await
    }

    async fn sweep(&self) -> Result<usize, Error> {
        self.call("sweep", |model| at_once(model.sweep())).await
    }

    async fn stats(&self) -> Result<Stats, Error> {
        self.call("stats", |model| at_once(model.stats())).await
    }
}
