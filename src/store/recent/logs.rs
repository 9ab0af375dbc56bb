//! The ends of batches' logs, put together from what this process has written and read.
//!
//! Entries are facts: within an epoch the same one stays in its place. Pieces say where theirs stand, and may come in any
//! order. That a log has no more is another matter: others add to it. What they have added since a log was taken up
//! shows in their hints, which say how far it reaches; so its end is known from the first call on that began after that.

use std::collections::{HashMap, VecDeque};

use crate::{
    model::{Batch, BatchId},
    store::{Log, Moved},
};

/// Entries kept of one log.
const DEEPEST: usize = 32_768;
/// Entries kept of all logs together, 48 bytes each; a log by itself counts as [`LOG`] of them.
const MOST: usize = 131_072;
const LOG: usize = 8;
/// Pieces of one log that wait for those before them.
const EARLY: usize = 16;

/// When a call began, as far as hints are concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// A part of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it says, and how far the log goes at least.
    pub log: Log,
    /// That is all there is, or was a moment ago.
    pub is_last: bool,
}

/// The logs that something is known of.
#[derive(Debug, Default)]
pub(super) struct Logs {
    moment: Moment,
    ends: HashMap<BatchId, End>,
    /// What all of them hold.
    weight: usize,
}

/// What is known of one log.
#[derive(Debug)]
struct End {
    watchers: usize,
    /// What others add is heard of since then.
    since: Moment,
    /// The highest epoch it was read in; 0 for unknown.
    epoch: u32,
    /// How many entries others say that it has.
    reaches: u64,
    tail: Option<Box<Tail>>,
}

/// The last entries that are known, without a gap.
#[derive(Debug)]
struct Tail {
    epoch: u32,
    /// Where they begin.
    from: u64,
    entries: VecDeque<Moved>,
    /// The batch as of their end.
    batch: Batch,
    /// Somebody saw that there were no more, and hints were heard already.
    was_last: bool,
    /// What comes later, with something missing in between.
    early: Vec<(Log, bool)>,
}

impl Logs {
    /// The present.
    pub(super) fn moment(&self) -> Moment {
        self.moment
    }

    pub(super) fn follow(&mut self, id: BatchId) {
        self.end_of(id).watchers += 1;
    }

    pub(super) fn leave(&mut self, id: BatchId) {
        let Some(end) = self.ends.get_mut(&id) else {
            return;
        };
        end.watchers -= 1;
        if end.watchers == 0 {
            self.weight -= end.weight();
            self.ends.remove(&id);
        }
    }

    /// The epoch in which a log that is followed was last read; none of others.
    pub(super) fn epoch(&self, id: BatchId) -> Option<u32> {
        let end = self.ends.get(&id).filter(|end| end.watchers > 0);
        end.map(|end| end.epoch)
    }

    pub(super) fn reached(&mut self, id: BatchId, epoch: u32) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.epoch = end.epoch.max(epoch);
        }
    }

    /// Somebody says that the log has so many entries.
    pub(super) fn heard(&mut self, id: BatchId, reaches: u64) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.reaches = end.reaches.max(reaches);
        }
    }

    /// The batch has changed as a whole: what is known of it is no longer so.
    pub(super) fn amended(&mut self, id: BatchId) {
        let since = self.next_moment();
        if let Some(end) = self.ends.get_mut(&id) {
            self.weight -= end.weight();
            end.begin(since);
        }
    }

    /// Hints were lost, or an epoch has begun: nothing that was known can be relied on.
    pub(super) fn forget_all(&mut self) {
        let since = self.next_moment();
        self.ends.retain(|_, end| end.watchers > 0);
        self.ends.values_mut().for_each(|end| end.begin(since));
        self.weight = 0;
    }

    /// Takes how a log ended when a call that began at that moment was answered.
    pub(super) fn add(&mut self, piece: Log, began: Moment) {
        let end = self.end_of(piece.batch.id);
        let before = end.weight();
        end.add(piece, began);
        let after = end.weight();
        self.weight = self.weight + after - before;
        if self.weight > MOST {
            self.shed();
        }
    }

    /// Up to `max` entries of a log from position `from` on, if they are known, or that there are none.
    pub(super) fn part(&self, id: BatchId, from: u64, max: usize) -> Option<Part> {
        let end = self.ends.get(&id)?;
        let tail = end.tail.as_ref()?;
        let first = usize::try_from(from.checked_sub(tail.from)?).ok()?;
        let known = tail.entries.len().checked_sub(first)?;
        let is_whole = tail.was_last && end.reaches <= tail.end() && tail.early.is_empty();
        if known == 0 && !is_whole {
            return None;
        }
        let entries = tail.entries.range(first..first + known.min(max));
        Some(Part {
            log: Log {
                entries: entries.copied().collect(),
                end: tail.end(),
                batch: tail.batch.clone(),
                epoch: tail.epoch,
            },
            is_last: is_whole && known <= max,
        })
    }

    /// What is known of a log, from now on if nothing is.
    fn end_of(&mut self, id: BatchId) -> &mut End {
        let moment = &mut self.moment;
        self.ends.entry(id).or_insert_with(|| {
            moment.0 += 1;
            End {
                watchers: 0,
                since: *moment,
                epoch: 0,
                reaches: 0,
                tail: None,
            }
        })
    }

    fn next_moment(&mut self) -> Moment {
        self.moment.0 += 1;
        self.moment
    }

    /// Gives all of it up: whoever follows reads on from the store.
    fn shed(&mut self) {
        self.ends.retain(|_, end| end.watchers > 0);
        self.ends.values_mut().for_each(|end| end.tail = None);
        self.weight = 0;
    }
}

impl End {
    fn begin(&mut self, since: Moment) {
        self.since = since;
        self.reaches = 0;
        self.tail = None;
    }

    fn weight(&self) -> usize {
        let early = |tail: &Tail| {
            tail.early
                .iter()
                .map(|it| it.0.entries.len())
                .sum::<usize>()
        };
        let tail = self.tail.as_ref();
        tail.map_or(0, |tail| LOG + tail.entries.len() + early(tail))
    }

    fn add(&mut self, piece: Log, began: Moment) {
        let was_last = began >= self.since;
        match &mut self.tail {
            Some(tail) if tail.epoch > piece.epoch => {}
            Some(tail) if tail.epoch == piece.epoch => tail.add(piece, was_last),
            _ => self.tail = Some(Box::new(Tail::of(piece, was_last))),
        }
    }
}

/// Where a piece begins.
fn start(piece: &Log) -> u64 {
    piece.end.saturating_sub(piece.entries.len() as u64)
}

impl Tail {
    fn of(piece: Log, was_last: bool) -> Self {
        Tail {
            epoch: piece.epoch,
            from: start(&piece),
            entries: piece.entries.into(),
            batch: piece.batch,
            was_last,
            early: Vec::new(),
        }
    }

    fn end(&self) -> u64 {
        self.from + self.entries.len() as u64
    }

    fn add(&mut self, piece: Log, was_last: bool) {
        if start(&piece) > self.end() {
            self.early.push((piece, was_last));
            if self.early.len() > EARLY {
                self.skip();
            }
            return;
        }
        self.append(piece, was_last);
        while let Some((next, was_last)) = self.next_early() {
            self.append(next, was_last);
        }
        let too_many = self.entries.len().saturating_sub(DEEPEST);
        self.entries.drain(..too_many);
        self.from += too_many as u64;
    }

    /// Others write as much: what lies before the last piece has to be read.
    fn skip(&mut self) {
        if let Some((last, was_last)) = self.early.drain(..).max_by_key(|it| it.0.end) {
            *self = Tail::of(last, was_last || self.was_last);
        }
    }

    /// A piece that is early no longer.
    fn next_early(&mut self) -> Option<(Log, bool)> {
        let end = self.end();
        let index = self.early.iter().position(|it| start(&it.0) <= end)?;
        Some(self.early.swap_remove(index))
    }

    /// Takes what a piece that begins no later than the end has beyond it.
    fn append(&mut self, piece: Log, was_last: bool) {
        if piece.end < self.end() {
            return;
        }
        let known = (self.end() - start(&piece)) as usize;
        self.entries.extend(piece.entries.into_iter().skip(known));
        self.batch = piece.batch;
        self.was_last |= was_last;
    }
}

#[cfg(test)]
#[path = "logs_tests.rs"]
mod tests;
