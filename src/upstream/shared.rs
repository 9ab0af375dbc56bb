//! One schedule for all processes that use a key: it is stored where all of them can change it, each when nobody else
//! has since it looked. What it means is decided here; whoever stores it only compares versions.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::timeout;

use super::pace::{Bucket, Seconds};
use crate::clock::Timestamp;

/// How long a schedule is kept that nobody changes.
const KEPT: Duration = Duration::from_secs(3_600);
/// A store that takes longer is away.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a store that was away is left alone.
const AWAY: Seconds = 2.0;
/// What was read less than this ago is not read again.
pub(super) const FRESH: Seconds = 0.05;
/// Attempts at a change that others keep getting in before.
const TRIES: usize = 16;
/// No stored version: a change that expects it only reads.
const NO_VERSION: u64 = u64::MAX;

/// Where processes keep what they have to agree on.
#[async_trait]
pub trait Shared: Send + Sync + fmt::Debug {
    /// The clock that all of them go by.
    fn now(&self) -> Timestamp;

    /// Writes `value` if what is stored has this `version`, 0 standing for nothing, and keeps it so long. Answers what is
    /// stored then; none when that cannot be known now.
    async fn swap(&self, key: &str, version: u64, value: Vec<u8>, keep: Duration) -> Option<Slot>;
}

/// What is stored under a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Never the same for two writes of a key; 0 where nothing is stored.
    pub version: u64,
    /// What was written.
    pub value: Vec<u8>,
    /// It was written by this very call.
    pub is_written: bool,
}

/// The way to the others.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) shared: Arc<dyn Shared>,
    /// Which of the processes this is.
    pub(super) member: u64,
}

/// What this process knows of a stored schedule.
#[derive(Debug)]
pub(super) struct Known {
    version: u64,
    bucket: Bucket,
    at: Seconds,
    away_until: Seconds,
    /// How many processes took part when it was last read.
    members: f64,
}

impl Default for Known {
    fn default() -> Self {
        Known {
            version: 0,
            bucket: Bucket::default(),
            at: 0.0,
            away_until: 0.0,
            members: 1.0,
        }
    }
}

/// What became of a change.
pub(super) enum Changed<T, E> {
    /// It is stored.
    Done(Bucket, T),
    /// There was a reason against it.
    Refused(E),
    /// The store is away.
    Away,
}

impl Known {
    /// The part of the rate that is left to this process while it cannot ask.
    pub(super) fn share(&self) -> f64 {
        1.0 / self.members
    }

    /// It is time to look, if anybody ever does.
    pub(super) fn is_older(&self, age: Seconds, now: Seconds) -> bool {
        now - self.at > age && now >= self.away_until
    }

    /// The schedule as it is stored; none where there is none.
    pub(super) fn stored(&self) -> Option<Bucket> {
        (self.version != 0).then(|| self.bucket.clone())
    }
}

impl Link {
    /// The time by the clock of all.
    pub(super) fn now(&self) -> Timestamp {
        self.shared.now()
    }

    /// Looks at the stored schedule. False when the store is away.
    pub(super) async fn read(&self, key: &str, known: &mut Known, now: Seconds) -> bool {
        self.swap(key, known, NO_VERSION, Vec::new(), now)
            .await
            .is_some()
    }

    /// Changes the stored schedule: `change` makes of it what to write, as often as others were faster, or says why
    /// nothing should be. It is given none where nothing is stored.
    pub(super) async fn change<T, E>(
        &self,
        key: &str,
        known: &mut Known,
        now: impl Fn() -> Seconds,
        mut change: impl FnMut(Option<Bucket>) -> Result<(Bucket, T), E>,
    ) -> Changed<T, E> {
        if now() < known.away_until {
            return Changed::Away;
        }
        for _ in 0..TRIES {
            let (mut bucket, made) = match change(known.stored()) {
                Ok(made) => made,
                Err(_) if known.is_older(FRESH, now()) => {
                    if !self.read(key, known, now()).await {
                        return Changed::Away;
                    }
                    continue;
                }
                Err(reason) => return Changed::Refused(reason),
            };
            bucket.join(self.member, now());
            // Into memory nothing fails to be written.
            let value = minicbor::to_vec(&bucket).unwrap_or_default();
            let version = known.version;
            match self.swap(key, known, version, value, now()).await {
                Some(true) => return Changed::Done(bucket, made),
                Some(false) => {}
                None => return Changed::Away,
            }
        }
        Changed::Away
    }

    /// Whether it was written; none when the store is away.
    async fn swap(
        &self,
        key: &str,
        known: &mut Known,
        version: u64,
        value: Vec<u8>,
        now: Seconds,
    ) -> Option<bool> {
        let asked = self.shared.swap(key, version, value, KEPT);
        let Some(slot) = timeout(PATIENCE, asked).await.ok().flatten() else {
            known.away_until = now + AWAY;
            return None;
        };
        // What another release has written may not be understood: it is written anew then.
        known.bucket = minicbor::decode(&slot.value).unwrap_or_default();
        known.version = slot.version;
        known.at = now;
        known.members = known.bucket.members(now);
        Some(slot.is_written)
    }
}

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;
