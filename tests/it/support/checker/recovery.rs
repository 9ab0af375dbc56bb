//! How long the tasks of a struck worker had to wait.

use std::time::Duration;

use tidings::model::TaskId;

use super::{Evidence, Millis, is_lost, millis};

/// The longest waits of struck tasks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovery {
    /// The one that waited longest to be resumed.
    pub(crate) task: TaskId,
    /// From the strike until a task was offered to other workers.
    pub(crate) offered: Duration,
    /// From the strike until a task was processing elsewhere, or terminal: a worker had to be free as well.
    pub(crate) resumed: Duration,
}

/// The longest wait of all tasks that strikes took from their workers; none when none did.
pub(crate) fn recovery(evidence: &Evidence) -> Option<Recovery> {
    let mut longest: Option<Recovery> = None;
    for (id, task) in &evidence.ends {
        for (index, attempt) in task.attempts.iter().enumerate() {
            let Some(ended) = millis(attempt.end_time.as_ref()).filter(|_| is_lost(attempt)) else {
                continue;
            };
            let Some(struck) = struck(evidence, &attempt.worker, ended) else {
                continue;
            };
            let next = task.attempts.get(index + 1);
            let resumed = next.map_or(Some(ended), |next| millis(next.start_time.as_ref()));
            let since = |at: Millis| Duration::from_millis((at - struck).max(0).unsigned_abs());
            let waited = Recovery {
                task: *id,
                offered: since(ended),
                resumed: since(resumed.unwrap_or(Millis::MAX)),
            };
            longest = Some(longest.map_or(waited, |longest| longest.max(waited)));
        }
    }
    longest
}

impl Recovery {
    fn max(self, other: Recovery) -> Recovery {
        let longest = if self.resumed < other.resumed {
            other
        } else {
            self
        };
        Recovery {
            offered: self.offered.max(other.offered),
            ..longest
        }
    }
}

/// When the worker was struck last before the attempt was taken from it.
fn struck(evidence: &Evidence, worker: &str, ended: Millis) -> Option<Millis> {
    let strikes = evidence.strikes.iter();
    let of_worker = strikes.filter(|strike| strike.worker.as_deref() == Some(worker));
    of_worker
        .map(|strike| strike.at)
        .filter(|at| *at <= ended)
        .max()
}
