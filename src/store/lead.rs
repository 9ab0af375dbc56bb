//! Which task's call answers for all equal ones: what single-flight and the cache are made of.
//!
//! A lead is a mere name. Whether its call is under way, what it answered and how old that is stands on the task, and
//! dies with it.

use super::Error;
use crate::{
    clock::Timestamp,
    model::{CacheKey, Fence, TaskId},
};

/// Bytes of a packed lead: `16 bytes task | u32 epoch | u64 revision`.
pub const LEAD_LEN: usize = 28;

/// The task whose call answers for every equal one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    /// The task.
    pub task: TaskId,
    /// Its fence while it makes the call.
    pub fence: Fence,
}

impl Lead {
    /// Whether this is the same task, as far as then or further.
    pub fn follows(&self, earlier: &Lead) -> bool {
        self.task == earlier.task && self.fence >= earlier.fence
    }

    /// The packed form.
    pub fn encode(&self) -> [u8; LEAD_LEN] {
        let mut bytes = [0; LEAD_LEN];
        bytes[..16].copy_from_slice(self.task.as_bytes());
        bytes[16..20].copy_from_slice(&self.fence.epoch.to_be_bytes());
        bytes[20..].copy_from_slice(&self.fence.revision.to_be_bytes());
        bytes
    }

    /// Reads a packed lead.
    ///
    /// # Errors
    /// The bytes are something else.
    pub fn decode(bytes: &[u8]) -> Result<Lead, Error> {
        let odd = || Error::Corrupt("the lead of a key does not have its length".into());
        let bytes: &[u8; LEAD_LEN] = bytes.try_into().map_err(|_| odd())?;
        let (task, rest) = bytes.split_first_chunk::<16>().ok_or_else(odd)?;
        let (epoch, revision) = rest.split_first_chunk::<4>().ok_or_else(odd)?;
        Ok(Lead {
            task: TaskId::from_bytes(*task),
            fence: Fence {
                epoch: u32::from_be_bytes(*epoch),
                revision: u64::from_be_bytes(revision.try_into().map_err(|_| odd())?),
            },
        })
    }
}

/// A task that would be the lead of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bid {
    /// The key.
    pub key: CacheKey,
    /// The task.
    pub lead: Lead,
    /// Whose place it may take.
    pub over: Over,
    /// How long it is to be remembered.
    pub until: Timestamp,
}

impl Bid {
    /// Whether it wins where this one is the lead so far.
    pub fn wins(&self, present: Option<Lead>) -> bool {
        present.is_none_or(|present| {
            self.lead.follows(&present)
                || match self.over {
                    Over::Nobody => false,
                    Over::This(lead) => lead == present,
                    Over::Anybody => true,
                }
        })
    }
}

/// Whose place a bid may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Nobody's: only a key without a lead is taken.
    Nobody,
    /// This one's, whose call came to nothing.
    This(Lead),
    /// Whoever's it is.
    Anybody,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::IdRange;

    fn lead(random: u64, epoch: u32, revision: u64) -> Lead {
        Lead {
            task: IdRange::new(Timestamp(1), 3, random, 1).first,
            fence: Fence { epoch, revision },
        }
    }

    #[test]
    fn a_lead_comes_back_as_it_was_written() {
        let lead = lead(99, 7, u64::MAX - 1);
        assert_eq!(Lead::decode(&lead.encode()).unwrap(), lead);
        assert!(Lead::decode(&lead.encode()[1..]).is_err());
    }

    #[test]
    fn only_the_same_task_no_less_far_follows() {
        assert!(lead(1 << 9, 1, 4).follows(&lead(1 << 9, 1, 2)));
        assert!(lead(1 << 9, 2, 2).follows(&lead(1 << 9, 1, 4)));
        assert!(lead(1 << 9, 1, 2).follows(&lead(1 << 9, 1, 2)));
        assert!(!lead(1 << 9, 1, 2).follows(&lead(1 << 9, 1, 4)));
        assert!(!lead(2 << 9, 1, 4).follows(&lead(1 << 9, 1, 2)));
    }
}
