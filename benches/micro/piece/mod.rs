//! The hot pieces: what every task, every transition or every word of an answer goes through.

mod hub;
mod record;
mod redis;
mod sse;
mod told;
mod transition;

use std::fmt;

use crate::{round::Rounds, world::TASKS};

/// A piece, and how much of it a round has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    /// Its name in the baseline.
    pub(crate) name: &'static str,
    /// How many a round has
    pub(crate) count: u64,
    /// of what.
    pub(crate) unit: &'static str,
    /// Sets it up, which may take a while, and then makes rounds.
    pub(crate) prepare: fn() -> Rounds,
}

impl Piece {
    /// Fails where a round has not done what it should have: its figure would mean nothing.
    pub(crate) fn check(&self, done: u64) {
        let Piece {
            name, count, unit, ..
        } = self;
        assert_eq!(done, *count, "{name}: so many {unit}s a round");
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const TASK_COUNT: u64 = TASKS as u64;

/// All of them.
pub(crate) const ALL: [Piece; 11] = [
    piece("transition", TASK_COUNT, "task", transition::applied),
    piece("record-encode", TASK_COUNT, "task", record::encoded),
    piece("record-decode", TASK_COUNT, "task", record::decoded),
    piece("redis-commit", TASK_COUNT, "task", redis::committed),
    piece("redis-announcement", TASK_COUNT, "transition", redis::heard),
    piece("watch-batch", told::BATCH_EVENTS, "event", told::batch),
    piece(
        "watch-batch-again",
        told::BATCH_EVENTS,
        "event",
        told::batch_again,
    ),
    piece("watch-task", told::TASK_EVENTS, "event", told::tasks),
    piece("hub", TASK_COUNT, "watcher", hub::woken),
    piece("sse", sse::EVENTS, "event", sse::parsed),
    piece("streamed-answer", sse::EVENTS, "event", sse::assembled),
];

const fn piece(
    name: &'static str,
    count: u64,
    unit: &'static str,
    prepare: fn() -> Rounds,
) -> Piece {
    Piece {
        name,
        count,
        unit,
        prepare,
    }
}
