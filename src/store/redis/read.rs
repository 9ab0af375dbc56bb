//! Listing the ids of tasks.

use std::cmp::Reverse;

use redis::Value;

use super::{
    RedisStore,
    keys::Keys,
    lease::decimal,
    link::{Call, Order},
    reply,
};
use crate::{
    model::{BatchId, IdRange},
    store::{Cursor, Error, Listing},
};

/// Batches that a listing over all of them asks for at a time.
const PAGE: usize = 64;

/// A batch in the order of listings: create time, then id.
type Placed = (i64, BatchId);

impl RedisStore {
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

    pub(super) async fn ask(&self, calls: &[Call]) -> Result<Vec<Value>, Error> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        self.router.run_each(calls).await
    }
}

pub(super) fn command(name: &'static str, partition: u16, args: Vec<Vec<u8>>) -> Call {
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
    use crate::{clock::Timestamp, model::TaskId};

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
