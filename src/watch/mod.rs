//! From changes to streams: one subscription to the store's feed a process ([`hub`]), one pull-driven stream a
//! watcher ([`task`], [`batch`]).
//!
//! Subscribe first, then read, then wait. A change only says "look"; what is told comes from the record, in order
//! of its revisions. A watcher that does not read costs its place in a table and nothing else: nothing is queued for it.

pub mod batch;
pub mod hub;
mod reader;
mod slot;
mod sync;
pub mod task;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{chance, model::TaskId, store};

pub use hub::Hub;

/// An idle stream shows that it lives; service meshes cut streams that are silent for a minute.
pub const HEARTBEAT: Duration = Duration::from_secs(30);
/// How long a stream outlasts a store that is away before it asks its watcher to come back.
const PATIENCE: Duration = Duration::from_secs(30);
/// First pause before the store is asked again.
const RETRY: Duration = Duration::from_millis(100);
/// Longest pause before the store is asked again.
const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// Why a stream ended without its last event.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such task.
    #[error("find task {0}")]
    NoSuchTask(TaskId),
    /// The task is past its retention.
    #[error("read task {0}: it is past its retention")]
    Expired(TaskId),
    /// The watcher claims to have seen what has not happened.
    #[error("resume after {asked}: the last is {last}")]
    Beyond {
        /// Where the watcher wants to resume.
        asked: u64,
        /// Where the truth ends.
        last: u64,
    },
    /// This process shuts down; the watcher may resume at once on another.
    #[error("go on: this server is shutting down")]
    Draining,
    /// The store failed.
    #[error("{0}")]
    Store(#[from] store::Error),
}

/// Pauses between reads of a store that is away.
#[derive(Debug, Default)]
struct Retry {
    tries: u32,
    spent: Duration,
}

impl Retry {
    /// Waits, or gives the error back when patience is over or trying again is no use. Nobody waits for a store on a
    /// server that goes: its watcher is to resume on another.
    async fn after(
        &mut self,
        error: store::Error,
        draining: &CancellationToken,
    ) -> Result<(), Error> {
        if self.spent >= PATIENCE || !matches!(error, store::Error::Unavailable(_)) {
            return Err(error.into());
        }
        let pause = (RETRY * 2u32.saturating_pow(self.tries)).min(LONGEST_RETRY);
        self.tries += 1;
        self.spent += pause;
        tokio::select! {
            biased;
            () = draining.cancelled() => Err(Error::Draining),
            () = tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * chance::unit())) => Ok(()),
        }
    }
}
