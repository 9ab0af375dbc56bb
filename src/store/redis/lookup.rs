//! Reading tasks by their ids.
//!
//! By plain commands, since a script would hash every byte of it. In between others may write: a lease is read before its
//! record, so that it is that of the record if it is the next revision, and over if it is not.

use std::{cmp::Ordering, collections::BTreeMap};

use redis::Value;

use super::{RedisStore, apart::Parts, held, keys::Keys, link::Call, read::command, reply};
use crate::{
    model::{Task, TaskId},
    store::{Error, Lookup},
};

/// Records that are read at a time: others wait for their answer. Nearly all have less than 5 KiB, since what is large
/// stands apart; with what a broken attempt has left behind one may have 70.
const AT_A_TIME: usize = 256;

/// What was read of a task.
struct Row {
    /// Its place among those that were asked for.
    index: usize,
    record: Option<Vec<u8>>,
    lease: Option<Vec<u8>>,
    /// Read before both.
    epoch: u32,
}

impl RedisStore {
    pub(super) async fn lookup_all(&self, ids: &[TaskId]) -> Result<Vec<Lookup>, Error> {
        let mut lookups = vec![Lookup::Missing; ids.len()];
        let is_there = |index: &usize| self.partition_of(ids[*index].partition()).is_some();
        let all: Vec<usize> = (0..ids.len()).filter(is_there).collect();
        let torn = self.look_up(ids, &all, &mut lookups).await?;
        // Parts of these reads were made again after others, since the partition had moved.
        self.look_up(ids, &torn, &mut lookups).await?;
        Ok(lookups)
    }

    /// Reads some of the tasks. Answers those whose lease is later than their record allows.
    async fn look_up(
        &self,
        ids: &[TaskId],
        indexes: &[usize],
        lookups: &mut [Lookup],
    ) -> Result<Vec<usize>, Error> {
        let (mut missing, mut torn) = (Vec::new(), Vec::new());
        for some in indexes.chunks(AT_A_TIME) {
            let (found, lost): (Vec<Row>, Vec<Row>) = self
                .rows(ids, some)
                .await?
                .into_iter()
                .partition(|row| row.record.is_some());
            missing.extend(lost.iter().map(|row| row.index));
            let records = found.iter().map(|row| (ids[row.index], row.record()));
            let parts = self.parts_of(&records.collect::<Vec<_>>()).await?;
            for (row, parts) in found.iter().zip(&parts) {
                if parts.gone {
                    missing.push(row.index);
                    continue;
                }
                if row.stands() == Some(Ordering::Greater) {
                    torn.push(row.index);
                }
                lookups[row.index] = self.found(ids[row.index], row, parts);
            }
        }
        for index in &missing {
            lookups[*index] = Lookup::Missing;
        }
        self.mark_expired(ids, &missing, lookups).await?;
        Ok(torn)
    }

    async fn rows(&self, ids: &[TaskId], indexes: &[usize]) -> Result<Vec<Row>, Error> {
        let mut groups: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for index in indexes {
            let partition = ids[*index].partition();
            groups.entry(partition).or_default().push(*index);
        }
        let calls = groups.iter().flat_map(|(partition, indexes)| {
            let keys = Keys::of(*partition);
            let wanted = || indexes.iter().map(|index| ids[*index]);
            let held = wanted().map(|id| id.as_bytes().to_vec());
            let epoch = vec![keys.meta(), b"epoch".to_vec()];
            let held = std::iter::once(keys.held()).chain(held).collect();
            let records = wanted().map(|id| keys.task(id)).collect();
            let asks = [("HGET", epoch), ("HMGET", held), ("MGET", records)];
            asks.map(|(name, args)| command(name, *partition, args))
        });
        let calls: Vec<Call> = calls.collect();
        let mut answers = self.ask(&calls).await?.into_iter();
        let mut rows = Vec::with_capacity(indexes.len());
        for indexes in groups.into_values() {
            let three = (answers.next(), answers.next(), answers.next());
            let (Some(epoch), Some(Value::Array(leases)), Some(Value::Array(records))) = three
            else {
                return Err(reply::odd("tasks"));
            };
            if (leases.len(), records.len()) != (indexes.len(), indexes.len()) {
                return Err(reply::odd("tasks"));
            }
            let epoch = reply::epoch(&epoch).unwrap_or_default();
            let read = indexes.into_iter().zip(records.into_iter().zip(leases));
            rows.extend(read.map(|(index, (record, lease))| Row {
                index,
                record: text(record),
                lease: text(lease),
                epoch,
            }));
        }
        Ok(rows)
    }

    fn found(&self, id: TaskId, row: &Row, parts: &Parts) -> Lookup {
        let now = self.router.common.clock.now();
        match row.task(id, parts) {
            // A sweep removes it soon.
            Ok(task) if task.expire_time().is_some_and(|expiry| expiry <= now) => Lookup::Expired,
            Ok(task) => Lookup::Found(Box::new(task)),
            Err(fault) => Lookup::Fault(fault),
        }
    }

    async fn mark_expired(
        &self,
        ids: &[TaskId],
        missing: &[usize],
        lookups: &mut [Lookup],
    ) -> Result<(), Error> {
        let calls: Vec<Call> = missing
            .iter()
            .map(|index| {
                let id = ids[*index];
                // The last range that begins no later: no count begins with 255.
                let to = [&b"["[..], id.as_bytes(), &[255]].concat();
                let words = ["-", "LIMIT", "0", "1"].map(|word| word.as_bytes().to_vec());
                let mut args = vec![Keys::of(id.partition()).ranges(), to];
                args.extend(words);
                command("ZREVRANGEBYLEX", id.partition(), args)
            })
            .collect();
        for (index, answer) in missing.iter().zip(self.ask(&calls).await?) {
            let last = reply::array(&answer).and_then(|found| reply::bytes(found.first()?));
            let range = last.and_then(|last| reply::decode_range(last.get(..reply::RANGE_LEN)?));
            if range.is_some_and(|range| range.contains(ids[*index])) {
                lookups[*index] = Lookup::Expired;
            }
        }
        Ok(())
    }
}

impl Row {
    fn record(&self) -> &[u8] {
        self.record.as_deref().unwrap_or_default()
    }

    /// The task as it was at one instant.
    fn task(&self, id: TaskId, parts: &Parts) -> Result<Task, String> {
        let task = parts.decode(id, self.record());
        let mut task = task.map_err(|fault| fault.to_string())?;
        if let Some(lease) = &self.lease
            && self.stands() != Some(Ordering::Less)
        {
            held::begin(&mut task, lease)?;
        }
        task.epoch = task.epoch.max(self.epoch);
        Ok(task)
    }

    /// How its lease stands to the revision that follows its record.
    fn stands(&self) -> Option<Ordering> {
        held::compare(self.lease.as_deref()?, self.record())
    }
}

fn text(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        clock::Timestamp,
        model::{BatchId, Event, IdRange, Spec, Status, WorkerId},
        store::record,
    };

    const NOW: Timestamp = Timestamp(1);

    fn task() -> Task {
        let id = IdRange::new(NOW, 0, 1, 1).first;
        let spec = Spec::of_prompt("why?", NOW);
        Task::new(id, BatchId::new(NOW, 0, 1), Arc::new(spec), 1)
    }

    fn lease(revision: u64) -> Vec<u8> {
        let mut lease = vec![0; held::LEASE_LEN];
        lease[4..12].copy_from_slice(&revision.to_be_bytes());
        lease
    }

    #[test]
    fn a_lease_counts_where_the_record_is_what_it_was_given_on() {
        let mut task = task();
        let worker = WorkerId(1);
        for event in [Event::Acquired { worker }, Event::Released] {
            task.apply(event, NOW).unwrap();
        }
        for (of, status) in [
            (None, Some(Status::Queued)),
            (Some(2), Some(Status::Queued)),
            (Some(4), Some(Status::Processing)),
            (Some(6), None),
        ] {
            let row = Row {
                index: 0,
                record: Some(record::encode(&task)),
                lease: of.map(lease),
                epoch: 7,
            };
            let read = row.task(task.id, &Parts::default()).ok();
            assert_eq!(read.as_ref().map(Task::status), status, "{of:?}");
            assert!(read.is_none_or(|task| task.epoch == 7));
            assert_eq!(row.stands() == Some(Ordering::Greater), status.is_none());
        }
    }
}
