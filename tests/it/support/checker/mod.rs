//! Judges a whole run under faults, as Jepsen and etcd's robustness tests do: what was accepted, what the store says
//! in the end, what every watcher was told and when, and what the upstream was asked.
//!
//! The queue: nothing accepted is lost, nothing is there that was not accepted, every task ends once, and what it
//! ended with stays. The upstream: as often as there were attempts, and no more than the faults explain. The watches:
//! ordered, unique, without a gap, resumable, terminal last, of what was asked for and nothing else.

mod calls;
mod losses;
mod queue;
mod recovery;
mod tests;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tidings::{
    model::TaskId,
    proto::v1::{DurabilityLevel, Task, TaskAttempt},
};

use super::history::Seen;

pub(crate) use losses::{Losses, Window, judge_losses};
pub(crate) use recovery::{Comeback, Recovery, comebacks, recovery};
pub(crate) use watch::{Freshness, freshness, freshness_in_peace};

/// Milliseconds since 1970: servers, store and test share one machine's clock.
pub(crate) type Millis = i64;

/// Everything that is known of a run when it is over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// Whatever SubmitBatch answered with OK, and the prompt of each.
    pub(crate) accepted: BTreeMap<TaskId, String>,
    /// Every task that the store lists.
    pub(crate) listed: BTreeSet<TaskId>,
    /// The accepted tasks as they were read at the end.
    pub(crate) ends: BTreeMap<TaskId, Task>,
    /// The same, read again on another replica.
    pub(crate) again: BTreeMap<TaskId, Task>,
    /// What a watch of every batch, begun at the very end, was told.
    pub(crate) replay: Vec<Seen<TaskId>>,
    /// When each revision of that happened.
    pub(crate) times: BTreeMap<(TaskId, u64), Millis>,
    /// How well each accepted task was said to be kept.
    pub(crate) receipts: BTreeMap<TaskId, Receipt>,
    /// What those were told who watched through the faults.
    pub(crate) watchers: Vec<Watched>,
    /// How often the upstream was called with each prompt, by the prompt's hash.
    pub(crate) calls: BTreeMap<String, usize>,
    /// The faults.
    pub(crate) strikes: Vec<Strike>,
    /// How long a silent worker keeps a task.
    pub(crate) lease: Duration,
    /// Calls that a replica has under way at most.
    pub(crate) concurrency: usize,
}

/// What one watcher asked for and was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    /// The tasks that it asked for.
    pub(crate) asked: BTreeSet<TaskId>,
    /// What it was told, through however many streams.
    pub(crate) told: Vec<Told>,
    /// When it had to come back, each time.
    pub(crate) resumed: Vec<Millis>,
    /// Whether its last stream ended with OK.
    pub(crate) is_over: bool,
    /// How often it was told that the store took back what had been told.
    pub(crate) resets: usize,
    /// How often it came back and was told that it knows more than there is.
    pub(crate) refused: usize,
    /// It was told that there is nothing to watch.
    pub(crate) gone: Option<Gone>,
}

/// How a watcher was told that there is nothing to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// The store lost it.
    Lost,
    /// Nothing is known of it.
    Unknown,
}

/// What SubmitBatch said of how well a task is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipt {
    /// When it said so.
    pub(crate) at: Millis,
    /// The level.
    pub(crate) level: DurabilityLevel,
}

/// One event that a watcher was told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// The event.
    pub(crate) seen: Seen<TaskId>,
    /// When the transition happened.
    pub(crate) happened: Millis,
    /// When the client had it.
    pub(crate) arrived: Millis,
    /// Which replica told it.
    pub(crate) by: usize,
    /// Since when that replica's stream stood; what happened before was told late with good reason.
    pub(crate) since: Millis,
    /// The epoch of the store in which it was told.
    pub(crate) epoch: u64,
    /// What was told before was taken back with it.
    pub(crate) reset: bool,
    /// The result's body, if it came.
    pub(crate) body: Option<String>,
}

/// A fault of a replica, or of what all of them stand on.
#[derive(Clone, Debug)]
pub(crate) struct Strike {
    /// Which replica; none for all.
    pub(crate) replica: Option<usize>,
    /// The worker that was struck, unless it could go on.
    pub(crate) worker: Option<String>,
    /// When.
    pub(crate) at: Millis,
    /// When whatever was struck was whole again.
    pub(crate) until: Millis,
}

/// What a lawful run came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// Accepted and not terminal, or not there at all.
    pub(crate) lost: usize,
    /// Tasks told as ended more than once, by whomever.
    pub(crate) double_terminals: usize,
    /// Upstream calls beyond the first of each task.
    pub(crate) duplicate_calls: usize,
    /// Attempts that the faults took from their workers.
    pub(crate) duplicates_allowed: usize,
    /// Tasks ended because their workers were lost too often.
    pub(crate) poisoned: usize,
    /// Whatever is against the law.
    pub(crate) faults: Vec<String>,
}

impl Verdict {
    fn fault(&mut self, fault: String) {
        // One fault mostly breaks many tasks; the first few tell.
        if self.faults.len() < 20 {
            self.faults.push(fault);
        }
    }
}

/// Judges a run: every count, and every fault found.
pub(crate) fn judge(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    queue::judge(evidence, &mut verdict);
    calls::judge(evidence, &mut verdict);
    watch::judge(evidence, &mut verdict);
    verdict
}

/// A timestamp of a task.
pub(crate) fn millis(time: Option<&prost_types::Timestamp>) -> Option<Millis> {
    time.map(|time| time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000)
}

/// Whether the attempt ended because its worker was silent for a lease.
pub(crate) fn is_lost(attempt: &TaskAttempt) -> bool {
    use tidings::proto::v1::TransitionCause::{LeaseExpired, Poisoned};
    matches!(attempt.outcome(), LeaseExpired | Poisoned)
}
