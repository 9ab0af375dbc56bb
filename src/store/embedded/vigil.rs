//! Watches over the device: whether there is room for more.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::store::Error;

/// How often the room is measured.
const INTERVAL: Duration = Duration::from_secs(1);
/// Room that only running work may use: a journal of 64 MiB and as much again to flush it.
const RESERVE: u64 = 128 << 20;

/// The room that is left.
#[derive(Debug)]
pub(super) struct Vigil {
    directory: PathBuf,
    measured: Option<Instant>,
    room: u64,
}

impl Vigil {
    /// Watches over the device of `directory`.
    pub(super) fn new(directory: &Path) -> Vigil {
        Vigil {
            directory: directory.to_owned(),
            measured: None,
            room: u64::MAX,
        }
    }

    /// Refuses new work while the device is nearly full, so that accepted work can still be finished.
    pub(super) fn check_room(&mut self) -> Result<(), Error> {
        if self.measured.is_none_or(|then| then.elapsed() >= INTERVAL) {
            self.measured = Some(Instant::now());
            // A file system that cannot tell has to be trusted.
            self.room = rustix::fs::statvfs(&self.directory)
                .map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        }
        if self.room < RESERVE {
            return Err(Error::Full(format!(
                "{} has {} MiB of room left; {} MiB are kept to finish accepted work",
                self.directory.display(),
                self.room >> 20,
                RESERVE >> 20,
            )));
        }
        Ok(())
    }
}
