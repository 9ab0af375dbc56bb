//! Runs one task and says what happened to it.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::FutureExt as _;

use super::{
    appetite::Waiting,
    function::{Context, Error as FunctionError, Registry},
    held::Progress,
    marker::Marker,
    relay::Relay,
};
use crate::{
    chance,
    model::{
        Budget, ErrorCode, Event, Failed, Failure, Outcome, Recourse, Task, Wait, Work, WorkerId,
        retry,
    },
    store::Store,
    upstream::{self, Call},
};

/// Backoff of functions that ask to be tried again: as for an upstream's server errors.
const FUNCTION_BACKOFF: Wait = Wait::Backoff {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(8),
};

/// Runs tasks, one call each.
#[derive(Clone)]
pub(super) struct Runner {
    store: Arc<dyn Store>,
    upstream: upstream::Router,
    functions: Arc<Registry>,
    marker: Marker,
    relay: Relay,
    worker: WorkerId,
}

impl Runner {
    pub(super) fn new(
        store: Arc<dyn Store>,
        upstream: upstream::Router,
        functions: Arc<Registry>,
        marker: Marker,
        relay: Relay,
        worker: WorkerId,
    ) -> Self {
        Runner {
            store,
            upstream,
            functions,
            marker,
            relay,
            worker,
        }
    }

    /// How many tasks may wait for their turns; none where any number may be begun.
    pub(super) fn room(&self) -> Option<usize> {
        self.upstream.room()
    }

    /// One attempt at a task, which begins when `waiting` is dropped. A panic in it becomes the task's own failure.
    pub(super) async fn run(&self, task: Arc<Task>, progress: Progress, waiting: Waiting) -> Event {
        let left = task.spec.deadline.since(self.store.now());
        if left.is_zero() {
            return Event::DeadlinePassed(task.deadline_failure());
        }
        let sent = AtomicBool::new(false);
        let attempt = self.attempt(task.clone(), progress, waiting, &sent);
        let attempt = AssertUnwindSafe(attempt).catch_unwind();
        let ended = match tokio::time::timeout(left, attempt).await {
            Err(_) => {
                return Event::DeadlinePassed(Failure {
                    maybe_billed: sent.load(Ordering::Relaxed),
                    ..task.deadline_failure()
                });
            }
            Ok(Ok(ended)) => ended,
            Ok(Err(_panic)) => Err(panicked(&task)),
        };
        match ended {
            Ok(outcome) => Event::Succeeded(Box::new(outcome)),
            Err(failed) => {
                let now = self.store.now();
                retry::after_failure(&task, failed, now, chance::unit())
            }
        }
    }

    async fn attempt(
        &self,
        task: Arc<Task>,
        progress: Progress,
        waiting: Waiting,
        sent: &AtomicBool,
    ) -> Result<Outcome, Failed> {
        let spec = &task.spec;
        let (path, body) = match &spec.work {
            Work::Function { name, arguments } => {
                drop(waiting);
                return self
                    .call_function(task.clone(), name, arguments, progress)
                    .await;
            }
            Work::Prompt { text } => ("/chat/completions", Call::prompt_body(&spec.model, text)),
            Work::Request { path, body } => (path.as_str(), body.clone().into()),
        };
        // The key changes only after a definite failure: sending again after an ambiguous one carries the same key,
        // so that an upstream that honours it does not bill twice.
        let generation = task.charges.failures + task.charges.overloads;
        let call = Call {
            path: path.to_owned(),
            body,
            timeout: spec.timeout(),
            idempotency_key: format!("{}-{generation}", task.id),
            request_id: format!("{}-{}", task.id, task.attempt()),
            model: spec.model.clone(),
            listener: spec.stream.then(|| self.relay.ear(&task)),
        };
        let mark = async {
            self.marker.mark(&task).await;
            drop(waiting);
            sent.store(true, Ordering::Relaxed);
        };
        self.upstream.complete(&call, mark).await
    }

    async fn call_function(
        &self,
        task: Arc<Task>,
        name: &str,
        arguments: &str,
        progress: Progress,
    ) -> Result<Outcome, Failed> {
        let Some(function) = self.functions.find(name) else {
            return Err(never(
                ErrorCode::FunctionNotFound,
                "no function of that name is registered in the worker that ran the task",
            ));
        };
        let timeout = task.spec.timeout();
        let context = Context {
            task,
            worker: self.worker,
            progress,
        };
        match tokio::time::timeout(timeout, function.call(context, arguments)).await {
            Ok(Ok(text)) => Ok(Outcome {
                text,
                ..Outcome::default()
            }),
            Ok(Err(error)) => Err(function_failed(error)),
            Err(_) => Err(Failed {
                failure: Failure::new(
                    ErrorCode::FunctionTimeout,
                    "the function ran longer than the task's timeout",
                ),
                recourse: again(),
            }),
        }
    }
}

fn function_failed(error: FunctionError) -> Failed {
    let recourse = match error {
        FunctionError::Permanent(_) => Recourse::Never,
        FunctionError::Transient(_) => again(),
    };
    Failed {
        failure: Failure::new(ErrorCode::FunctionFailed, error.to_string()),
        recourse,
    }
}

fn again() -> Recourse {
    Recourse::Retry {
        budget: Budget::Attempts,
        wait: FUNCTION_BACKOFF,
    }
}

fn never(code: ErrorCode, message: &str) -> Failed {
    Failed {
        failure: Failure::new(code, message),
        recourse: Recourse::Never,
    }
}

/// The panic's own message is left out: it may hold a piece of the task's input.
fn panicked(task: &Task) -> Failed {
    match task.spec.work {
        Work::Function { .. } => never(ErrorCode::FunctionFailed, "the function panicked"),
        _ => never(ErrorCode::UpstreamBadResponse, "handling the call panicked"),
    }
}
