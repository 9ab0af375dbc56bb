//! The one thread that changes anything. It takes all requests that wait, applies them in memory, writes once, and
//! only then answers and announces: whatever arrives during one write shares the next.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use fjall::PersistMode;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    group::{self, Ledger, Line},
    machine::Machine,
};
use crate::store::{Change, Error};

/// One request: applies itself, and leaves behind how to answer.
pub(super) type Request = Box<dyn FnOnce(&mut Machine) -> Answer + Send>;
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
    let request = move |machine: &mut Machine| -> Answer {
        let result = work(machine);
        Box::new(move |written| {
            // Whoever asked may have gone; what was done stays done.
            let _ = reply.send(written.map_err(Broken::answer).and(result));
        })
    };
    (Box::new(request), receiver)
}

/// The thread's state.
pub(super) struct Writer {
    pub(super) machine: Machine,
    pub(super) changes: broadcast::Sender<Change>,
    pub(super) health: Arc<Health>,
}

impl Writer {
    /// Serves until every sender is gone or a write fails.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        if group::serve(&mut requests, &mut self).is_ok()
            && let Err(error) = self.close()
        {
            self.give_up(&error);
        }
    }

    fn close(&mut self) -> Result<(), fjall::Error> {
        self.machine.disk.db.persist(PersistMode::SyncAll)?;
        self.machine.vigil.promise.sync()?;
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
        self.blocking_recv()
    }

    fn waiting(&mut self) -> Option<Request> {
        self.try_recv().ok()
    }
}

impl Ledger for Writer {
    type Request = Request;
    type Answer = Answer;
    type Failure = Broken;

    fn apply(&mut self, request: Request) -> Answer {
        request(&mut self.machine)
    }

    fn write(&mut self) -> Result<(), Broken> {
        match self.machine.flush() {
            Ok(true) => {
                self.health.commits.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error) => Err(self.give_up(&error)),
        }
    }

    fn announce(&mut self) {
        let mut written = self.machine.next_group();
        for change in written.changes() {
            // Nobody may be listening.
            let _ = self.changes.send(change);
        }
    }

    fn answer(&mut self, answer: Answer, written: Result<(), &Broken>) {
        answer(written);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.health.give_up(Broken {
                message: "the store's writer panicked and the process must be restarted".into(),
                full: false,
            });
        }
    }
}
