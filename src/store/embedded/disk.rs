//! What lies on disk: the keyspaces, and how their keys and small records are written.

use std::{fs::File, io::ErrorKind, path::Path};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::journal::COMMIT_SEQ;
use crate::{
    clock::Timestamp,
    model::{Batch, BatchId, IdRange, Status, Task, TaskId},
    store::{Error, Moved, TOMBSTONE_RETENTION, record::Fault},
};

/// Bytes of one entry of a batch's log: `16 bytes task | u32 revision | u8 status | 3 bytes unused`.
pub(super) const LOG_ENTRY_LEN: usize = 24;
/// Prompts and answers are what fills memory; every other keyspace holds small records.
const LARGE_MEMTABLE: u64 = 32 << 20;
const SMALL_MEMTABLE: u64 = 16 << 20;
/// A start reads the states of all tasks: what is larger than this is kept from it.
const LITTLE: usize = 512;
/// The key of the epoch in `meta`.
const EPOCH: &str = "epoch";
/// Bounds what a start has to replay.
const JOURNAL_BYTES: u64 = 128 << 20;
/// Threads that flush and compact. The database has one of them flush only, which takes up whatever is to be compacted
/// and puts it back at once, again and again, until another has time for it: with two, it spins through every compaction.
const DATABASE_THREADS: usize = 4;

/// The open database. Dropping the last clone of its handles closes it, and only then releases the directory.
pub(super) struct Disk {
    /// Task id → [`crate::store::record::encode_state`], of a task that ended with little [`encode_ended`](crate::store::record::encode_ended).
    pub(super) state: Keyspace,
    /// Task id → spec, written once.
    pub(super) spec: Keyspace,
    /// Task id → outcome, written once, where it is not in the state.
    pub(super) outcome: Keyspace,
    /// Batch id → [`BatchRecord`].
    pub(super) batch: Keyspace,
    /// Batch id and number of the first task → the ids of one submit.
    pub(super) range: Keyspace,
    /// Batch id and position of the first entry → entries, one chunk for each group of writes.
    pub(super) log: Keyspace,
    /// Idempotency key → [`KeyRecord`].
    pub(super) idem: Keyspace,
    /// Cache key → [`super::lead::LeadRecord`].
    pub(super) lead: Keyspace,
    /// Task id → until when the id is still known to have existed.
    pub(super) tomb: Keyspace,
    /// [`Expiry`] → the tasks it is about, if it is about tasks: what a sweep walks, earliest first.
    pub(super) expiry: Keyspace,
    /// `epoch` and `commit_seq`.
    pub(super) meta: Keyspace,
    pub(super) db: Database,
    /// The present epoch: everything read carries at least this one.
    pub(super) epoch: u32,
    _lock: File,
}

impl Disk {
    /// Opens or makes the database in `path`; `lock` is held for as long as it is open.
    pub(super) fn open(path: &Path, lock: File) -> Result<Disk, OpenFault> {
        let db = Database::builder(path)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(DATABASE_THREADS)
            .open()?;
        let keyspace = |name: &str, bytes: u64| {
            db.keyspace(name, || {
                KeyspaceCreateOptions::default().max_memtable_size(bytes)
            })
        };
        let meta = keyspace("meta", SMALL_MEMTABLE)?;
        Ok(Disk {
            epoch: epoch(&meta)?,
            state: keyspace("state", LARGE_MEMTABLE)?,
            spec: keyspace("spec", LARGE_MEMTABLE)?,
            outcome: keyspace("outcome", LARGE_MEMTABLE)?,
            batch: keyspace("batch", SMALL_MEMTABLE)?,
            range: keyspace("range", SMALL_MEMTABLE)?,
            log: keyspace("log", SMALL_MEMTABLE)?,
            idem: keyspace("idem", SMALL_MEMTABLE)?,
            lead: keyspace("lead", SMALL_MEMTABLE)?,
            tomb: keyspace("tomb", SMALL_MEMTABLE)?,
            expiry: keyspace("expiry", SMALL_MEMTABLE)?,
            meta,
            db,
            _lock: lock,
        })
    }

    /// The number of the last commit; 0 when there was none.
    pub(super) fn commit_seq(&self) -> Result<u64, Error> {
        Ok(number(&self.meta, COMMIT_SEQ)?.unwrap_or(0))
    }

    /// Begins the next epoch, durably.
    pub(super) fn bump_epoch(&mut self) -> Result<(), OpenFault> {
        self.epoch += 1;
        let bytes = u64::from(self.epoch).to_be_bytes();
        self.meta.insert(EPOCH, bytes)?;
        self.db.persist(PersistMode::SyncAll)?;
        Ok(())
    }
}

/// What keeps a database from opening.
#[derive(Debug)]
pub(super) enum OpenFault {
    /// The database itself.
    Engine(fjall::Error),
    /// What it holds.
    Content(Error),
}

impl From<fjall::Error> for OpenFault {
    fn from(error: fjall::Error) -> OpenFault {
        OpenFault::Engine(error)
    }
}

/// The first epoch is 1.
fn epoch(meta: &Keyspace) -> Result<u32, OpenFault> {
    let epoch = number(meta, EPOCH).map_err(OpenFault::Content)?;
    u32::try_from(epoch.unwrap_or(1))
        .map_err(|_| OpenFault::Content(Error::Corrupt("the epoch is out of range".into())))
}

/// The number kept under `name`.
fn number(meta: &Keyspace, name: &str) -> Result<Option<u64>, Error> {
    let bytes = meta.get(name).map_err(read_error)?;
    bytes.map(|bytes| decode_u64(&bytes)).transpose()
}

/// Why a read did not work: the device may answer another time, what lies damaged on it will not.
#[expect(
    clippy::needless_pass_by_value,
    reason = "fits `map_err`, which gives values"
)]
pub(super) fn read_error(error: fjall::Error) -> Error {
    match &error {
        // Bytes that lead nowhere end in these; a device that does not answer does not.
        fjall::Error::Io(io) | fjall::Error::Storage(lsm_tree::Error::Io(io))
            if !is_nonsense(io.kind()) =>
        {
            Error::Unavailable(format!("the database cannot be read: {error}"))
        }
        _ => Error::Corrupt(format!("the database is damaged there: {error}")),
    }
}

fn is_nonsense(kind: ErrorKind) -> bool {
    use ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(kind, InvalidData | InvalidInput | UnexpectedEof)
}

/// A record that was read but means nothing.
#[expect(
    clippy::needless_pass_by_value,
    reason = "fits `map_err`, which gives values"
)]
pub(super) fn corrupt(fault: Fault) -> Error {
    Error::Corrupt(fault.to_string())
}

/// Whether a task has ended with an outcome so small that it stands in the state: one record less to write and to find.
pub(super) fn has_little(task: &Task) -> bool {
    let outcome = task.outcome.as_ref();
    outcome.is_some_and(|it| it.text.len() + it.body.len() <= LITTLE)
}

/// A batch, with what the store itself remembers of it.
#[derive(Clone, Debug, PartialEq, minicbor::Encode, minicbor::Decode)]
pub(super) struct BatchRecord {
    #[n(0)]
    pub(super) batch: Batch,
    /// How many entries its log has.
    #[n(1)]
    pub(super) log_end: u64,
    /// When the last of the tasks that have ended is removed.
    #[n(2)]
    pub(super) keep_until: Timestamp,
}

impl BatchRecord {
    /// When the batch itself is to be removed; none while it is not done.
    pub(super) fn expire_time(&self) -> Option<Timestamp> {
        self.batch
            .is_done()
            .then(|| self.keep_until + TOMBSTONE_RETENTION)
    }

    /// Whether the batch is past its retention, swept or not.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        self.expire_time().is_some_and(|time| time <= now)
    }
}

/// What an idempotency key first made.
#[derive(Clone, Debug, minicbor::Encode, minicbor::Decode)]
pub(super) struct KeyRecord {
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(super) hash: [u8; 32],
    #[n(1)]
    pub(super) batch_id: BatchId,
    #[n(2)]
    pub(super) ids: IdRange,
    #[n(3)]
    pub(super) expire_time: Timestamp,
}

/// The first key in `expiry` at or after `at`.
pub(super) fn instant_key(at: Timestamp) -> [u8; 8] {
    at.0.max(0).unsigned_abs().to_be_bytes()
}

/// Reads what [`instant_key`] wrote.
pub(super) fn decode_instant(bytes: &[u8]) -> Result<Timestamp, Error> {
    Ok(Timestamp(
        i64::try_from(decode_u64(bytes)?).unwrap_or(i64::MAX),
    ))
}

/// A batch id and a place in it.
pub(super) fn placed_key(batch: BatchId, place: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(batch.as_bytes());
    key[16..].copy_from_slice(&place.to_be_bytes());
    key
}

/// The place in a key made by [`placed_key`], with the batch.
pub(super) fn decode_placed(key: &[u8]) -> Result<(BatchId, u64), Error> {
    let (batch, place) = key
        .split_first_chunk::<16>()
        .ok_or_else(|| Error::Corrupt("a batch's key is cut".into()))?;
    Ok((BatchId::from_bytes(*batch), decode_u64(place)?))
}

/// Eight bytes, big-endian.
pub(super) fn decode_u64(bytes: &[u8]) -> Result<u64, Error> {
    <[u8; 8]>::try_from(bytes)
        .map(u64::from_be_bytes)
        .map_err(|_| Error::Corrupt("a number does not have 8 bytes".into()))
}

/// Appends one entry of a batch's log.
pub(super) fn encode_moved(moved: &Moved, bytes: &mut Vec<u8>) {
    let revision = u32::try_from(moved.revision).unwrap_or(u32::MAX);
    bytes.extend_from_slice(moved.task.as_bytes());
    bytes.extend_from_slice(&revision.to_be_bytes());
    bytes.extend_from_slice(&[moved.status as u8, 0, 0, 0]);
}

/// Reads one entry of a batch's log.
pub(super) fn decode_moved(batch: BatchId, entry: &[u8; LOG_ENTRY_LEN]) -> Result<Moved, Error> {
    let mut task = [0; 16];
    task.copy_from_slice(&entry[..16]);
    let revision = u32::from_be_bytes([entry[16], entry[17], entry[18], entry[19]]);
    let status = Status::from_code(entry[20])
        .ok_or_else(|| Error::Corrupt(format!("an entry of the log of batch {batch}")))?;
    Ok(Moved {
        task: TaskId::from_bytes(task),
        batch,
        revision: u64::from(revision),
        status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_entry_comes_back() {
        let moved = Moved {
            task: IdRange::new(Timestamp(5), 0, 7, 1).first,
            batch: BatchId::new(Timestamp(5), 0, 7),
            revision: 3,
            status: Status::Cancelled,
        };
        let mut bytes = Vec::new();
        encode_moved(&moved, &mut bytes);
        let entry: [u8; LOG_ENTRY_LEN] = bytes.try_into().unwrap();
        assert_eq!(decode_moved(moved.batch, &entry).unwrap(), moved);
    }
}
