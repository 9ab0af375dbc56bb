//! What a group of requests has changed and not yet written: the writer reads through it, and it becomes one write.

use std::collections::{HashMap, HashSet};

use fjall::{OwnedWriteBatch, PersistMode};

use super::{
    disk::{BatchRecord, Disk, Expiry, KeyRecord, LOG_ENTRY_LEN, encode_moved, placed_key},
    journal::COMMIT_SEQ,
    lead::LeadRecord,
};
use crate::{
    model::{BatchId, CacheKey, Task, TaskId},
    store::{
        Change, Moved, Note,
        record::{cbor, encode_state},
    },
};

/// The changes of one group.
pub(super) struct Overlay {
    /// Writes that nothing in the group reads back.
    pub(super) writes: OwnedWriteBatch,
    /// Tasks as they now are.
    pub(super) tasks: HashMap<TaskId, Task>,
    /// Batches whose record in memory is newer than on disk.
    pub(super) batches: HashSet<BatchId>,
    /// Idempotency keys set, or, where there is none, removed.
    pub(super) keys: HashMap<String, Option<KeyRecord>>,
    /// Leads of cache keys set, or, where there is none, removed.
    pub(super) leads: HashMap<CacheKey, Option<LeadRecord>>,
    /// Batches parked, resumed or closed.
    pub(super) amended: Vec<BatchId>,
    /// Progress that became known.
    pub(super) notes: Vec<Note>,
    /// A sweep reads only what is on disk, so one is enough for a group.
    pub(super) swept: bool,
    moved: Vec<Moved>,
    logs: HashMap<BatchId, Chunk>,
}

/// The entries that a group adds to one batch's log.
struct Chunk {
    start: u64,
    bytes: Vec<u8>,
}

impl Overlay {
    /// No changes yet.
    pub(super) fn new(disk: &Disk) -> Overlay {
        Overlay {
            writes: disk.db.batch(),
            tasks: HashMap::new(),
            batches: HashSet::new(),
            keys: HashMap::new(),
            leads: HashMap::new(),
            amended: Vec::new(),
            notes: Vec::new(),
            swept: false,
            moved: Vec::new(),
            logs: HashMap::new(),
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

    /// Writes everything at once, durably, as commit number `seq`; `batches` finds the records of `self.batches`.
    pub(super) fn write(
        &mut self,
        disk: &Disk,
        seq: u64,
        batches: &HashMap<BatchId, BatchRecord>,
    ) -> Result<(), fjall::Error> {
        let mut writes = std::mem::replace(&mut self.writes, disk.db.batch());
        for (id, task) in &self.tasks {
            writes.insert(&disk.state, id.as_bytes(), encode_state(task));
        }
        for id in &self.batches {
            if let Some(record) = batches.get(id) {
                writes.insert(&disk.batch, id.as_bytes(), cbor(record));
            }
        }
        for (id, chunk) in self.logs.drain() {
            writes.insert(&disk.log, placed_key(id, chunk.start), chunk.bytes);
        }
        for (key, record) in &self.keys {
            match record {
                Some(record) => {
                    Expiry::Key(key.clone()).put(disk, &mut writes, record.expire_time);
                    writes.insert(&disk.idem, key.as_bytes(), cbor(record));
                }
                None => writes.remove(&disk.idem, key.as_bytes()),
            }
        }
        for (key, record) in &self.leads {
            match record {
                Some(record) => {
                    Expiry::Lead(*key).put(disk, &mut writes, record.until);
                    writes.insert(&disk.lead, key.as_bytes(), record.encode());
                }
                None => writes.remove(&disk.lead, key.as_bytes()),
            }
        }
        writes.insert(&disk.meta, COMMIT_SEQ, seq.to_be_bytes());
        writes.durability(Some(PersistMode::SyncData)).commit()
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
