//! Batches: reading them, their logs, and changing them as a whole.

use std::sync::atomic::Ordering;

use redis::Value;

use super::{
    RedisStore, fields,
    lease::decimal,
    link::{Call, Order},
    message, reply,
    script::Script,
};
use crate::{
    model::{Batch, BatchId},
    store::{Amendment, Error, Log, Moment, Stats},
};

/// Batches that one sweep looks at in each partition.
const SWEEP_MAX: u64 = 500;
/// Log entries in one reply: 24 bytes each.
const LOG_MAX: usize = 10_000;

/// Calls of one sweep where there is more than one removes: others have the store in between.
const SWEEPS: usize = 8;

impl RedisStore {
    pub(super) async fn read_log(
        &self,
        id: BatchId,
        from: u64,
        max: usize,
    ) -> Result<Option<Log>, Error> {
        let Some(partition) = self.partition_of(id.partition()) else {
            return Ok(None);
        };
        let args = vec![
            id.as_bytes().to_vec(),
            decimal(from),
            decimal(max.min(LOG_MAX)),
        ];
        let answer = self.router.run_one(Script::Log, partition, args).await?;
        let odd = || reply::odd("a batch");
        let [fields, length, entries, epoch] = reply::array(&answer).ok_or_else(odd)? else {
            return Err(odd());
        };
        let Some(batch) = fields::decode(id, fields)? else {
            return Ok(None);
        };
        let entries = message::decode_log(id, reply::bytes(entries).ok_or_else(odd)?);
        Ok(Some(Log {
            entries: entries.ok_or_else(odd)?,
            end: reply::count(length).ok_or_else(odd)? / message::LOG_ENTRY_LEN as u64,
            batch,
            epoch: reply::epoch(epoch).ok_or_else(odd)?,
        }))
    }

    /// Takes note of how logs end that a call has written, which began at that moment. Answers the epoch; none where it wrote
    /// none.
    pub(super) fn keep_pieces(&self, pieces: &Value, began: Moment) -> Option<u32> {
        let [epoch, pieces @ ..] = reply::array(pieces)? else {
            return None;
        };
        let epoch = reply::epoch(epoch)?;
        let pieces = pieces.iter().filter_map(|piece| decode_piece(piece, epoch));
        self.feed.recent.added(pieces, began);
        Some(epoch)
    }

    pub(super) async fn amend_batch(
        &self,
        id: BatchId,
        amendment: Amendment,
    ) -> Result<Option<Batch>, Error> {
        let Some(partition) = self.partition_of(id.partition()) else {
            return Ok(None);
        };
        let (what, budget) = match amendment {
            Amendment::Resume { budget } => ("resume", budget),
            Amendment::Close => ("close", None),
        };
        let budget = budget.map(decimal).unwrap_or_default();
        let args = vec![id.as_bytes().to_vec(), what.into(), budget];
        let answer = self.router.run_one(Script::Amend, partition, args).await?;
        fields::decode(id, &answer)
    }

    /// Removes tasks past their retention, and what is left of batches that Redis has let expire.
    pub(super) async fn forget_expired(&self) -> Result<usize, Error> {
        let mut removed = 0;
        for _ in 0..SWEEPS {
            let (some, more) = self.forget_some().await?;
            removed += some;
            if !more {
                break;
            }
        }
        Ok(removed)
    }

    /// One bounded call for each partition: how much it removed, and whether there is more.
    async fn forget_some(&self) -> Result<(usize, bool), Error> {
        let calls: Vec<Call> = (0..self.partitions)
            .zip(&self.swept)
            .map(|(partition, swept)| Call {
                order: Order::Run(Script::Sweep),
                partition,
                args: vec![decimal(swept.load(Ordering::Relaxed)), decimal(SWEEP_MAX)],
            })
            .collect();
        let (mut removed, mut is_more) = (0, false);
        for (index, answer) in self.router.run_some(&calls).await? {
            let odd = || reply::odd("a sweep");
            let swept = &self.swept[index];
            let [looked, gone, tasks, more] = reply::array(&answer).ok_or_else(odd)? else {
                return Err(odd());
            };
            let looked = reply::count(looked).ok_or_else(odd)?;
            let gone = reply::count(gone).ok_or_else(odd)?;
            removed += (gone + reply::count(tasks).ok_or_else(odd)?) as usize;
            is_more |= reply::bytes(more) == Some(b"1");
            if looked < SWEEP_MAX {
                swept.store(0, Ordering::Relaxed);
            } else {
                swept.fetch_add(looked - gone, Ordering::Relaxed);
            }
        }
        Ok((removed, is_more))
    }

    pub(super) async fn count(&self) -> Result<Stats, Error> {
        let calls: Vec<Call> = (0..self.partitions)
            .map(|partition| Call {
                order: Order::Run(Script::Stats),
                partition,
                args: Vec::new(),
            })
            .collect();
        let mut stats = Stats::default();
        // In a cluster the rest serves while a part of it is away.
        for (_, answer) in self.router.run_some(&calls).await? {
            let odd = || reply::odd("the store's counts");
            let numbers: Option<Vec<u64>> =
                reply::array(&answer).and_then(|values| values.iter().map(reply::count).collect());
            let Some([_, queued, processing, delayed, parked, bytes]) = numbers.as_deref() else {
                return Err(odd());
            };
            // A delayed task of a parked batch is counted as both; rarer than it is worth a script's time.
            stats.ready += queued.saturating_sub(delayed + parked);
            stats.delayed += delayed;
            stats.parked += parked;
            stats.processing += processing;
            stats.bytes += bytes;
        }
        Ok(stats)
    }
}

/// The end of a log as a script answers it.
fn decode_piece(piece: &Value, epoch: u32) -> Option<Log> {
    let [id, end, entries, fields] = reply::array(piece)? else {
        return None;
    };
    let id = BatchId::from_bytes(reply::id(id)?);
    Some(Log {
        entries: message::decode_log(id, reply::bytes(entries)?)?,
        end: reply::count(end)?,
        batch: fields::decode(id, fields).ok()??,
        epoch,
    })
}
