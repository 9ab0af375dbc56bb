//! Reads, all of one call as of one instant. They never wait for the writer: it answers only after its write is
//! visible, so a snapshot taken later holds all that any caller has been told.

use fjall::{Readable, Snapshot};

use super::{
    Progress,
    disk::{
        BatchRecord, Disk, KeyRecord, LOG_ENTRY_LEN, corrupt, decode_instant, decode_moved,
        decode_placed, placed_key, read_error,
    },
    lead::LeadRecord,
};
use crate::{
    clock::Timestamp,
    model::{Batch, BatchId, CacheKey, IdRange, Status, Task, TaskId},
    store::{
        Cursor, Error, Listing, Log, Lookup, TOMBSTONE_RETENTION,
        record::{Head, decode_state, from_cbor, has_outcome},
    },
};

/// A row of tasks that were read at once ends with the one that makes it this heavy.
const HEAVY_ROW: u64 = 64 << 10;

/// The disk as of one instant.
pub(super) struct View<'a> {
    disk: &'a Disk,
    snapshot: Snapshot,
}

impl<'a> View<'a> {
    /// The disk as of now.
    pub(super) fn new(disk: &'a Disk) -> View<'a> {
        View {
            disk,
            snapshot: disk.db.snapshot(),
        }
    }

    /// A task; none when there is no record of it.
    pub(super) fn task(&self, id: TaskId) -> Result<Option<Task>, Error> {
        let Some(state) = self.get(&self.disk.state, id.as_bytes())? else {
            return Ok(None);
        };
        let Some(spec) = self.get(&self.disk.spec, id.as_bytes())? else {
            return Err(Error::Corrupt(format!("the spec of task {id} is missing")));
        };
        let outcome = match Head::decode(&state).map_err(corrupt)?.status {
            Status::Completed if !has_outcome(&state).map_err(corrupt)? => {
                self.get(&self.disk.outcome, id.as_bytes())?
            }
            _ => None,
        };
        let mut task = decode_state(id, &state, &spec, outcome.as_deref()).map_err(corrupt)?;
        task.epoch = task.epoch.max(self.disk.epoch);
        Ok(Some(task))
    }

    /// A task that is queued, and up to `max` in all of those right behind it that are as well, as far as they are not
    /// heavy and can be read.
    pub(super) fn row(&self, first: TaskId, max: u32) -> Vec<Task> {
        let ids = IdRange { first, count: max };
        let range =
            || first.as_bytes().to_vec()..=ids.at(max.saturating_sub(1)).as_bytes().to_vec();
        let states = self.snapshot.range(&self.disk.state, range());
        let specs = self.snapshot.range(&self.disk.spec, range());
        let mut tasks = Vec::new();
        let mut bytes = 0;
        for (id, (state, spec)) in ids.iter().zip(states.zip(specs)) {
            let Some(task) = self.queued(id, state, spec) else {
                break;
            };
            bytes += task.spec.weight();
            tasks.push(task);
            if bytes > HEAVY_ROW {
                break;
            }
        }
        tasks
    }

    /// None where these are not the state and the spec of a task of this id that is queued.
    fn queued(&self, id: TaskId, state: fjall::Guard, spec: fjall::Guard) -> Option<Task> {
        let (state_of, state) = state.into_inner().ok()?;
        let (spec_of, spec) = spec.into_inner().ok()?;
        if [&*state_of, &*spec_of] != [id.as_bytes(); 2]
            || Head::decode(&state).ok()?.status != Status::Queued
        {
            return None;
        }
        let mut task = decode_state(id, &state, &spec, None).ok()?;
        task.epoch = task.epoch.max(self.disk.epoch);
        Some(task)
    }

    /// What is known of an id at `now`, whether or not a sweep has been there yet.
    pub(super) fn lookup(
        &self,
        id: TaskId,
        now: Timestamp,
        progress: &Progress,
    ) -> Result<Lookup, Error> {
        match self.task(id) {
            Ok(Some(task)) => Ok(found(task, now, progress)),
            Ok(None) => self.lookup_tomb(id, now),
            Err(Error::Corrupt(fault)) => Ok(Lookup::Fault(fault)),
            Err(error) => Err(error),
        }
    }

    fn lookup_tomb(&self, id: TaskId, now: Timestamp) -> Result<Lookup, Error> {
        let Some(bytes) = self.get(&self.disk.tomb, id.as_bytes())? else {
            return Ok(Lookup::Missing);
        };
        Ok(gone(now, decode_instant(&bytes)?))
    }

    /// A batch's record, unless it is past its retention.
    pub(super) fn batch(&self, id: BatchId, now: Timestamp) -> Result<Option<BatchRecord>, Error> {
        let Some(bytes) = self.get(&self.disk.batch, id.as_bytes())? else {
            return Ok(None);
        };
        let record: BatchRecord = from_cbor(&bytes, "batch").map_err(corrupt)?;
        Ok(Some(record).filter(|record| !record.is_expired(now)))
    }

    /// What an idempotency key made, unless its window has passed.
    pub(super) fn key(&self, key: &str, now: Timestamp) -> Result<Option<KeyRecord>, Error> {
        let Some(bytes) = self.get(&self.disk.idem, key.as_bytes())? else {
            return Ok(None);
        };
        let record: KeyRecord = from_cbor(&bytes, "idempotency key").map_err(corrupt)?;
        Ok(Some(record).filter(|record| record.expire_time > now))
    }

    /// The lead of a cache key, unless it is past its time.
    pub(super) fn lead(&self, key: &CacheKey, now: Timestamp) -> Result<Option<LeadRecord>, Error> {
        let Some(bytes) = self.get(&self.disk.lead, key.as_bytes())? else {
            return Ok(None);
        };
        let record = LeadRecord::decode(&bytes)?;
        Ok(Some(record).filter(|record| record.until > now))
    }

    /// Up to `max` entries of a batch's log from `from`, with the batch.
    pub(super) fn log(
        &self,
        id: BatchId,
        from: u64,
        max: usize,
        now: Timestamp,
    ) -> Result<Option<Log>, Error> {
        let Some(record) = self.batch(id, now)? else {
            return Ok(None);
        };
        let mut log = Log {
            entries: Vec::new(),
            end: record.log_end,
            batch: record.batch,
            epoch: self.disk.epoch,
        };
        if from >= log.end || max == 0 {
            return Ok(Some(log));
        }
        let first = self.floor(&self.disk.log, id, from)?;
        let chunks = placed_key(id, first)..=placed_key(id, u64::MAX);
        for chunk in self.snapshot.range(&self.disk.log, chunks) {
            let (key, bytes) = chunk.into_inner().map_err(read_error)?;
            let (_, start) = decode_placed(&key)?;
            let skip = usize::try_from(from.saturating_sub(start)).unwrap_or(usize::MAX);
            let (entries, _cut) = bytes.as_chunks::<LOG_ENTRY_LEN>();
            for entry in entries.iter().skip(skip) {
                if log.entries.len() == max {
                    return Ok(Some(log));
                }
                log.entries.push(decode_moved(id, entry)?);
            }
        }
        Ok(Some(log))
    }

    /// Up to `max` ids from `cursor` on: of one batch, or of all, the newest batch first.
    pub(super) fn list(
        &self,
        only: Option<BatchId>,
        cursor: Option<Cursor>,
        max: usize,
        now: Timestamp,
    ) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        let mut place = match (only, cursor) {
            (_, Some(cursor)) => Some(cursor),
            (Some(batch), None) => Some(Cursor { batch, offset: 0 }),
            (None, None) => self.next_batch(None)?,
        };
        while let Some(cursor) = place {
            if self.batch(cursor.batch, now)?.is_some()
                && let Some(next) = self.list_batch(cursor, max, &mut listing.ids)?
            {
                listing.next = Some(next);
                return Ok(listing);
            }
            place = match only {
                Some(_) => None,
                None => self.next_batch(Some(cursor.batch))?,
            };
            if listing.ids.len() == max {
                listing.next = place;
                return Ok(listing);
            }
        }
        Ok(listing)
    }

    /// Adds one batch's ids until there are `max`; answers where to go on when more are left.
    fn list_batch(
        &self,
        cursor: Cursor,
        max: usize,
        ids: &mut Vec<TaskId>,
    ) -> Result<Option<Cursor>, Error> {
        let Cursor { batch, offset } = cursor;
        let first = self.floor(&self.disk.range, batch, offset)?;
        let ranges = placed_key(batch, first)..=placed_key(batch, u64::MAX);
        for range in self.snapshot.range(&self.disk.range, ranges) {
            let (key, bytes) = range.into_inner().map_err(read_error)?;
            let (_, start) = decode_placed(&key)?;
            let range: IdRange = from_cbor(&bytes, "range of ids").map_err(corrupt)?;
            let skip = u32::try_from(offset.saturating_sub(start)).unwrap_or(u32::MAX);
            for index in skip..range.count {
                if ids.len() == max {
                    let offset = start + u64::from(index);
                    return Ok(Some(Cursor { batch, offset }));
                }
                ids.push(range.at(index));
            }
        }
        Ok(None)
    }

    /// The start of the newest batch older than `than`.
    fn next_batch(&self, than: Option<BatchId>) -> Result<Option<Cursor>, Error> {
        let end = than.map_or([u8::MAX; 17].to_vec(), |than| than.as_bytes().to_vec());
        let older = self.snapshot.range(&self.disk.batch, ..end).next_back();
        let Some(older) = older else {
            return Ok(None);
        };
        let key = older.key().map_err(read_error)?;
        let bytes = <[u8; 16]>::try_from(&key[..])
            .map_err(|_| Error::Corrupt("a batch's key does not have 16 bytes".into()))?;
        Ok(Some(Cursor {
            batch: BatchId::from_bytes(bytes),
            offset: 0,
        }))
    }

    /// Where the piece starts that `place` of a batch lies in.
    fn floor(&self, keyspace: &fjall::Keyspace, id: BatchId, place: u64) -> Result<u64, Error> {
        let before = placed_key(id, 0)..=placed_key(id, place);
        match self.snapshot.range(keyspace, before).next_back() {
            Some(piece) => Ok(decode_placed(&piece.key().map_err(read_error)?)?.1),
            None => Ok(place),
        }
    }

    fn get(&self, keyspace: &fjall::Keyspace, key: &[u8]) -> Result<Option<fjall::Slice>, Error> {
        self.snapshot.get(keyspace, key).map_err(read_error)
    }
}

/// A batch as of `view`.
pub(super) fn batch(view: &View<'_>, id: BatchId, now: Timestamp) -> Result<Option<Batch>, Error> {
    Ok(view.batch(id, now)?.map(|record| record.batch))
}

/// What is told of a task that is stored.
pub(super) fn found(mut task: Task, now: Timestamp, progress: &Progress) -> Lookup {
    if let Some(expire) = task.expire_time().filter(|expire| *expire <= now) {
        return gone(now, expire + TOMBSTONE_RETENTION);
    }
    if let Some((revision, progress)) = progress.read().get(&task.id)
        && *revision == task.revision()
    {
        task.progress = *progress;
    }
    Lookup::Found(Box::new(task))
}

fn gone(now: Timestamp, until: Timestamp) -> Lookup {
    if now < until {
        Lookup::Expired
    } else {
        Lookup::Missing
    }
}
