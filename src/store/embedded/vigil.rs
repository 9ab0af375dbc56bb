//! Watches over the device: how far writes were promised, and whether there is room for more.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::store::Error;

/// The file that holds the promise.
pub(super) const PROMISE: &str = "acked";
/// How often the promise is written down and the room measured; a loss of commits younger than this goes unseen.
const INTERVAL: Duration = Duration::from_secs(1);
/// Room that only running work may use: a journal of 64 MiB and as much again to flush it.
const RESERVE: u64 = 128 << 20;

/// The promise is the number of the last commit that a caller was told of. The database takes damage in the middle of
/// its journal for the torn end of one, and would start without what follows; with the promise beside it, that shows.
#[derive(Debug)]
pub(super) struct Vigil {
    directory: PathBuf,
    promise: File,
    promised: u64,
    acked: u64,
    noted: Instant,
    measured: Option<Instant>,
    room: u64,
}

impl Vigil {
    /// Reads the promise in `directory`, or starts one.
    pub(super) fn open(directory: &Path) -> io::Result<Vigil> {
        let mut promise = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join(PROMISE))?;
        let mut bytes = Vec::new();
        promise.read_to_end(&mut bytes)?;
        let promised = bytes.try_into().map_or(0, u64::from_be_bytes);
        Ok(Vigil {
            directory: directory.to_owned(),
            promise,
            promised,
            acked: promised,
            noted: Instant::now(),
            measured: None,
            room: u64::MAX,
        })
    }

    /// The last commit that was written down as promised.
    pub(super) fn promised(&self) -> u64 {
        self.promised
    }

    /// Commit `seq` is on disk and its callers are about to be told.
    pub(super) fn acked(&mut self, seq: u64) -> io::Result<()> {
        self.acked = seq;
        if self.noted.elapsed() >= INTERVAL {
            self.note()?;
        }
        Ok(())
    }

    /// Writes the promise down.
    pub(super) fn note(&mut self) -> io::Result<()> {
        self.noted = Instant::now();
        if self.acked > self.promised {
            self.promise.seek(SeekFrom::Start(0))?;
            self.promise.write_all(&self.acked.to_be_bytes())?;
            self.promise.sync_data()?;
            self.promised = self.acked;
        }
        Ok(())
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
