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

use super::machine::Machine;
use crate::store::{Change, Error};

/// Requests in one group; bounds how long the first of them waits.
const GROUP_LIMIT: usize = 1_024;

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
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) changes: broadcast::Sender<Change>,
    pub(super) health: Arc<Health>,
}

impl Writer {
    /// Serves until every sender is gone or a write fails.
    pub(super) fn run(mut self) {
        while let Some(first) = self.requests.blocking_recv() {
            let mut answers = vec![first(&mut self.machine)];
            while answers.len() < GROUP_LIMIT
                && let Ok(next) = self.requests.try_recv()
            {
                answers.push(next(&mut self.machine));
            }
            if let Err(error) = self.write() {
                let broken = self.give_up(&error);
                answers.into_iter().for_each(|answer| answer(Err(&broken)));
                return;
            }
            self.announce();
            answers.into_iter().for_each(|answer| answer(Ok(())));
        }
        if let Err(error) = self.close() {
            self.give_up(&error);
        }
    }

    fn write(&mut self) -> Result<(), fjall::Error> {
        if self.machine.flush()? {
            self.health.commits.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn announce(&mut self) {
        let mut written = self.machine.next_group();
        for change in written.changes() {
            // Nobody may be listening.
            let _ = self.changes.send(change);
        }
    }

    fn close(&mut self) -> Result<(), fjall::Error> {
        self.machine.disk.db.persist(PersistMode::SyncAll)?;
        self.machine.vigil.note()?;
        Ok(())
    }

    fn give_up(&mut self, error: &fjall::Error) -> Broken {
        self.health.give_up(Broken {
            message: format!("the database failed and the process must be restarted: {error}"),
            full: matches!(error, fjall::Error::Io(io) if io.kind() == io::ErrorKind::StorageFull),
        })
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
