//! What this process knows to have happened in each partition, so that a store which comes back with less is found out.
//!
//! A primary's reign lasts until another server, or the same one after a restart, takes over; Redis names it by its
//! replication id. What was seen under one reign and is not there under the next was lost, and begins a new epoch.
//! The first process to come under a new reign leaves a mark of how far the partition was then, so that a process that
//! comes later can still tell, whatever was written meanwhile.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use redis::Value;

use super::reply;
use crate::store::Error;

/// Longest replication id that is kept; Redis's have 40 characters.
const REIGN_MAX: usize = 128;

/// What is known of every partition.
#[derive(Debug)]
pub(super) struct Ledger(Vec<Page>);

#[derive(Debug, Default)]
struct Page {
    /// The highest number of an announcement that is known to have been made.
    seen: AtomicU64,
    epoch: AtomicU32,
    reign: Mutex<Vec<u8>>,
}

/// What the `epoch` script answers.
#[derive(Debug)]
pub(super) struct Standing {
    /// The time there.
    pub(super) now: i64,
    /// The last announcement's number.
    pub(super) seq: u64,
    /// What was seen before is not all there.
    pub(super) lost: bool,
    epoch: u32,
    reign: Vec<u8>,
}

impl Standing {
    /// Reads an answer: `now, schema, partitions, seq, epoch, lost, reign`.
    pub(super) fn read(answer: &Value) -> Option<(Standing, [String; 2])> {
        let [now, schema, partitions, seq, epoch, lost, reign] = reply::array(answer)? else {
            return None;
        };
        let text = |value| Some(String::from_utf8_lossy(reply::bytes(value)?).into_owned());
        let standing = Standing {
            now: reply::int(now)?,
            seq: reply::count(seq)?,
            lost: reply::int(lost)? == 1,
            epoch: reply::epoch(epoch)?,
            reign: reply::bytes(reign)?
                .iter()
                .copied()
                .take(REIGN_MAX)
                .collect(),
        };
        Some((standing, [text(schema)?, text(partitions)?]))
    }
}

impl Ledger {
    pub(super) fn new(partitions: u16) -> Self {
        Ledger((0..partitions).map(|_| Page::default()).collect())
    }

    /// What the `epoch` script is told: the last announcement seen, the epoch, and the reign they were seen under.
    pub(super) fn page(&self, partition: u16) -> [Vec<u8>; 3] {
        let Some(page) = self.0.get(usize::from(partition)) else {
            return Default::default();
        };
        let number = |number: u64| number.to_string().into_bytes();
        [
            number(page.seen.load(Ordering::Acquire)),
            number(u64::from(page.epoch.load(Ordering::Acquire))),
            page.reign.lock().clone(),
        ]
    }

    /// Takes note of how the partition stands. Answers whether its epoch is news.
    pub(super) fn enter(&self, partition: u16, standing: &Standing) -> bool {
        let Some(page) = self.0.get(usize::from(partition)) else {
            return false;
        };
        let before = page.epoch.fetch_max(standing.epoch, Ordering::AcqRel);
        let mut reign = page.reign.lock();
        if *reign == standing.reign {
            page.seen.fetch_max(standing.seq, Ordering::AcqRel);
        } else {
            reign.clone_from(&standing.reign);
            page.seen.store(standing.seq, Ordering::Release);
        }
        if standing.lost {
            tracing::error!(
                partition,
                epoch = standing.epoch,
                "Redis came back with less than it had acknowledged; a new epoch begins. \
                 Turn its append-only file on, or wait for replicas, to make that unlikely"
            );
            metrics::counter!("tidings_store_losses_total").increment(1);
        }
        before != 0 && before < standing.epoch
    }

    /// Whether the partition was entered under this reign: else what is heard of it says nothing about what was seen
    /// before.
    pub(super) fn is_under(&self, partition: u16, reign: &str) -> bool {
        let page = self.0.get(usize::from(partition));
        page.is_some_and(|page| *page.reign.lock() == reign.as_bytes())
    }

    /// An announcement of that number was made: somebody was told so.
    pub(super) fn saw(&self, partition: u16, seq: u64) {
        if let Some(page) = self.0.get(usize::from(partition)) {
            page.seen.fetch_max(seq, Ordering::AcqRel);
        }
    }

    /// An epoch was heard of. Answers whether it is news.
    pub(super) fn heard_epoch(&self, partition: u16, epoch: u32) -> bool {
        let page = self.0.get(usize::from(partition));
        page.is_some_and(|page| page.epoch.fetch_max(epoch, Ordering::AcqRel) < epoch)
    }

    /// The epoch of a partition.
    pub(super) fn epoch(&self, partition: u16) -> u32 {
        let page = self.0.get(usize::from(partition));
        page.map_or(0, |page| page.epoch.load(Ordering::Acquire))
    }

    /// The highest epoch of all partitions.
    pub(super) fn highest_epoch(&self) -> u32 {
        let epochs = self.0.iter().map(|page| page.epoch.load(Ordering::Acquire));
        epochs.max().unwrap_or_default()
    }
}

/// An answer that is no standing.
pub(super) fn odd() -> Error {
    reply::odd("a partition's epoch")
}
