//! Tasks as they are in production, and a store that holds them: always the same, so that counts are.

#[expect(
    dead_code,
    reason = "the tests use all of it, these pieces what a few tasks need"
)]
#[path = "../../tests/it/support"]
mod support {
    pub(super) mod model_store;
}

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tidings::{
    clock::{ManualClock, Timestamp},
    model::{
        BatchId, Event, IdRange, Outcome, Priority, Spec, Task, TaskId, Usage, Work, WorkerId,
    },
    store::{Append, Commit, Guard, Moved, Store, Submission, Verdict},
};
use tokio::runtime::{Builder, Runtime};

use support::model_store::ModelStore;

/// Tasks of a round: as many as a worker of the usual concurrency takes and commits at a time.
pub(crate) const TASKS: u32 = 256;
/// When everything happens.
pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// Who works on everything.
pub(crate) const WORKER: WorkerId = WorkerId(7);

const DAY: Duration = Duration::from_secs(24 * 3_600);
const DAY_MS: u64 = 24 * 3_600 * 1_000;
/// Bytes of a prompt, and of its answer.
const TEXT: usize = 200;

/// A prompt with what a caller usually says along with it.
fn spec() -> Spec {
    Spec {
        work: Work::Prompt {
            text: "p".repeat(TEXT),
        },
        custom_id: "row-000017".to_owned(),
        model: "gpt-4o-mini".to_owned(),
        priority: Priority::Normal,
        timeout_ms: 600_000,
        deadline: NOW + DAY,
        not_before: None,
        status_retention_ms: DAY_MS,
        result_retention_ms: 7 * DAY_MS,
        max_attempts: 5,
        labels: BTreeMap::from([("job".to_owned(), "nightly".to_owned())]),
        retry_of: None,
        create_time: NOW,
        caching: None,
        stream: false,
        max_cost_micros: 0,
        validation_retries: None,
    }
}

/// An answer, with the upstream's reply as it came.
pub(crate) fn answer() -> Outcome {
    let text = "a".repeat(TEXT);
    let body = format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o-mini","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":50,"completion_tokens":60,"total_tokens":110}}}}"#
    );
    Outcome {
        text,
        body,
        model: "gpt-4o-mini-2024-07-18".to_owned(),
        finish_reason: "stop".to_owned(),
        usage: Usage {
            input_tokens: 50,
            output_tokens: 60,
            ..Usage::default()
        },
        ..Outcome::default()
    }
}

/// A worker takes a task up.
pub(crate) fn acquired() -> Event {
    Event::Acquired { worker: WORKER }
}

/// The upstream answers a task.
pub(crate) fn succeeded() -> Event {
    Event::Succeeded(Box::new(answer()))
}

/// A batch of so many tasks.
fn submission(count: u32) -> Submission {
    Submission {
        batch_id: BatchId::new(NOW, 0, 1),
        append: Append::New,
        keep_open: false,
        ids: IdRange::new(NOW, 0, 1 << 40, count),
        specs: (0..count).map(|_| Arc::new(spec())).collect(),
        budget: None,
        idempotency: None,
    }
}

/// Tasks just submitted.
pub(crate) fn queued() -> Vec<Task> {
    let submission = submission(TASKS);
    let tasks = submission.ids.iter().zip(submission.specs);
    tasks
        .map(|(id, spec)| Task::new(id, submission.batch_id, spec, 1))
        .collect()
}

/// What this comes to for a task, ready to be committed.
fn moved(mut task: Task, event: Event) -> Commit {
    let (fence, from) = (task.fence(), task.status());
    task.apply(event, NOW).expect("the table allows it");
    Commit {
        task,
        fence,
        from,
        guard: Guard::None,
        park: None,
    }
}

/// The commits of tasks that were answered.
pub(crate) fn answered() -> Vec<Commit> {
    let acquired = queued().into_iter().map(|task| moved(task, acquired()));
    acquired
        .map(|commit| moved(commit.task, succeeded()))
        .collect()
}

/// What is announced of commits.
pub(crate) fn hints(commits: &[Commit]) -> Vec<Moved> {
    let hint = |commit: &Commit| Moved {
        task: commit.task.id,
        batch: commit.task.batch_id,
        revision: commit.task.revision(),
        status: commit.task.status(),
    };
    commits.iter().map(hint).collect()
}

/// A store with one batch, on a runtime of one thread.
pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) store: Arc<ModelStore>,
    pub(crate) batch: BatchId,
    pub(crate) tasks: Vec<TaskId>,
}

impl World {
    /// A batch of so many tasks that wait.
    pub(crate) fn new(count: u32) -> Self {
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime of one thread needs nothing");
        let store = Arc::new(ModelStore::new(Arc::new(ManualClock::new(NOW))));
        let submission = submission(count);
        let (batch, ids) = (submission.batch_id, submission.ids);
        let accepted = runtime.block_on(store.submit(submission));
        accepted.expect("the store has room");
        World {
            runtime,
            store,
            batch,
            tasks: ids.iter().collect(),
        }
    }

    /// A worker takes up all tasks that wait.
    pub(crate) fn acquire(&self) -> Vec<Task> {
        let acquire = self.store.acquire(WORKER, self.tasks.len(), DAY);
        let acquired = self.runtime.block_on(acquire);
        let tasks = acquired.expect("the store is there").tasks;
        assert_eq!(tasks.len(), self.tasks.len(), "all of them wait");
        tasks
    }

    /// To each of these tasks this happens.
    pub(crate) fn commit(&self, tasks: Vec<Task>, event: &Event) {
        let commits = tasks.into_iter().map(|task| moved(task, event.clone()));
        let verdicts = self.runtime.block_on(self.store.commit(commits.collect()));
        let verdicts = verdicts.expect("the store is there");
        assert!(verdicts.iter().all(|it| *it == Verdict::Applied));
    }
}
