//! Runs tasks that were acquired, each by itself, and passes on what became of them.

use std::{sync::Arc, time::Duration, vec};

use futures::poll;
use parking_lot::Mutex;
use tokio::{runtime::Handle, task::coop::consume_budget, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    committer::Finished,
    held::{Held, Progress},
    lane::Lanes,
    runner::Runner,
    slot::{Free, Slot},
};
use crate::{
    journal,
    model::{Cached, Event, Outcome, Task},
};

/// What a commit of released tasks may take when the grace is over.
const RELEASE_TIME: Duration = Duration::from_secs(1);

/// The attempts under way.
pub(super) struct Attempts {
    held: Arc<Held>,
    runner: Runner,
    done: Lanes<Finished>,
    release: CancellationToken,
    running: TaskTracker,
}

/// A task that was acquired, and what its attempt needs.
struct Begun {
    task: Arc<Task>,
    slot: Slot,
    progress: Progress,
    lost: CancellationToken,
}

impl Attempts {
    /// None yet.
    pub(super) fn new(held: Arc<Held>, runner: Runner, done: Lanes<Finished>) -> Self {
        Attempts {
            held,
            runner,
            done,
            release: CancellationToken::new(),
            running: TaskTracker::new(),
        }
    }

    /// How many calls may wait for their turns; none where any number may be begun.
    pub(super) fn room(&self) -> Option<usize> {
        self.runner.room()
    }

    /// Starts tasks that were acquired for these places.
    pub(super) fn start(self: &Arc<Self>, tasks: Vec<Task>, mut free: Free) {
        let mut brief = Vec::new();
        journal::all_moved(&tasks);
        for task in tasks {
            let Some(slot) = free.fill() else {
                self.give_back(task);
                continue;
            };
            let (lost, progress) = self.held.insert(&task);
            let begun = Begun {
                task: Arc::new(task),
                slot,
                progress,
                lost,
            };
            if self.runner.is_brief(&begun.task) {
                brief.push(begun);
            } else {
                self.running.spawn(self.clone().run(begun));
            }
        }
        self.share_out(brief);
    }

    /// Waits until all have ended, which nobody starts any more, and gives back what outlasts the grace.
    pub(super) async fn end(&self, grace: Duration) {
        self.running.close();
        let grace = grace.saturating_sub(RELEASE_TIME / 2);
        if timeout(grace, self.running.wait()).await.is_err() {
            tracing::info!(
                tasks = self.running.len(),
                "grace is over; giving tasks back"
            );
            self.release.cancel();
            self.running.wait().await;
        }
    }

    /// An acquire whose answer was lost had asked for more than there is room for by now.
    fn give_back(&self, task: Task) {
        let finished = Finished {
            task: Arc::new(task),
            event: Event::Released,
            said: String::new(),
            _slot: None,
        };
        self.done.send(finished.task.id, finished);
    }

    /// Functions that answer at once share a loop for each thread, so that not each of them costs a spawn.
    fn share_out(self: &Arc<Self>, brief: Vec<Begun>) {
        let loops = Handle::current().metrics().num_workers();
        let loops = loops.min(brief.len());
        let rest = Arc::new(Mutex::new(brief.into_iter()));
        for _ in 0..loops {
            self.running.spawn(self.clone().work_off(rest.clone()));
        }
    }

    /// Runs what is left, one after the other. One that waits all the same goes on by itself.
    async fn work_off(self: Arc<Self>, rest: Arc<Mutex<vec::IntoIter<Begun>>>) {
        loop {
            let Some(begun) = rest.lock().next() else {
                return;
            };
            let mut attempt = Box::pin(self.clone().run(begun));
            if poll!(attempt.as_mut()).is_pending() {
                self.running.spawn(attempt);
            }
            consume_budget().await;
        }
    }

    async fn run(self: Arc<Self>, begun: Begun) {
        let Begun {
            task,
            mut slot,
            progress,
            lost,
        } = begun;
        let (event, said) = tokio::select! {
            biased;
            () = lost.cancelled() => {
                self.held.remove(task.id, task.fence());
                return;
            }
            ended = self.runner.run(task.clone(), progress, &mut slot) => ended,
            () = self.release.cancelled() => (Event::Released, String::new()),
        };
        // However it ended, it waits for no turn any more.
        drop(slot.waiting());
        if let Event::Succeeded(outcome) = &event {
            slot.end(was_paid(&task, outcome));
        }
        let id = task.id;
        let finished = Finished {
            task,
            event,
            said,
            _slot: Some(slot),
        };
        // The other end outlives this one.
        self.done.send(id, finished);
    }
}

/// Whether the answer would have to be paid for again if it were lost.
fn was_paid(task: &Task, outcome: &Outcome) -> bool {
    let is_anothers = matches!(outcome.cached, Some(Cached::Hit | Cached::Coalesced));
    task.spec.work.is_upstream() && !is_anothers
}
