//! What a task may make of the lead it found: pure.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Timestamp,
    model::{CacheKey, Cause, Outcome, Status, Task},
    store::{Lead, Lookup},
    upstream,
};

/// A lead whose call failed is not called over at once: upstreams in trouble get a pause, up to this long.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How a lead stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its call is under way.
    Running,
    /// Its call failed; its place is free at this instant.
    Pausing(Timestamp),
    /// It has answered.
    Answered(Arc<Outcome>),
    /// It has an answer that is for itself alone: cut off, filtered or refused.
    Unshareable,
    /// It came back because its batch, which is the asker's too, was held back.
    HeldBack,
    /// Its call came to nothing, or its answer is too old.
    Gone,
}

/// What the asker wants to know it for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    pub(super) task: &'a Task,
    pub(super) key: CacheKey,
    /// An answer older than this is not taken,
    pub(super) max_age: Duration,
    /// unless the asker has waited for the call that gave it.
    pub(super) has_waited: bool,
}

impl Asker<'_> {
    /// How a lead stands, by what is known of its task.
    pub(super) fn judge(&self, lead: Lead, found: Lookup, now: Timestamp) -> Standing {
        let task = match found {
            Lookup::Found(task) => task,
            // It ended while it was waited for, and was not kept: the next one would not be either.
            Lookup::Expired if self.has_waited => return Standing::Unshareable,
            _ => return Standing::Gone,
        };
        match task.status() {
            Status::Processing if task.revision() == lead.fence.revision => Standing::Running,
            Status::Completed => self.answer(&task, now),
            Status::Queued => self.queued(&task, now),
            _ => Standing::Gone,
        }
    }

    fn answer(&self, lead: &Task, now: Timestamp) -> Standing {
        let age = lead.end_time().map(|end| now.since(end));
        let is_fresh = self.has_waited || age.is_some_and(|age| age < self.max_age);
        match &lead.outcome {
            // Those that waited for it do not wait for another such; whoever comes later tries anew.
            Some(outcome) if !outcome.is_shareable() => match self.has_waited {
                true => Standing::Unshareable,
                false => Standing::Gone,
            },
            // Whatever led here, the answer is only taken from a task that asked for the same.
            Some(outcome) if is_fresh && upstream::cache_key(&lead.spec) == Some(self.key) => {
                Standing::Answered(outcome.clone())
            }
            _ => Standing::Gone,
        }
    }

    fn queued(&self, lead: &Task, now: Timestamp) -> Standing {
        let last = lead.last();
        match last.cause {
            Cause::Parked if lead.batch_id == self.task.batch_id => Standing::HeldBack,
            Cause::Retried => {
                let free = lead.due.min(last.at + LONGEST_PAUSE);
                if free > now {
                    Standing::Pausing(free)
                } else {
                    Standing::Gone
                }
            }
            _ => Standing::Gone,
        }
    }
}

#[cfg(test)]
mod tests;
