//! The promise: the number of the last commit that a caller was told of, in a small file beside the database.
//!
//! The database takes damage in the middle of its journal for the torn end of one, and would start without what
//! follows; with the promise beside it, that shows. It is written before every answer, so that after the death of the
//! process it is exact. It is synced once a second: a power cut may take its last second, and what the journal lost
//! of that second as well, to damage and not to the cut itself, would go unseen.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    time::{Duration, Instant},
};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The file.
pub(super) const PROMISE: &str = "acked";
/// How often the promise is synced.
const INTERVAL: Duration = Duration::from_secs(1);
/// The two slots lie in different sectors, and are written in turns: a torn write leaves the other one whole.
const SLOT: u64 = 512;
/// `u64 number | u64 floor | u64 checksum`.
const RECORD_LEN: usize = 24;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promised {
    /// There is no file.
    Missing,
    /// Neither slot can be read.
    Damaged,
    /// One slot cannot be read: what it held may have been one commit more than this.
    Half(Mark),
    /// Both agree.
    Whole(Mark),
}

/// How far commits are accounted for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    /// The last commit that a caller was told of.
    pub(super) acked: u64,
    /// The operator has accepted that commits up to here are missing.
    pub(super) floor: u64,
}

impl Mark {
    fn encode(self, slot: u64) -> [u8; RECORD_LEN] {
        let mut bytes = [0; RECORD_LEN];
        bytes[..8].copy_from_slice(&self.acked.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.floor.to_be_bytes());
        let check = xxh3_64_with_seed(&bytes[..16], slot);
        bytes[16..].copy_from_slice(&check.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8; RECORD_LEN], slot: u64) -> Option<Mark> {
        let number = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            u64::from_be_bytes(number)
        };
        (number(16) == xxh3_64_with_seed(&bytes[..16], slot)).then(|| Mark {
            acked: number(0),
            floor: number(8),
        })
    }
}

/// The open file.
#[derive(Debug)]
pub(super) struct Promise {
    file: File,
    mark: Mark,
    turn: u64,
    synced: Instant,
    dirty: bool,
}

impl Promise {
    /// Reads what the file in `directory` says.
    pub(super) fn read(directory: &Path) -> io::Result<Promised> {
        let file = match File::open(directory.join(PROMISE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Promised::Missing),
            file => file?,
        };
        Ok(match (read_slot(&file, 0)?, read_slot(&file, 1)?) {
            (Some(one), Some(other)) => Promised::Whole(one.max(other)),
            (Some(one), None) | (None, Some(one)) => Promised::Half(one),
            (None, None) => Promised::Damaged,
        })
    }

    /// Opens the file to promise `mark` and what follows, and syncs it.
    pub(super) fn open(directory: &Path, mark: Mark) -> io::Result<Promise> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let mut promise = Promise {
            file: options.open(directory.join(PROMISE))?,
            mark,
            turn: 0,
            synced: Instant::now(),
            dirty: false,
        };
        for _ in 0..2 {
            promise.write()?;
        }
        promise.sync()?;
        Ok(promise)
    }

    /// Commit `number` is on disk and its callers are about to be told.
    pub(super) fn keep(&mut self, number: u64) -> io::Result<()> {
        self.mark.acked = number;
        self.write()?;
        self.sync_in_time()
    }

    /// Syncs what was written since the last time, once a second.
    pub(super) fn sync_in_time(&mut self) -> io::Result<()> {
        if self.dirty && self.synced.elapsed() >= INTERVAL {
            self.sync()?;
        }
        Ok(())
    }

    /// Syncs what was written.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.synced = Instant::now();
        self.dirty = false;
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        let bytes = self.mark.encode(self.turn);
        self.file.write_all_at(&bytes, self.turn * SLOT)?;
        self.turn = 1 - self.turn;
        self.dirty = true;
        Ok(())
    }
}

/// None when the slot is cut or damaged.
fn read_slot(file: &File, slot: u64) -> io::Result<Option<Mark>> {
    let mut bytes = [0; RECORD_LEN];
    match file.read_exact_at(&mut bytes, slot * SLOT) {
        Ok(()) => Ok(Mark::decode(&bytes, slot)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(acked: u64) -> Mark {
        Mark { acked, floor: 3 }
    }

    #[test]
    fn the_last_number_kept_is_read_back_without_a_sync() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(Promise::read(home.path()).unwrap(), Promised::Missing);
        let mut promise = Promise::open(home.path(), mark(4)).unwrap();
        for number in 5..8 {
            promise.keep(number).unwrap();
            let whole = Promised::Whole(mark(number));
            assert_eq!(Promise::read(home.path()).unwrap(), whole);
        }
    }

    /// Whatever bit changes, the number read is the last one, the one before and known as such, or none.
    #[test]
    fn a_changed_bit_is_seen() {
        let home = tempfile::tempdir().unwrap();
        let mut promise = Promise::open(home.path(), mark(4)).unwrap();
        promise.keep(5).unwrap();
        let path = home.path().join(PROMISE);
        let whole = std::fs::read(&path).unwrap();
        for slot in 0..2 {
            for bit in 0..RECORD_LEN * 8 {
                let mut bytes = whole.clone();
                bytes[slot * SLOT as usize + bit / 8] ^= 1 << (bit % 8);
                std::fs::write(&path, &bytes).unwrap();
                let left = mark(if slot == 0 { 4 } else { 5 });
                assert_eq!(Promise::read(home.path()).unwrap(), Promised::Half(left));
            }
        }
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let read = Promise::read(home.path()).unwrap();
            let cut = matches!(read, Promised::Half(_) | Promised::Damaged);
            assert!(cut, "{length} bytes: {read:?}");
        }
    }
}
