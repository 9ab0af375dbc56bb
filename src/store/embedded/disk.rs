//! What lies on disk: the keyspaces, and how their keys and small records are written.

use std::{fs::File, io::ErrorKind, path::Path};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};

use super::journal::COMMIT_SEQ;
use crate::{
    clock::Timestamp,
    model::{Batch, BatchId, CacheKey, IdRange, Status, Task, TaskId},
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

/// Something that is to be removed at an instant.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expiry {
    /// Terminal tasks; at least one.
    Tasks(Vec<TaskId>),
    /// The memory of removed tasks; at least one.
    Tombs(Vec<TaskId>),
    /// An idempotency key.
    Key(String),
    /// A done batch with its log.
    Batch(BatchId),
    /// The lead of a cache key.
    Lead(CacheKey),
}

impl Expiry {
    /// The key in `expiry`: `u64 instant | u8 kind | id`, of many tasks the first one's.
    pub(super) fn key(&self, at: Timestamp) -> Vec<u8> {
        let first = |ids: &'_ [TaskId]| ids.first().map(|id| *id.as_bytes()).unwrap_or_default();
        let (tasks, tombs);
        let (kind, id): (u8, &[u8]) = match self {
            Expiry::Tasks(ids) => {
                tasks = first(ids);
                (6, &tasks)
            }
            Expiry::Tombs(ids) => {
                tombs = first(ids);
                (7, &tombs)
            }
            Expiry::Key(key) => (3, key.as_bytes()),
            Expiry::Batch(id) => (4, id.as_bytes()),
            Expiry::Lead(key) => (5, key.as_bytes()),
        };
        let mut bytes = instant_key(at).to_vec();
        bytes.push(kind);
        bytes.extend_from_slice(id);
        bytes
    }

    /// What stands under the key: the ids of tasks, one after the other.
    fn value(&self) -> Vec<u8> {
        match self {
            Expiry::Tasks(ids) | Expiry::Tombs(ids) => {
                ids.iter().flat_map(|id| *id.as_bytes()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Reads such an entry. Those of one task each were written once.
    pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<(Timestamp, Expiry), Error> {
        let unknown = || Error::Corrupt("an expiry entry means nothing".into());
        let (at, rest) = key.split_at_checked(8).ok_or_else(unknown)?;
        let (kind, id) = rest.split_first().ok_or_else(unknown)?;
        let id16 = || <[u8; 16]>::try_from(id).map_err(|_| unknown());
        let expiry = match kind {
            1 => Expiry::Tasks(vec![TaskId::from_bytes(id16()?)]),
            2 => Expiry::Tombs(vec![TaskId::from_bytes(id16()?)]),
            3 => Expiry::Key(String::from_utf8(id.to_vec()).map_err(|_| unknown())?),
            4 => Expiry::Batch(BatchId::from_bytes(id16()?)),
            5 => Expiry::Lead(CacheKey::from_bytes(id.try_into().map_err(|_| unknown())?)),
            6 => Expiry::Tasks(task_ids(value).ok_or_else(unknown)?),
            7 => Expiry::Tombs(task_ids(value).ok_or_else(unknown)?),
            _ => return Err(unknown()),
        };
        Ok((decode_instant(at)?, expiry))
    }

    /// Remembers to remove this at `at`.
    pub(super) fn put(&self, disk: &Disk, writes: &mut OwnedWriteBatch, at: Timestamp) {
        writes.insert(&disk.expiry, self.key(at), self.value());
    }
}

/// At least one id.
fn task_ids(bytes: &[u8]) -> Option<Vec<TaskId>> {
    let (ids, rest) = bytes.as_chunks::<16>();
    let are_whole = rest.is_empty() && !ids.is_empty();
    are_whole.then(|| ids.iter().copied().map(TaskId::from_bytes).collect())
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
    fn an_expiry_key_comes_back_and_sorts_by_instant() {
        let batch = BatchId::new(Timestamp(5), 0, 7);
        let tasks: Vec<TaskId> = IdRange::new(Timestamp(5), 0, 7, 3).iter().collect();
        let all = [
            Expiry::Tasks(tasks.clone()),
            Expiry::Tombs(tasks.clone()),
            Expiry::Key("tenant/key".into()),
            Expiry::Batch(batch),
            Expiry::Lead(CacheKey::from_bytes([9; 32])),
        ];
        for expiry in &all {
            let key = expiry.key(Timestamp(9));
            assert_eq!(
                Expiry::decode(&key, &expiry.value()).unwrap(),
                (Timestamp(9), expiry.clone())
            );
            assert!(key < all[0].key(Timestamp(10)));
        }
        for (kind, alone) in [(1, Expiry::Tasks as fn(_) -> _), (2, Expiry::Tombs)] {
            let mut key = instant_key(Timestamp(9)).to_vec();
            key.push(kind);
            key.extend(tasks[0].as_bytes());
            let expected = (Timestamp(9), alone(vec![tasks[0]]));
            assert_eq!(Expiry::decode(&key, &[]).unwrap(), expected);
        }
        for cut in [0, 15, 17] {
            let key = all[0].key(Timestamp(9));
            assert!(Expiry::decode(&key, &all[0].value()[..cut]).is_err());
        }
        assert!(Expiry::decode(&[0; 9], &[]).is_err());
        assert!(Expiry::decode(&[], &[]).is_err());
    }

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
