//! What a group of requests has changed and not yet written: the machine reads through it, and it becomes one write.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use fjall::OwnedWriteBatch;
use foldhash::fast::RandomState;

use super::{
    Map, Set,
    disk::{BatchRecord, Disk, KeyRecord, LOG_ENTRY_LEN, encode_moved, placed_key},
    expiry::Expiry,
    journal::COMMIT_SEQ,
    lead::LeadRecord,
    news::News,
};
use crate::{
    clock::Timestamp,
    model::{BatchId, CacheKey, Task, TaskId},
    store::{Change, Log, Moved, Note, record::cbor},
};

/// Tasks that one entry of the expiries is about at most: a sweep takes them together.
const REMOVED_TOGETHER: usize = 256;

/// Tasks that room is made for beforehand at most.
const ROOM: usize = 4_096;

/// Of so many logs at most it is told what a group adds to them; of more, that they go on.
const TOLD: usize = 16;

/// The changes of one group.
pub(super) struct Overlay {
    /// Writes that nothing in the group reads back.
    pub(super) writes: OwnedWriteBatch,
    /// Tasks as they now are.
    pub(super) tasks: Map<TaskId, Arc<Task>>,
    /// Batches whose record in memory is newer than on disk.
    pub(super) batches: Set<BatchId>,
    /// Idempotency keys set, or, where there is none, removed.
    pub(super) keys: HashMap<String, Option<KeyRecord>>,
    /// Leads of cache keys set, or, where there is none, removed.
    pub(super) leads: HashMap<CacheKey, Option<LeadRecord>>,
    /// Batches parked, resumed or closed.
    pub(super) amended: Vec<BatchId>,
    /// Batches of which something was swept.
    pub(super) swept_of: Vec<BatchId>,
    /// Progress that became known.
    pub(super) notes: Vec<Note>,
    /// A sweep reads only what is on disk, so one is enough for a group.
    pub(super) swept: bool,
    /// The writer knows that there is something to write.
    pub(super) is_known: bool,
    moved: Vec<Moved>,
    logs: Map<BatchId, Chunk>,
    /// Tasks that ended, by when they are to be removed.
    pub(super) ended: BTreeMap<Timestamp, Vec<TaskId>>,
}

/// The entries that a group adds to one batch's log.
struct Chunk {
    start: u64,
    bytes: Vec<u8>,
}

impl Overlay {
    /// No changes yet.
    pub(super) fn new(disk: &Disk) -> Overlay {
        Overlay::sized(disk, 0)
    }

    /// No changes yet, and room for those of as many tasks as `last` has, which are likely to be about as many.
    pub(super) fn after(disk: &Disk, last: &Overlay) -> Overlay {
        Overlay::sized(disk, last.tasks.len().min(ROOM))
    }

    fn sized(disk: &Disk, tasks: usize) -> Overlay {
        Overlay {
            writes: batch(disk, 2 * tasks),
            tasks: Map::with_capacity_and_hasher(tasks, RandomState::default()),
            batches: Set::default(),
            keys: HashMap::new(),
            leads: HashMap::new(),
            amended: Vec::new(),
            swept_of: Vec::new(),
            notes: Vec::new(),
            swept: false,
            is_known: false,
            moved: Vec::new(),
            logs: Map::default(),
            ended: BTreeMap::new(),
        }
    }

    /// Adds a transition to its batch's log, whose end was `position` before, and to what will be announced.
    pub(super) fn log(&mut self, moved: Moved, position: u64) {
        let chunk = self.logs.entry(moved.batch).or_insert_with(|| Chunk {
            start: position,
            bytes: Vec::with_capacity(LOG_ENTRY_LEN),
        });
        encode_moved(&moved, &mut chunk.bytes);
        self.moved.push(moved);
    }

    /// Whether there is anything to write.
    pub(super) fn is_dirty(&self) -> bool {
        !(self.writes.is_empty()
            && self.tasks.is_empty()
            && self.batches.is_empty()
            && self.keys.is_empty()
            && self.leads.is_empty())
    }

    /// Adds everything but the tasks to `writes`, as commit number `seq`; `batches` finds the records of `self.batches`.
    pub(super) fn pack(
        &mut self,
        writes: &mut OwnedWriteBatch,
        disk: &Disk,
        batches: &Map<BatchId, BatchRecord>,
        seq: u64,
    ) {
        for id in &self.batches {
            if let Some(record) = batches.get(id) {
                writes.insert(&disk.batch, id.as_bytes(), cbor(record));
            }
        }
        for (id, chunk) in self.logs.drain() {
            writes.insert(&disk.log, placed_key(id, chunk.start), chunk.bytes);
        }
        for (at, ids) in std::mem::take(&mut self.ended) {
            for ids in ids.chunks(REMOVED_TOGETHER) {
                Expiry::Tasks(ids.to_vec()).put(disk, writes, at);
            }
        }
        for (key, record) in &self.keys {
            match record {
                Some(record) => {
                    Expiry::Key(key.clone()).put(disk, writes, record.expire_time);
                    writes.insert(&disk.idem, key.as_bytes(), cbor(record));
                }
                None => writes.remove(&disk.idem, key.as_bytes()),
            }
        }
        for (key, record) in &self.leads {
            match record {
                Some(record) => {
                    Expiry::Lead(*key).put(disk, writes, record.until);
                    writes.insert(&disk.lead, key.as_bytes(), record.encode());
                }
                None => writes.remove(&disk.lead, key.as_bytes()),
            }
        }
        writes.insert(&disk.meta, COMMIT_SEQ, seq.to_be_bytes());
    }

    /// What those who watch from this process need not read; `batches` are as they are after the group.
    pub(super) fn news(&self, batches: &Map<BatchId, BatchRecord>, epoch: u32) -> News {
        let others = self.batches.iter();
        let others = others.filter(|id| !self.logs.contains_key(*id));
        let changed = others.chain(&self.amended).chain(&self.swept_of);
        let grown = self.logs.keys().filter_map(|id| batches.get(id));
        let ends = grown.clone().map(|it| (it.batch.id, it.log_end));
        let told = grown.filter(|_| self.logs.len() <= TOLD);
        let ended = |record: &BatchRecord| Log {
            entries: Vec::new(),
            end: record.log_end,
            batch: record.batch.clone(),
            epoch,
        };
        let mut pieces: Map<BatchId, Log> = told.map(|it| (it.batch.id, ended(it))).collect();
        for moved in &self.moved {
            if let Some(piece) = pieces.get_mut(&moved.batch) {
                piece.entries.push(*moved);
            }
        }
        News {
            changed: changed.copied().collect(),
            ends: ends.collect(),
            pieces: pieces.into_values().collect(),
        }
    }

    /// What to announce once it is written.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        if !self.moved.is_empty() {
            changes.push(Change::Moved(std::mem::take(&mut self.moved).into()));
        }
        if !self.notes.is_empty() {
            changes.push(Change::Noted(std::mem::take(&mut self.notes).into()));
        }
        changes.extend(self.amended.drain(..).map(Change::Amended));
        changes
    }
}

/// A write with room for so many records.
pub(super) fn batch(disk: &Disk, records: usize) -> OwnedWriteBatch {
    OwnedWriteBatch::with_capacity(disk.db.clone(), records)
}
