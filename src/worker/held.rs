//! The tasks this process holds leases on.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    model::{Fence, Task, TaskId},
    store::Renewal,
};

/// The tasks this process holds leases on, by id.
#[derive(Debug, Default)]
pub(super) struct Held {
    tasks: Mutex<BTreeMap<TaskId, Entry>>,
    progressed: Arc<Notify>,
}

#[derive(Debug)]
struct Entry {
    fence: Fence,
    lost: CancellationToken,
    progress: Arc<AtomicU8>,
}

impl Entry {
    fn renewal(&self, id: TaskId) -> Renewal {
        Renewal {
            id,
            fence: self.fence,
            progress: self.progress.load(Ordering::Relaxed),
            // Once marked, a task stays so.
            sent: false,
            aside: false,
        }
    }
}

impl Held {
    /// Takes note of a task just acquired. The token is cancelled when the lease is lost.
    pub(super) fn insert(&self, task: &Task) -> (CancellationToken, Progress) {
        let lost = CancellationToken::new();
        let percent = Arc::new(AtomicU8::new(0));
        let entry = Entry {
            fence: task.fence(),
            lost: lost.clone(),
            progress: percent.clone(),
        };
        if let Some(before) = self.tasks.lock().insert(task.id, entry) {
            // Taken anew before the renewal could tell that the old lease was lost: one call at a time.
            before.lost.cancel();
        }
        let progress = Progress {
            percent,
            progressed: self.progressed.clone(),
        };
        (lost, progress)
    }

    /// Forgets a task, unless it has been acquired anew meanwhile.
    pub(super) fn remove(&self, id: TaskId, fence: Fence) {
        let mut tasks = self.tasks.lock();
        if tasks.get(&id).is_some_and(|entry| entry.fence == fence) {
            tasks.remove(&id);
        }
    }

    /// The lease is lost: whoever runs the task stops. A fence in hand says which lease; none means any.
    pub(super) fn lose(&self, id: TaskId, fence: Option<Fence>) {
        let tasks = self.tasks.lock();
        if let Some(entry) = tasks.get(&id)
            && fence.is_none_or(|fence| fence == entry.fence)
        {
            entry.lost.cancel();
        }
    }

    /// What to renew now.
    pub(super) fn renewals(&self) -> Vec<Renewal> {
        self.tasks
            .lock()
            .iter()
            .filter(|(_, entry)| !entry.lost.is_cancelled())
            .map(|(id, entry)| entry.renewal(*id))
            .collect()
    }

    /// What marks the call of a held task as sent; none when the task is not held under this fence any more.
    pub(super) fn mark(&self, id: TaskId, fence: Fence) -> Option<Renewal> {
        let tasks = self.tasks.lock();
        let entry = tasks.get(&id).filter(|entry| entry.fence == fence)?;
        Some(Renewal {
            sent: true,
            ..entry.renewal(id)
        })
    }

    /// What says that a held task waits aside; none when it is not held under this fence any more.
    pub(super) fn aside(&self, id: TaskId, fence: Fence) -> Option<Renewal> {
        let renewal = self.mark(id, fence)?;
        Some(Renewal {
            sent: false,
            aside: true,
            ..renewal
        })
    }

    /// Waits until a running task reports progress.
    pub(super) async fn progressed(&self) {
        self.progressed.notified().await;
    }
}

/// Lets a running task say how far it is.
#[derive(Clone, Debug)]
pub struct Progress {
    percent: Arc<AtomicU8>,
    progressed: Arc<Notify>,
}

impl Progress {
    /// Reports 0 to 100. Lower than before is ignored: progress never falls within an attempt.
    pub fn report(&self, percent: u8) {
        let percent = percent.min(100);
        if self.percent.fetch_max(percent, Ordering::Relaxed) < percent {
            self.progressed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Timestamp,
        model::{BatchId, Event, IdRange, Spec, WorkerId},
    };

    fn acquired(times: u32) -> Task {
        let now = Timestamp(1);
        let spec = Spec::of_prompt("p", now);
        let id = IdRange::new(now, 0, 1, 1).first;
        let mut task = Task::new(id, BatchId::new(now, 0, 1), Arc::new(spec), 1);
        let worker = WorkerId(1);
        for time in 0..times {
            if time > 0 {
                task.apply(Event::Released, now).unwrap();
            }
            task.apply(Event::Acquired { worker }, now).unwrap();
        }
        task
    }

    #[test]
    fn a_task_taken_anew_stops_the_old_run_and_outlives_its_end() {
        let held = Held::default();
        let (old, new) = (acquired(1), acquired(2));
        let (old_lost, _) = held.insert(&old);
        let (new_lost, _) = held.insert(&new);
        assert!(old_lost.is_cancelled() && !new_lost.is_cancelled());
        held.remove(old.id, old.fence());
        assert_eq!(held.renewals().len(), 1);
        held.lose(old.id, Some(old.fence()));
        assert!(!new_lost.is_cancelled());
        held.lose(new.id, None);
        assert!(new_lost.is_cancelled() && held.renewals().is_empty());
    }
}
