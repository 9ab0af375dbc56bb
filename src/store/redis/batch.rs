//! Batches: reading them, their logs, and changing them as a whole.

use std::sync::atomic::Ordering;

use redis::Value;

use super::{
    RedisStore,
    lease::decimal,
    link::{Call, Order},
    message, reply,
    script::Script,
};
use crate::{
    clock::Timestamp,
    model::{Batch, BatchId, Counts, Funds, Parked, Usage},
    store::{Amendment, Error, Log, Moment, Stats, record},
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
        let Some(batch) = decode(id, fields)? else {
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
        decode(id, &answer)
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
        batch: decode(id, fields).ok()??,
        epoch,
    })
}

/// Reads a batch's fields in the order of the scripts; none when there is no such batch.
fn decode(id: BatchId, fields: &Value) -> Result<Option<Batch>, Error> {
    let odd = || reply::odd("a batch");
    let fields = reply::array(fields).ok_or_else(odd)?;
    let (fields, money) = fields.split_last_chunk().ok_or_else(odd)?;
    let [open, create, numbers @ .., end, parked] = fields else {
        return Err(odd());
    };
    if matches!(open, Value::Nil) {
        return Ok(None);
    }
    let (counts, usage) = decode_sums(numbers).ok_or_else(odd)?;
    Ok(Some(Batch {
        id,
        counts,
        usage,
        open: reply::int(open) == Some(1),
        create_time: Timestamp(reply::int(create).ok_or_else(odd)?),
        // 0 is what a sum without an end leaves behind.
        last_end_time: reply::int(end).filter(|end| *end != 0).map(Timestamp),
        parked: reply::bytes(parked).map(decode_parked).transpose()?,
        funds: decode_funds(money).ok_or_else(odd)?,
    }))
}

/// What a batch may spend, has spent, holds ready, and is short of.
fn decode_funds(fields: &[Value; 4]) -> Option<Option<Funds>> {
    let number = |value: &Value| match value {
        Value::Nil => Some(None),
        value => reply::count(value).map(Some),
    };
    let [budget, spent, reserved, short] = fields;
    let Some(budget) = number(budget)? else {
        return Some(None);
    };
    Some(Some(Funds {
        budget,
        spent: number(spent)?.unwrap_or_default(),
        reserved: number(reserved)?.unwrap_or_default(),
        short: number(short)?,
    }))
}

fn decode_parked(bytes: &[u8]) -> Result<Parked, Error> {
    record::from_cbor(bytes, "parking of a batch")
        .map_err(|fault| Error::Corrupt(fault.to_string()))
}

/// Counts by status, then usage.
fn decode_sums(numbers: &[Value]) -> Option<(Counts, Usage)> {
    let numbers: Vec<u64> = numbers.iter().map(reply::count).collect::<Option<_>>()?;
    let [queued, processing, completed, error, cancelled, usage @ ..] = &numbers[..] else {
        return None;
    };
    let [input, output, cached, reasoning, cost] = *usage else {
        return None;
    };
    let counts = Counts {
        queued: *queued,
        processing: *processing,
        completed: *completed,
        error: *error,
        cancelled: *cancelled,
    };
    let usage = Usage {
        input_tokens: input,
        output_tokens: output,
        cached_input_tokens: cached,
        reasoning_tokens: reasoning,
        cost_nanos: cost,
    };
    Some((counts, usage))
}
