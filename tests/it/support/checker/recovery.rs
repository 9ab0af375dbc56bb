//! How long the tasks of a struck worker had to wait.

use std::{collections::BTreeMap, time::Duration};

use tidings::model::TaskId;

use super::{Evidence, Millis, Strike, is_lost, millis};

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

/// How the workers went on after something that all of them stand on had been broken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Comeback {
    /// From the fault until there was something to stand on again.
    pub(crate) down: Duration,
    /// From then until the last of the workers had started a task.
    pub(crate) last: Duration,
    /// How many workers did before the next fault.
    pub(crate) workers: usize,
}

/// One for every such fault after which anything was started.
pub(crate) fn comebacks(evidence: &Evidence) -> Vec<Comeback> {
    let strikes = evidence.strikes.iter();
    let of_all: Vec<&Strike> = strikes.filter(|strike| strike.replica.is_none()).collect();
    let nexts = of_all.iter().skip(1).map(|next| next.at);
    let ends = nexts.chain([Millis::MAX]);
    let since = |from: Millis, to: Millis| Duration::from_millis((to - from).unsigned_abs());
    let mut comebacks = Vec::new();
    for (strike, end) in of_all.iter().zip(ends) {
        let mut firsts: BTreeMap<&str, Millis> = BTreeMap::new();
        for attempt in evidence.ends.values().flat_map(|task| &task.attempts) {
            let start = millis(attempt.start_time.as_ref()).unwrap_or_default();
            if (strike.until..end).contains(&start) {
                let first = firsts.entry(&attempt.worker).or_insert(start);
                *first = start.min(*first);
            }
        }
        comebacks.extend(firsts.values().max().map(|last| Comeback {
            down: since(strike.at, strike.until),
            last: since(strike.until, *last),
            workers: firsts.len(),
        }));
    }
    comebacks
}
