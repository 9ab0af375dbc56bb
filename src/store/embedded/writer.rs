//! The one thread that writes. It takes all requests that wait, applies them in memory, writes once, and only then
//! answers and announces: whatever arrives during one write shares the next. Callers themselves only acquire, also while
//! it writes.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use fjall::PersistMode;
use parking_lot::Mutex;
use tokio::sync::{broadcast, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    disk::Disk,
    group::{self, Ledger, Line},
    machine::Machine,
    promise::Promise,
    recent::Recent,
};
use crate::store::{Change, Error, Recent as Told};

/// One request: applies itself, and leaves behind how to answer, if anybody waits for that.
pub(super) type Request = Box<dyn FnOnce(&mut Machine) -> Option<Answer> + Send>;
/// Answers once the group is written, or could not be.
pub(super) type Answer = Box<dyn FnOnce(Result<(), &Broken>)>;

/// Why the writer gave up. There is no way back but a restart: after a failed write or sync nobody knows what the
/// device holds.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    message: String,
    full: bool,
}

impl Broken {
    /// What the callers are told whose changes were to be written.
    fn answer(&self) -> Error {
        match self.full {
            true => Error::Full(self.message.clone()),
            false => self.refusal(),
        }
    }

    /// What every later caller is told.
    pub(super) fn refusal(&self) -> Error {
        Error::Unavailable(self.message.clone())
    }
}

/// What the writer shows to the outside.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Durable writes since the start.
    pub(super) commits: AtomicU64,
    /// Set once, when the writer gave up.
    pub(super) broken: OnceLock<Broken>,
    /// Cancelled when the writer gave up.
    pub(super) failed: CancellationToken,
}

impl Health {
    fn give_up(&self, broken: Broken) -> Broken {
        tracing::error!(
            "failed to keep the store going: {}; it takes no more requests",
            broken.message
        );
        let broken = self.broken.get_or_init(|| broken).clone();
        self.failed.cancel();
        broken
    }
}

/// Makes a request of `work`, and the place where its answer arrives.
pub(super) fn request<T: Send + 'static>(
    work: impl FnOnce(&mut Machine) -> Result<T, Error> + Send + 'static,
) -> (Request, oneshot::Receiver<Result<T, Error>>) {
    let (reply, receiver) = oneshot::channel();
    let request = move |machine: &mut Machine| -> Option<Answer> {
        let result = work(machine);
        Some(Box::new(move |written: Result<(), &Broken>| {
            // Whoever asked may have gone; what was done stays done.
            let _ = reply.send(written.map_err(Broken::answer).and(result));
        }))
    };
    (Box::new(request), receiver)
}

/// Tells the writer that there is something to write, which nobody waits for.
pub(super) fn news() -> Request {
    Box::new(|_| None)
}

/// Makes the store give up when whoever holds this panics: what is in memory may have been changed by half.
pub(super) struct Fuse(pub(super) Arc<Health>);

impl Drop for Fuse {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.give_up(Broken {
                message: "the store panicked and the process must be restarted".into(),
                full: false,
            });
        }
    }
}

/// The thread's state.
pub(super) struct Writer {
    machine: Arc<Mutex<Machine>>,
    disk: Arc<Disk>,
    recent: Arc<Recent>,
    told: Arc<Told>,
    promise: Promise,
    /// What the last group changed, to be announced.
    changed: Vec<Change>,
    changes: broadcast::Sender<Change>,
    health: Arc<Health>,
    _fuse: Fuse,
}

impl Writer {
    /// A writer that has not begun.
    pub(super) fn new(
        machine: Arc<Mutex<Machine>>,
        promise: Promise,
        told: Arc<Told>,
        changes: broadcast::Sender<Change>,
        health: Arc<Health>,
    ) -> Writer {
        let (disk, recent) = {
            let machine = machine.lock();
            (machine.disk.clone(), machine.recent.clone())
        };
        Writer {
            machine,
            disk,
            recent,
            told,
            promise,
            changed: Vec::new(),
            changes,
            _fuse: Fuse(health.clone()),
            health,
        }
    }

    /// Serves until every sender is gone or a write fails.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        if group::serve(&mut requests, &mut self).is_ok()
            && let Err(error) = self.close()
        {
            self.give_up(&error);
        }
    }

    fn close(&mut self) -> Result<(), fjall::Error> {
        // Whoever acquired last told nobody if the line was closed by then.
        self.write_group()?;
        self.announce();
        self.disk.db.persist(PersistMode::SyncAll)?;
        self.promise.sync()?;
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), fjall::Error> {
        let flight = self.machine.lock().take_off();
        let mut landing = flight.write(&self.disk, &mut self.promise)?;
        let commits = u64::from(landing.wrote);
        self.health.commits.fetch_add(commits, Ordering::Relaxed);
        landing.keep(&self.recent);
        landing.tell(&self.told);
        self.changed = landing.end(&mut self.machine.lock());
        Ok(())
    }

    fn give_up(&mut self, error: &fjall::Error) -> Broken {
        self.health.give_up(Broken {
            message: format!("the database failed and the process must be restarted: {error}"),
            full: matches!(error, fjall::Error::Io(io) if io.kind() == io::ErrorKind::StorageFull),
        })
    }
}

impl Line for mpsc::Receiver<Request> {
    type Request = Request;

    fn next(&mut self) -> Option<Request> {
        self.recv().ok()
    }

    fn waiting(&mut self) -> Option<Request> {
        self.try_recv().ok()
    }

    fn soon(&mut self, time: Duration) -> Option<Request> {
        self.recv_timeout(time).ok()
    }
}

impl Ledger for Writer {
    type Request = Request;
    type Answer = Answer;
    type Failure = Broken;

    fn apply(&mut self, request: Request) -> Option<Answer> {
        let mut machine = self.machine.lock();
        machine.overlay.is_known = true;
        request(&mut machine)
    }

    fn write(&mut self) -> Result<(), Broken> {
        self.write_group().map_err(|error| self.give_up(&error))
    }

    fn announce(&mut self) {
        for change in self.changed.drain(..) {
            // Nobody may be listening.
            let _ = self.changes.send(change);
        }
    }

    fn answer(&mut self, answer: Answer, written: Result<(), &Broken>) {
        answer(written);
    }
}
