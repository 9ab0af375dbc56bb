//! Reading tasks and listing their ids.

use std::{cmp::Reverse, collections::HashMap};

use redis::Value;

use super::{
    RedisStore,
    apart::Parts,
    held,
    keys::Keys,
    lease::decimal,
    link::{Call, Order},
    reply,
    script::Script,
};
use crate::{
    model::{BatchId, IdRange, TaskId},
    store::{Cursor, Error, Listing, Lookup},
};

/// Batches that a listing over all of them asks for at a time.
const PAGE: usize = 64;

/// A batch in the order of listings: create time, then id.
type Placed = (i64, BatchId);

impl RedisStore {
    pub(super) async fn lookup_all(&self, ids: &[TaskId]) -> Result<Vec<Lookup>, Error> {
        let mut lookups = vec![Lookup::Missing; ids.len()];
        let mut groups: HashMap<u16, Vec<usize>> = HashMap::new();
        for (index, id) in ids.iter().enumerate() {
            if let Some(partition) = self.partition_of(id.partition()) {
                groups.entry(partition).or_default().push(index);
            }
        }
        let mut groups: Vec<(u16, Vec<usize>)> = groups.into_iter().collect();
        let mut missing = Vec::new();
        while !groups.is_empty() {
            let read = self.read_some(ids, &groups).await?;
            for ((_, indexes), (epoch, records)) in groups.iter_mut().zip(read) {
                // A reply never is empty, so this comes to an end.
                let read: Vec<usize> = indexes.drain(..records.len() / 2).collect();
                let found = read.iter().zip(records.chunks_exact(2));
                let found = found.map(|(index, it)| (*index, reply::bytes(&it[0]), &it[1]));
                let (mut named, mut leases) = (Vec::new(), Vec::new());
                for (index, record, lease) in found {
                    match record {
                        Some(record) => {
                            named.push((ids[index], record));
                            leases.push((index, lease));
                        }
                        None => missing.push(index),
                    }
                }
                let parts = self.parts_of(&named).await?;
                for (((index, lease), parts), (_, record)) in
                    leases.into_iter().zip(parts).zip(named)
                {
                    if parts.gone {
                        missing.push(index);
                    } else {
                        lookups[index] = self.found(ids[index], (record, &parts), lease, epoch);
                    }
                }
            }
            groups.retain(|(_, indexes)| !indexes.is_empty());
        }
        self.mark_expired(ids, &missing, &mut lookups).await?;
        Ok(lookups)
    }

    /// The epoch, and records and leases of each group's first tasks, as many as fit into a reply: one reply must not keep
    /// the connection from everybody else.
    async fn read_some(
        &self,
        ids: &[TaskId],
        groups: &[(u16, Vec<usize>)],
    ) -> Result<Vec<(u32, Vec<Value>)>, Error> {
        let calls: Vec<Call> = groups
            .iter()
            .map(|(partition, indexes)| Call {
                order: Order::Run(Script::Read),
                partition: *partition,
                args: indexes
                    .iter()
                    .map(|index| ids[*index].as_bytes().to_vec())
                    .collect(),
            })
            .collect();
        let answers = self.router.run_each(&calls).await?.into_iter();
        let read = answers.zip(groups).map(|(answer, (_, indexes))| {
            let Value::Array(mut records) = answer else {
                return None;
            };
            let known = (3..=2 * indexes.len() + 1).contains(&records.len());
            let epoch = known.then(|| records.remove(0))?;
            Some((reply::epoch(&epoch)?, records))
        });
        read.collect::<Option<_>>()
            .ok_or_else(|| reply::odd("tasks"))
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
                let words = [
                    b"-".to_vec(),
                    b"LIMIT".to_vec(),
                    b"0".to_vec(),
                    b"1".to_vec(),
                ];
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

    fn found(
        &self,
        id: TaskId,
        (record, parts): (&[u8], &Parts),
        lease: &Value,
        epoch: u32,
    ) -> Lookup {
        let task = parts.decode(id, record).map_err(|fault| fault.to_string());
        let task = task.and_then(|mut task| {
            if let Some(lease) = reply::bytes(lease) {
                held::begin(&mut task, lease)?;
            }
            Ok(task)
        });
        let now = self.router.common.clock.now();
        match task {
            // A sweep removes it soon.
            Ok(task) if task.expire_time().is_some_and(|expiry| expiry <= now) => Lookup::Expired,
            Ok(mut task) => {
                task.epoch = task.epoch.max(epoch);
                Lookup::Found(Box::new(task))
            }
            Err(fault) => Lookup::Fault(fault),
        }
    }

    pub(super) async fn list_ids(
        &self,
        batch: Option<BatchId>,
        cursor: Option<Cursor>,
        max: usize,
    ) -> Result<Listing, Error> {
        let mut page = Page::new(max);
        if let Some(batch) = batch {
            let offset = cursor.map_or(0, |cursor| cursor.offset);
            page.fill(batch, &self.ranges_of(&[batch]).await?[0], offset);
            return Ok(page.listing);
        }
        let mut after = cursor;
        while !page.is_full() {
            let batches = self.batches_from(after).await?;
            let Some(last) = batches.last().copied() else {
                break;
            };
            for (id, ranges) in batches.iter().zip(self.ranges_of(&batches).await?) {
                let offset = after
                    .filter(|cursor| cursor.batch == *id)
                    .map_or(0, |cursor| cursor.offset);
                page.fill(*id, &ranges, offset);
            }
            // Past every task of the last one.
            after = Some(Cursor {
                batch: last,
                offset: u64::MAX,
            });
        }
        Ok(page.listing)
    }

    /// The next batches, newest first, from that of the cursor on; empty after the last.
    async fn batches_from(&self, cursor: Option<Cursor>) -> Result<Vec<BatchId>, Error> {
        let place = match cursor {
            Some(cursor) => Some((self.created(cursor.batch).await?, cursor.batch)),
            None => None,
        };
        let past = cursor.is_some_and(|cursor| cursor.offset == u64::MAX);
        let wanted = |entry: &Placed| match place {
            Some(place) if past => *entry < place,
            Some(place) => *entry <= place,
            None => true,
        };
        let highest = place.map_or("+inf".to_owned(), |(score, _)| score.to_string());
        let mut limit = PAGE;
        loop {
            let (mut batches, known_to) = self.batches_below(&highest, limit).await?;
            // Below this a partition may hold batches that belong between these.
            let known = |entry: &Placed| known_to.is_none_or(|bound| *entry >= bound);
            batches.retain(|entry| wanted(entry) && known(entry));
            if !batches.is_empty() || known_to.is_none() {
                batches.sort_unstable_by_key(|entry| Reverse(*entry));
                return Ok(batches.into_iter().map(|(_, id)| id).collect());
            }
            limit *= 2;
        }
    }

    /// Up to `limit` batches of every partition, with their create times, newest first in each; and the newest of
    /// those at which a partition's page ended before its batches did.
    async fn batches_below(
        &self,
        highest: &str,
        limit: usize,
    ) -> Result<(Vec<Placed>, Option<Placed>), Error> {
        let pages = (0..self.partitions).map(|partition| {
            let [bounds, scores] = [[highest, "-inf"], ["WITHSCORES", "LIMIT"]];
            let words = bounds.into_iter().chain(scores).chain(["0"]);
            let mut args = vec![Keys::of(partition).batches()];
            args.extend(words.map(|word| word.as_bytes().to_vec()));
            args.push(decimal(limit));
            command("ZREVRANGEBYSCORE", partition, args)
        });
        let (mut batches, mut known_to) = (Vec::new(), None);
        for answer in self.ask(&pages.collect::<Vec<_>>()).await? {
            let pairs = reply::array(&answer).ok_or_else(|| reply::odd("batches"))?;
            let page = pairs.chunks_exact(2).filter_map(|pair| {
                let id = BatchId::from_bytes(reply::id(&pair[0])?);
                Some((reply::int(&pair[1])?, id))
            });
            batches.extend(page);
            if pairs.len() == 2 * limit {
                known_to = known_to.max(batches.last().copied());
            }
        }
        Ok((batches, known_to))
    }

    /// When a batch was created; of one that is gone, when its id was made.
    async fn created(&self, id: BatchId) -> Result<i64, Error> {
        let [a, b, c, d, e, f, ..] = *id.as_bytes();
        let made = i64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let key = Keys::of(id.partition()).batches();
        let args = vec![key, id.as_bytes().to_vec()];
        let asked = self.ask(&[command("ZSCORE", id.partition(), args)]).await?;
        let score = asked.first().and_then(reply::int);
        Ok(score.unwrap_or(made))
    }

    /// The id ranges of batches, each in order of submission; empty for one that is not there.
    async fn ranges_of(&self, ids: &[BatchId]) -> Result<Vec<Vec<IdRange>>, Error> {
        // Of a partition that is not there no key exists.
        let known = |id: &BatchId| self.partition_of(id.partition()).is_some();
        let gets = ids.iter().filter(|id| known(id)).map(|id| {
            let partition = id.partition();
            command("GET", partition, vec![Keys::of(partition).calls(*id)])
        });
        let mut answers = self.ask(&gets.collect::<Vec<_>>()).await?.into_iter();
        let ranges = ids.iter().map(|id| {
            let answer = known(id).then(|| answers.next()).flatten();
            let answer = &answer.unwrap_or(Value::Nil);
            let bytes = reply::bytes(answer).unwrap_or_default();
            let ranges = bytes.chunks(reply::RANGE_LEN).map(reply::decode_range);
            ranges
                .collect::<Option<_>>()
                .ok_or_else(|| reply::odd("a batch's tasks"))
        });
        ranges.collect()
    }

    async fn ask(&self, calls: &[Call]) -> Result<Vec<Value>, Error> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        self.router.run_each(calls).await
    }
}

fn command(name: &'static str, partition: u16, args: Vec<Vec<u8>>) -> Call {
    Call {
        order: Order::Command(name),
        partition,
        args,
    }
}

/// A listing that is being filled.
struct Page {
    listing: Listing,
    max: usize,
}

impl Page {
    fn new(max: usize) -> Self {
        Page {
            listing: Listing::default(),
            max,
        }
    }

    fn is_full(&self) -> bool {
        self.listing.next.is_some()
    }

    /// Adds the tasks of a batch from `offset` on; the first that finds no room is where the next page starts.
    fn fill(&mut self, batch: BatchId, ranges: &[IdRange], offset: u64) {
        let mut start = 0;
        for range in ranges {
            let end = start + u64::from(range.count);
            for number in offset.max(start)..end {
                if self.is_full() {
                    return;
                }
                if self.listing.ids.len() == self.max {
                    let offset = number;
                    self.listing.next = Some(Cursor { batch, offset });
                    return;
                }
                self.listing.ids.push(range.at((number - start) as u32));
            }
            start = end;
        }
    }
}

/// The instant that orders a batch among others.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn pages_of_a_batch_follow_each_other_without_gap_or_repeat() {
        let batch = BatchId::new(Timestamp(1), 0, 1);
        let ranges = [
            IdRange::new(Timestamp(1), 0, 7, 5),
            IdRange::new(Timestamp(2), 0, 8, 3),
        ];
        let all: Vec<TaskId> = ranges.iter().flat_map(|range| range.iter()).collect();
        for max in 1..=9 {
            let (mut seen, mut offset) = (Vec::new(), 0);
            loop {
                let mut page = Page::new(max);
                page.fill(batch, &ranges, offset);
                seen.extend(page.listing.ids);
                match page.listing.next {
                    Some(next) => offset = next.offset,
                    None => break,
                }
            }
            assert_eq!(seen, all, "{max}");
        }
    }
}
