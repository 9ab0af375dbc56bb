//! Small values that processes agree on: compared and swapped, never decided about.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;

use crate::clock::Timestamp;

/// Keys beyond which those whose time is over are looked for.
const SWEPT_FROM: usize = 1_024;

/// A value to write, if nobody has written its key since it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// Its key.
    pub key: String,
    /// The version that was read; 0 where there was none.
    pub version: u64,
    /// The value.
    pub value: Vec<u8>,
    /// How long to keep it.
    pub keep: Duration,
}

/// What a key holds after a [`Swap`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Never the same for two writes; 0 where nothing is kept.
    pub version: u64,
    /// The value; empty where nothing is kept.
    pub value: Vec<u8>,
    /// The swap was made.
    pub swapped: bool,
}

/// Slots in the memory of one process.
#[derive(Debug, Default)]
pub(crate) struct Slots(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    versions: u64,
    values: HashMap<String, (u64, Vec<u8>, Timestamp)>,
}

impl Slots {
    pub(crate) fn swap(&self, swap: Swap, now: Timestamp) -> Slot {
        let mut kept = self.0.lock();
        let kept = &mut *kept;
        if kept.values.len() >= SWEPT_FROM {
            kept.values.retain(|_, (_, _, end)| *end > now);
        }
        let stored = kept.values.get(&swap.key);
        let (version, value) = stored
            .filter(|(_, _, end)| *end > now)
            .map_or((0, &[][..]), |(version, value, _)| (*version, value));
        if version != swap.version {
            return Slot {
                version,
                value: value.to_vec(),
                swapped: false,
            };
        }
        kept.versions += 1;
        let version = kept.versions;
        let end = now + swap.keep;
        let value = swap.value.clone();
        kept.values.insert(swap.key, (version, swap.value, end));
        Slot {
            version,
            value,
            swapped: true,
        }
    }
}
