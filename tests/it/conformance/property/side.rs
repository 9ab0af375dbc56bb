//! One of the two stores, with what its callers remember.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tidings::{
    clock::Timestamp,
    model::{
        Batch, BatchId, CacheKey, ErrorCode, Event, Failure, Outcome, ParkReason, Parked, Task,
        TaskId, Usage, WorkerId,
    },
    store::{
        Accepted, Amendment, Bid, Commit, Durability, Error, Extension, Guard, Lead, Lookup,
        Renewal, Store, Submission, Verdict,
    },
};

use super::command::{Kind, Mark, Pace, due};

/// A call that means the same on both stores.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Submit(Submission),
    Acquire {
        max: usize,
        lease: Duration,
    },
    /// Task, whether as last acquired, and the event.
    Commit(Vec<(TaskId, bool, Kind)>, Pace),
    /// Task, whether as last acquired, its progress, and what of its call.
    Renew(Vec<(TaskId, bool, u8, Mark)>, Duration),
    /// Task, whether as last acquired, where, and what.
    Extend(Vec<(TaskId, bool, u64, &'static str)>),
    Reap,
    Amend(BatchId, Amendment),
    Bid(Bid),
    Forget(Vec<CacheKey>),
    Sweep,
    Repeat,
}

/// A call as it goes to one store, with that store's own times.
#[derive(Clone, Debug)]
enum Request {
    Submit(Submission),
    Acquire { max: usize, lease: Duration },
    Commit(Vec<Commit>),
    Renew(Vec<Renewal>, Duration),
    Extend(Vec<Extension>),
    Amend(BatchId, Amendment),
    Bid(Bid),
    Forget(Vec<CacheKey>),
    Sweep,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    Accepted(Result<Accepted, String>),
    Acquired(Vec<Task>),
    Verdicts(Vec<Verdict>),
    Held(Vec<bool>),
    Amended(Option<Batch>),
    Led(Lead),
    Forgotten(usize),
    Nothing,
}

/// One store.
pub(super) struct Side {
    pub(super) store: Arc<dyn Store>,
    /// Tasks as they were when they were last acquired.
    acquired: BTreeMap<TaskId, Task>,
    last: Option<Request>,
}

impl Side {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Side {
            store,
            acquired: BTreeMap::new(),
            last: None,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.store.now()
    }

    /// Makes a call.
    pub(super) async fn call(&mut self, call: &Call) -> Reply {
        let request = match self.prepare(call).await {
            Some(request) => request,
            None => return Reply::Nothing,
        };
        self.last = Some(request.clone());
        self.send(request).await
    }

    /// Removes all there is to remove; what came before cannot be repeated any more.
    pub(super) async fn sweep(&mut self) {
        self.last = None;
        while self.store.sweep().await.unwrap() > 0 {}
    }

    /// Lets tasks that have come due join their queues.
    pub(super) async fn look(&self) {
        let lease = Duration::from_secs(1);
        self.store.acquire(WorkerId(7), 0, lease).await.unwrap();
    }

    async fn prepare(&self, call: &Call) -> Option<Request> {
        Some(match call.clone() {
            Call::Submit(submission) => Request::Submit(submission),
            Call::Acquire { max, lease } => Request::Acquire { max, lease },
            Call::Commit(steps, pace) => self.prepare_commit(&steps, pace).await,
            Call::Renew(tasks, lease) => {
                let mut renewals = Vec::new();
                for (id, is_stale, progress, mark) in tasks {
                    if let Some(task) = self.task(id, is_stale).await {
                        renewals.push(Renewal {
                            id,
                            fence: task.fence(),
                            progress,
                            sent: mark == Mark::Sent,
                            aside: mark == Mark::Aside,
                        });
                    }
                }
                Request::Renew(renewals, lease)
            }
            Call::Extend(pieces) => {
                let mut extensions = Vec::new();
                for (id, is_stale, offset, text) in pieces {
                    if let Some(task) = self.task(id, is_stale).await {
                        extensions.push(Extension {
                            id,
                            fence: task.fence(),
                            offset,
                            text: text.to_owned(),
                        });
                    }
                }
                Request::Extend(extensions)
            }
            Call::Reap => self.prepare_reaping().await,
            Call::Amend(batch, amendment) => Request::Amend(batch, amendment),
            Call::Bid(bid) => Request::Bid(bid),
            Call::Forget(keys) => Request::Forget(keys),
            Call::Sweep => Request::Sweep,
            Call::Repeat => self.repeat().await?,
        })
    }

    /// The last request again, without commits of tasks that are past their retention by now: one store may remember
    /// for longer than another that it wrote them.
    async fn repeat(&self) -> Option<Request> {
        let Some(Request::Commit(commits)) = &self.last else {
            return self.last.clone();
        };
        let mut kept = Vec::new();
        for commit in commits {
            if self.task(commit.task.id, false).await.is_some() {
                kept.push(commit.clone());
            }
        }
        Some(Request::Commit(kept))
    }

    async fn prepare_commit(&self, steps: &[(TaskId, bool, Kind)], pace: Pace) -> Request {
        // One instant for all: two equal events of one task are then equal commits on every store.
        let now = self.now();
        let mut commits = Vec::new();
        for (id, is_stale, kind) in steps {
            if let Some(task) = self.task(*id, *is_stale).await {
                let event = event(*kind, &task, pace, now);
                commits.extend(commit(&task, event, Guard::None, now));
            }
        }
        Request::Commit(commits)
    }

    /// All that is overdue, in an order that both stores share, without its progress: that is kept for readers.
    pub(super) async fn overdue(&self) -> Vec<Task> {
        let mut overdue = self.store.overdue(10_000).await.unwrap();
        overdue.sort_by_key(|task| task.id);
        overdue.iter_mut().for_each(|task| task.progress = 0);
        overdue
    }

    /// What the reaper does.
    async fn prepare_reaping(&self) -> Request {
        let overdue = self.overdue().await;
        let now = self.now();
        let reap = |task: &Task| {
            if task.spec.deadline <= now {
                let event = Event::DeadlinePassed(task.deadline_failure());
                return commit(task, event, Guard::None, now);
            }
            let event = Event::LeaseExpired(failure("lost"));
            commit(task, event, Guard::LeaseExpired, now)
        };
        Request::Commit(overdue.iter().filter_map(reap).collect())
    }

    async fn task(&self, id: TaskId, is_stale: bool) -> Option<Task> {
        if is_stale {
            return self.acquired.get(&id).cloned();
        }
        match self.store.tasks(&[id]).await.unwrap().remove(0) {
            Lookup::Found(task) => Some(*task),
            _ => None,
        }
    }

    async fn send(&mut self, request: Request) -> Reply {
        match request {
            Request::Submit(submission) => {
                let answer = self.store.submit(submission).await.map(|accepted| {
                    assert_eq!(accepted.durability, self.store.info().durability);
                    // The one thing in which stores may differ.
                    Accepted {
                        durability: Durability::Memory,
                        ..accepted
                    }
                });
                Reply::Accepted(answer.map_err(|error| refusal(&error)))
            }
            Request::Acquire { max, lease } => self.acquire(max, lease).await,
            Request::Commit(commits) => Reply::Verdicts(self.store.commit(commits).await.unwrap()),
            Request::Renew(renewals, lease) => {
                Reply::Held(self.store.renew(&renewals, lease).await.unwrap())
            }
            Request::Extend(extensions) => {
                Reply::Held(self.store.extend(&extensions).await.unwrap())
            }
            Request::Amend(batch, amendment) => {
                Reply::Amended(self.store.amend(batch, amendment).await.unwrap())
            }
            Request::Bid(bid) => Reply::Led(self.store.bid(bid).await.unwrap()),
            Request::Forget(keys) => Reply::Forgotten(self.store.forget(&keys).await.unwrap()),
            Request::Sweep => {
                self.store.sweep().await.unwrap();
                Reply::Nothing
            }
        }
    }

    /// Acquires for as long as there may be more: how much comes at once is each store's own.
    async fn acquire(&mut self, max: usize, lease: Duration) -> Reply {
        let mut tasks: Vec<Task> = Vec::new();
        loop {
            let wanted = max - tasks.len();
            let acquired = self
                .store
                .acquire(WorkerId(7), wanted, lease)
                .await
                .unwrap();
            tasks.extend(acquired.tasks);
            if tasks.len() >= max || !acquired.more {
                break;
            }
        }
        // From then on every read sees it.
        self.store.renew(&[], lease).await.unwrap();
        self.acquired
            .extend(tasks.iter().map(|task| (task.id, task.clone())));
        Reply::Acquired(tasks)
    }
}

/// Of a full store only which limit it names: of how much, is each store's own.
fn refusal(error: &Error) -> String {
    match error {
        Error::Full(cause) => cause
            .split(|c: char| !c.is_alphabetic() && c != '.' && c != '_')
            .find(|word| word.starts_with("limits."))
            .unwrap_or(cause)
            .to_owned(),
        other => other.to_string(),
    }
}

fn failure(message: &str) -> Failure {
    Failure::new(ErrorCode::UpstreamError, message)
}

fn event(kind: Kind, task: &Task, pace: Pace, now: Timestamp) -> Event {
    match kind {
        Kind::Succeed => Event::Succeeded(Box::new(Outcome {
            text: "said".into(),
            usage: Usage {
                output_tokens: 5,
                // As much as some may cost, and more than others.
                cost_nanos: 1_500,
                ..Usage::default()
            },
            ..Outcome::default()
        })),
        Kind::Fail => Event::Failed(failure("no")),
        Kind::Retry(span) => {
            let mut charges = task.charges;
            charges.failures += 1;
            Event::Retried {
                failure: failure("again"),
                due: due(pace, span, now),
                charges,
            }
        }
        Kind::Release => Event::Released,
        Kind::ExpireLease => Event::LeaseExpired(failure("lost")),
        Kind::Poison => Event::Poisoned(failure("poison")),
        Kind::Park => Event::Parked {
            failure: failure("no money"),
            parked: Parked {
                reason: ParkReason::QuotaExhausted,
                message: "top up".into(),
                time: now,
            },
        },
        Kind::Cancel => Event::CancelRequested,
        Kind::PassDeadline => Event::DeadlinePassed(task.deadline_failure()),
    }
}

/// The commit of an event; none where the table does not allow it.
fn commit(task: &Task, event: Event, guard: Guard, now: Timestamp) -> Option<Commit> {
    let park = match &event {
        Event::Parked { parked, .. } => Some(parked.clone()),
        _ => None,
    };
    let mut after = task.clone();
    after.apply(event, now).ok()?;
    Some(Commit {
        task: after,
        fence: task.fence(),
        from: task.status(),
        guard,
        park,
    })
}
