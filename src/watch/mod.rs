//! From changes to streams: one subscription to the store's feed a process ([`hub`]), one pull-driven stream a
//! watcher ([`task`], [`batch`]).
//!
//! Subscribe first, then read, then wait. A change only says "look"; what is told comes from the record, in order
//! of its revisions. A watcher that does not read costs its place in a table and at most one page of what it is to be
//! told: nothing is queued for it.
//!
//! Whoever asks for it is also told what a running attempt puts out, between the transitions it belongs to. That is
//! read from where the watcher is, so that one who is late gets more at once, and hints only say when.
//!
//! A store that lost writes says so with a higher epoch. A stream goes on as if nothing had been when what it told is
//! still there, and begins anew with a `reset` when it is not.

pub mod batch;
pub mod hub;
mod life;
mod output;
mod pages;
mod reader;
mod slot;
mod sync;
pub mod task;
mod wait;

use std::{sync::Arc, time::Duration};

use crate::{
    model::{BatchId, Task, TaskId, Work},
    store,
};

pub use hub::Hub;

/// An idle stream shows that it lives; service meshes cut streams that are silent for a minute.
pub const HEARTBEAT: Duration = Duration::from_secs(30);

/// How long streams live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// After this, a tenth more or less, a stream ends and says where to resume: better than to be cut by a proxy.
    pub age: Duration,
    /// Over how much time the streams end when the server goes, so that their watchers do not come back all at once.
    pub drain: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            age: Duration::from_secs(600),
            drain: Duration::from_secs(2),
        }
    }
}

/// Where a watcher begins, or goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resume {
    /// The last revision of a task, or the last position of a batch's log, that was told; 0 for none.
    pub after: u64,
    /// The store's epoch at that time; 0 for unknown.
    pub epoch: u32,
}

/// Why a stream ended without its last event.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such task.
    #[error("find task {0}")]
    NoSuchTask(TaskId),
    /// The task is past its retention.
    #[error("read task {0}: it is past its retention")]
    Expired(TaskId),
    /// The task was there, and the store lost it.
    #[error("find task {0} again: the store lost it")]
    TaskLost(TaskId),
    /// The batch was there, and the store lost it.
    #[error("find batch {0} again: the store lost it")]
    BatchLost(BatchId),
    /// The watcher claims to have seen what has not happened.
    #[error("resume after {asked}: the last is {last}")]
    Beyond {
        /// Where the watcher wants to resume.
        asked: u64,
        /// Where the truth ends.
        last: u64,
    },
    /// The watcher claims to come from an epoch that has not begun.
    #[error("resume from store epoch {asked}: the store is in epoch {present}")]
    EpochBeyond {
        /// The watcher's epoch.
        asked: u32,
        /// The store's epoch.
        present: u32,
    },
    /// This process shuts down; the watcher may resume at once on another.
    #[error("go on: this server is shutting down")]
    Draining(Resume),
    /// The stream has lived its time; the watcher may resume at once.
    #[error("go on: the stream has lived its time")]
    Aged(Resume),
    /// The store failed.
    #[error("{0}")]
    Store(#[from] store::Error),
}

/// An answer from before what was told. A store that has been replaced may give it until it knows.
fn stale() -> store::Error {
    store::Error::Unavailable("its answers do not fit what it said before".to_owned())
}

/// A task as a watcher holds it: without its input, which is not told and may be large.
fn light(mut task: Task) -> Arc<Task> {
    let text = String::new();
    Arc::make_mut(&mut task.spec).work = Work::Prompt { text };
    Arc::new(task)
}
