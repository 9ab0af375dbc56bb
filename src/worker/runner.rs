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
use tokio_util::sync::CancellationToken;

use super::{
    appetite::Waiting,
    cache::{Asked, Cache},
    checked,
    function::{Context, Error as FunctionError, Registry},
    held::Progress,
    ledger::Ledger,
    marker::Marker,
    relay::{Memory, Relay},
    slot::Slot,
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

/// When a task comes back whose answer too many others wait for as well: longer each time, as all waits charged to time.
const COME_BACK: Wait = Wait::Told(Duration::from_secs(5));

/// Runs tasks, one call each.
pub(super) struct Runner {
    pub(super) store: Arc<dyn Store>,
    pub(super) upstream: upstream::Router,
    pub(super) functions: Arc<Registry>,
    pub(super) marker: Marker,
    pub(super) relay: Relay,
    pub(super) cache: Arc<Cache>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) worker: WorkerId,
}

/// What is known of an attempt however it ends.
#[derive(Default)]
struct Trace {
    /// Its call may have reached the upstream.
    sent: AtomicBool,
    memory: Memory,
}

impl Runner {
    /// How many tasks may wait for their turns; none where any number may be begun.
    pub(super) fn room(&self) -> Option<usize> {
        self.upstream.room()
    }

    /// Whether the task calls a function that answers at once.
    pub(super) fn is_brief(&self, task: &Task) -> bool {
        let Work::Function { name, .. } = &task.spec.work else {
            return false;
        };
        self.functions.find(name).is_some_and(|it| it.is_brief())
    }

    /// One attempt at a task: what happened, and what it had put out. A panic in it becomes the task's own failure.
    pub(super) async fn run(
        &self,
        task: Arc<Task>,
        progress: Progress,
        slot: &mut Slot,
    ) -> (Event, String) {
        let trace = Trace::default();
        let event = self.run_traced(task, progress, &trace, slot).await;
        (event, trace.memory.take())
    }

    async fn run_traced(
        &self,
        task: Arc<Task>,
        progress: Progress,
        trace: &Trace,
        slot: &mut Slot,
    ) -> Event {
        let left = task.spec.deadline.since(self.store.now());
        if left.is_zero() {
            return Event::DeadlinePassed(task.deadline_failure());
        }
        let attempt = async {
            match &task.spec.work {
                Work::Function { name, arguments } => {
                    slot.waiting().into_iter().for_each(Waiting::needs_none);
                    slot.run().await;
                    let answer = self.call_function(task.clone(), name, arguments, progress);
                    answer.await.map(Some)
                }
                // In a box: it is large, and a function would be moved about with the room for it.
                _ => Box::pin(self.ask_or_attempt(&task, trace, slot)).await,
            }
        };
        let attempt = AssertUnwindSafe(attempt).catch_unwind();
        let ended = match tokio::time::timeout(left, attempt).await {
            Err(_) => {
                return Event::DeadlinePassed(Failure {
                    maybe_billed: trace.sent.load(Ordering::Relaxed),
                    ..task.deadline_failure()
                });
            }
            Ok(Ok(ended)) => ended,
            Ok(Err(_panic)) => Err(panicked(&task, trace.sent.load(Ordering::Relaxed))),
        };
        match ended {
            Ok(Some(outcome)) => Event::Succeeded(Box::new(outcome)),
            Ok(None) => Event::Released,
            Err(failed) => {
                let now = self.store.now();
                retry::after_failure(&task, failed, now, chance::unit())
            }
        }
    }

    /// What an equal task has found, or else a call of its own; none when the task is to go back to the queue.
    async fn ask_or_attempt(
        &self,
        task: &Task,
        trace: &Trace,
        slot: &mut Slot,
    ) -> Result<Option<Outcome>, Failed> {
        let call = match self.cache.ask(task, slot).await {
            Asked::Answer(outcome) => return Ok(Some(outcome)),
            Asked::GiveBack => return Ok(None),
            Asked::Later => return Err(later()),
            Asked::Call(call) => call,
        };
        let back = CancellationToken::new();
        let attempt = self.attempt(task, slot, trace, &back);
        let ended = tokio::select! {
            biased;
            () = back.cancelled() => return Ok(None),
            ended = attempt => ended,
        };
        let priced = ended.map(|outcome| self.ledger.charge(task, outcome));
        let checked = priced.and_then(|outcome| {
            checked::check(&task.spec, &outcome).inspect_err(|_| {
                // It was paid for, and its text shows what went wrong.
                trace.memory.replace(&outcome.text);
            })?;
            Ok(outcome)
        });
        call.end(checked).map(Some)
    }

    /// A call of the task's own. `back` is cancelled when it cannot be made for now.
    async fn attempt(
        &self,
        task: &Task,
        slot: &mut Slot,
        trace: &Trace,
        back: &CancellationToken,
    ) -> Result<Outcome, Failed> {
        let spec = &task.spec;
        let Some((kind, body)) = upstream::request(spec) else {
            return Err(never(
                ErrorCode::InvalidRequest,
                "the worker that ran the task serves no requests to its path",
            ));
        };
        slot.needs_turn();
        // The key changes only after a definite failure: sending again after an ambiguous one carries the same key,
        // so that an upstream that honours it does not bill twice.
        let generation = task.generation();
        let call = Call {
            kind,
            body,
            timeout: spec.timeout(),
            idempotency_key: format!("{}-{generation}", task.id),
            request_id: format!("{}-{}", task.id, task.attempt()),
            model: spec.model.clone(),
            listener: spec.stream.then(|| self.relay.ear(task, &trace.memory)),
        };
        let mark = async {
            if !self.begin(task, slot).await {
                back.cancel();
                return std::future::pending().await;
            }
            trace.sent.store(true, Ordering::Relaxed);
        };
        self.upstream.complete(&call, mark).await
    }

    /// The task has had its turn at the upstream: marks it as sent and waits until it may run. False when there is no
    /// place for it soon, or when it had stepped aside and is more than its batch can pay for by now.
    async fn begin(&self, task: &Task, slot: &mut Slot) -> bool {
        // Its batch pays for it once it is marked, sent or not.
        if task.spec.max_cost() > 0 && !slot.run_soon().await {
            return false;
        }
        let was_aside = slot.was_aside();
        let is_marked = slot.ready(self.marker.mark(task, was_aside)).await;
        drop(slot.waiting());
        is_marked && slot.run_soon().await
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

fn later() -> Failed {
    Failed {
        failure: Failure::new(
            ErrorCode::EqualCallUnderWay,
            "not sent: many tasks wait for the answer to an equal request already; this one goes on by itself",
        ),
        recourse: Recourse::Retry {
            budget: Budget::Time,
            wait: COME_BACK,
        },
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
fn panicked(task: &Task, was_sent: bool) -> Failed {
    let mut failed = match task.spec.work {
        Work::Function { .. } => never(ErrorCode::FunctionFailed, "the function panicked"),
        _ => never(ErrorCode::UpstreamBadResponse, "handling the call panicked"),
    };
    failed.failure.maybe_billed = was_sent;
    failed
}
