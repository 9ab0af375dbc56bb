//! Removing what is past its retention.

use fjall::{Readable, Snapshot};

use super::{
    disk::{BatchRecord, Disk, corrupt, instant_key, placed_key, read_error},
    expiry::Expiry,
    machine::Machine,
    read::View,
};
use crate::{
    clock::Timestamp,
    model::{BatchId, CacheKey, TaskId},
    store::{Error, TOMBSTONE_RETENTION, record::from_cbor},
};

/// Things removed by one call, so that the writer is never away for long.
const SWEEP_LIMIT: usize = 1_000;

impl Machine {
    /// Removes a bounded amount of what is past its retention.
    pub(super) fn sweep(&mut self) -> Result<usize, Error> {
        if std::mem::replace(&mut self.overlay.swept, true) {
            return Ok(0);
        }
        let disk = self.disk.clone();
        let now = self.now();
        let snapshot = disk.db.snapshot();
        let mut removed = 0;
        let end = instant_key(now + std::time::Duration::from_millis(1));
        for entry in snapshot.range(&disk.expiry, ..end.to_vec()) {
            if removed >= SWEEP_LIMIT {
                break;
            }
            let (key, value) = entry.into_inner().map_err(read_error)?;
            let (at, expiry) = Expiry::decode(&key, &value)?;
            match expiry {
                Expiry::Tasks(ids) => {
                    // The entry counts as well.
                    removed += ids.len() - 1;
                    self.sweep_tasks(ids, at + TOMBSTONE_RETENTION, now);
                }
                Expiry::Tombs(ids) => {
                    removed += ids.len() - 1;
                    for id in ids {
                        self.overlay.writes.remove(&disk.tomb, id.as_bytes());
                    }
                }
                Expiry::Key(name) => self.sweep_key(name, now)?,
                Expiry::Lead(key) => self.sweep_lead(key),
                Expiry::Batch(id) => {
                    let budget = SWEEP_LIMIT - removed;
                    let pieces = self.sweep_batch(&snapshot, id, now, budget)?;
                    removed += pieces;
                    if pieces >= budget {
                        break;
                    }
                }
            }
            self.overlay.writes.remove(&disk.expiry, key);
            removed += 1;
        }
        Ok(removed)
    }

    /// Removes tasks that are remembered until `until`.
    fn sweep_tasks(&mut self, ids: Vec<TaskId>, until: Timestamp, now: Timestamp) {
        self.recent.forget(&ids);
        let disk = &self.disk;
        let writes = &mut self.overlay.writes;
        for id in &ids {
            for keyspace in [&disk.state, &disk.spec, &disk.outcome] {
                writes.remove(keyspace, id.as_bytes());
            }
            if until > now {
                writes.insert(&disk.tomb, id.as_bytes(), instant_key(until));
            }
        }
        if until > now {
            Expiry::Tombs(ids).put(disk, writes, until);
        }
    }

    /// A key that was used again after its window has a later entry of its own.
    fn sweep_key(&mut self, key: String, now: Timestamp) -> Result<(), Error> {
        if !self.overlay.keys.contains_key(&key) && View::new(&self.disk).key(&key, now)?.is_none()
        {
            self.overlay.keys.insert(key, None);
        }
        Ok(())
    }

    /// A lead that was set again has a later entry of its own.
    fn sweep_lead(&mut self, key: CacheKey) {
        if !matches!(self.lead(&key), Ok(Some(_))) {
            self.overlay.leads.insert(key, None);
        }
    }

    /// Removes a batch, or, when that is more than `budget` pieces, so many of them. Answers how many there were.
    /// A batch that has been added to since has a later entry of its own.
    fn sweep_batch(
        &mut self,
        snapshot: &Snapshot,
        id: BatchId,
        now: Timestamp,
        budget: usize,
    ) -> Result<usize, Error> {
        let disk = self.disk.clone();
        let expired = match self.batches.get(&id) {
            Some(record) => record.is_expired(now),
            None => is_expired(&disk, snapshot, id, now)?,
        };
        if !expired {
            return Ok(0);
        }
        self.overlay.swept_of.push(id);
        let mut pieces = 0;
        for keyspace in [&disk.log, &disk.range] {
            let all = placed_key(id, 0)..=placed_key(id, u64::MAX);
            for piece in snapshot.range(keyspace, all).take(budget - pieces) {
                let key = piece.key().map_err(read_error)?;
                self.overlay.writes.remove(keyspace, key);
                pieces += 1;
            }
        }
        if pieces < budget {
            self.overlay.writes.remove(&disk.batch, id.as_bytes());
            self.overlay.batches.remove(&id);
            self.batches.remove(&id);
            self.index.forget(id);
        }
        Ok(pieces)
    }
}

fn is_expired(
    disk: &Disk,
    snapshot: &Snapshot,
    id: BatchId,
    now: Timestamp,
) -> Result<bool, Error> {
    let Some(bytes) = snapshot
        .get(&disk.batch, id.as_bytes())
        .map_err(read_error)?
    else {
        return Ok(false);
    };
    let record: BatchRecord = from_cbor(&bytes, "batch").map_err(corrupt)?;
    Ok(record.is_expired(now))
}
