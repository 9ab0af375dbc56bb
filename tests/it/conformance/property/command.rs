//! What may happen, and how it is made concrete in what there is by then.

use std::{sync::Arc, time::Duration};

use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any as any_of},
    prop_oneof,
    sample::{Index, select},
};
use tidings::{
    clock::Timestamp,
    model::{BatchId, CacheKey, Fence, IdRange, Priority, Spec, TaskId},
    store::{Amendment, Append, Bid, Idempotency, Lead, Over, Submission},
};

use super::side::{Call, Reply};

/// A time that never ends within a sequence, except by a leap.
const LONG: Duration = Duration::from_secs(3_600);

/// Something that happens.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Submit(Draft),
    Append {
        batch: Index,
        is_retry: bool,
        draft: Draft,
    },
    Acquire {
        max: usize,
        lease: Span,
    },
    Commit(Vec<Step>),
    Renew {
        /// Tasks, whether as they were when last acquired, how far, and what of their calls.
        tasks: Vec<(Index, bool, u8, Mark)>,
        lease: Span,
    },
    /// Tasks, whether as they were when last acquired, after how many bytes, and what.
    Extend(Vec<(Index, bool, u8, &'static str)>),
    Reap,
    Amend {
        batch: Index,
        amendment: Amendment,
    },
    Bid {
        key: u8,
        task: Index,
        revision: u64,
        place: Place,
        length: Span,
    },
    Forget(u8),
    Advance(u8),
    Leap,
    Sweep,
    Repeat,
}

/// What a renewal says of a task's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Nothing,
    Sent,
    Aside,
}

/// Whose place a bid may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Nobodys,
    /// That of the lead told last, of whatever key.
    TheLast,
    Anybodys,
}

/// A submit without its ids.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    tasks: Vec<TaskDraft>,
    keep_open: bool,
    /// Which key, and which content.
    key: Option<(u8, u8)>,
    budget: Option<u64>,
}

#[derive(Clone, Debug)]
struct TaskDraft {
    words: usize,
    priority: Priority,
    not_before: Option<Span>,
    deadline: Option<Span>,
    retention: Option<Span>,
    cost: u32,
}

/// One commit: of a task as it is now, or as it was when it was last acquired.
#[derive(Clone, Debug)]
pub(super) struct Step {
    task: Index,
    is_stale: bool,
    kind: Kind,
}

/// Which event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Succeed,
    Fail,
    Retry(Span),
    Release,
    ExpireLease,
    Poison,
    Park,
    Cancel,
    PassDeadline,
}

/// A length of time: 0 is none, 5 is long, what is between is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(u8);

/// How long spans are: on a clock that can be moved, never a multiple of its steps, so that nothing happens at the
/// very instant; else so short that they are always over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) is_timed: bool,
}

impl Pace {
    fn of(self, span: Span) -> Duration {
        match span.0 {
            0 => Duration::ZERO,
            5 => LONG,
            parts if self.is_timed => Duration::from_millis(u64::from(parts) * 10 + 5),
            _ => Duration::from_millis(1),
        }
    }
}

fn span() -> impl Strategy<Value = Span> {
    (1_u8..=5).prop_map(Span)
}

fn lease() -> impl Strategy<Value = Span> {
    prop_oneof![span(), Just(Span(5))]
}

fn task() -> impl Strategy<Value = TaskDraft> {
    let parts = (
        1_usize..30,
        select(&Priority::URGENT_FIRST[..]),
        option::weighted(0.2, span()),
        option::weighted(0.2, span()),
        option::weighted(0.4, span()),
        cost(),
    );
    parts.prop_map(
        |(words, priority, not_before, deadline, retention, cost)| TaskDraft {
            words,
            priority,
            not_before,
            deadline,
            retention,
            cost,
        },
    )
}

fn draft() -> impl Strategy<Value = Draft> {
    let key = option::weighted(0.3, (0_u8..3, 0_u8..2));
    // Sometimes more than a batch starts in one turn.
    let tasks = prop_oneof![3 => vec(task(), 1..12), 1 => vec(task(), 12..40)];
    let budget = option::weighted(0.4, budget());
    (tasks, any_of::<bool>(), key, budget).prop_map(|(tasks, keep_open, key, budget)| Draft {
        tasks,
        keep_open,
        key,
        budget,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        4 => Just(Kind::Succeed),
        1 => Just(Kind::Fail),
        3 => (0_u8..=5).prop_map(|parts| Kind::Retry(Span(parts))),
        3 => Just(Kind::Release),
        1 => Just(Kind::ExpireLease),
        1 => Just(Kind::Poison),
        1 => Just(Kind::Park),
        2 => Just(Kind::Cancel),
        1 => Just(Kind::PassDeadline),
    ];
    (any_of::<Index>(), proptest::bool::weighted(0.15), kind).prop_map(|(task, is_stale, kind)| {
        Step {
            task,
            is_stale,
            kind,
        }
    })
}

fn bid() -> impl Strategy<Value = Command> {
    let place = prop_oneof![
        3 => Just(Place::Nobodys),
        3 => Just(Place::TheLast),
        1 => Just(Place::Anybodys),
    ];
    let bid = (0_u8..3, any_of::<Index>(), 1_u64..4, place, span());
    bid.prop_map(|(key, task, revision, place, length)| Command::Bid {
        key,
        task,
        revision,
        place,
        length,
    })
}

fn cache_key(number: u8) -> CacheKey {
    CacheKey::from_bytes([number; 32])
}

/// Budgets are of the size of a few tasks, see [`cost`].
fn budget() -> impl Strategy<Value = u64> {
    (0_u64..12).prop_map(|tasks| tasks * 2_000)
}

/// What a task may cost, in millionths.
fn cost() -> impl Strategy<Value = u32> {
    select(&[0, 1, 2, 5][..])
}

fn mark() -> impl Strategy<Value = Mark> {
    select(&[Mark::Nothing, Mark::Sent, Mark::Aside][..])
}

fn amendment() -> impl Strategy<Value = Amendment> {
    prop_oneof![
        2 => Just(Amendment::Resume { budget: None }),
        2 => budget().prop_map(|budget| Amendment::Resume { budget: Some(budget) }),
        1 => Just(Amendment::Close),
    ]
}

/// Anything.
pub(super) fn any() -> impl Strategy<Value = Command> {
    let index = any_of::<Index>;
    prop_oneof![
        4 => draft().prop_map(Command::Submit),
        2 => (index(), any_of::<bool>(), draft())
            .prop_map(|(batch, is_retry, draft)| Command::Append { batch, is_retry, draft }),
        8 => (0_usize..40, lease()).prop_map(|(max, lease)| Command::Acquire { max, lease }),
        8 => vec(step(), 1..6).prop_map(Command::Commit),
        3 => (vec((index(), proptest::bool::weighted(0.2), 0_u8..=100, mark()), 1..4), lease())
            .prop_map(|(tasks, lease)| Command::Renew { tasks, lease }),
        4 => vec((index(), proptest::bool::weighted(0.2), 0_u8..8, select(&["", "a", "bc", "def"][..])), 1..8)
            .prop_map(Command::Extend),
        4 => Just(Command::Reap),
        3 => (index(), amendment()).prop_map(|(batch, amendment)| Command::Amend { batch, amendment }),
        4 => bid(),
        1 => (0_u8..3).prop_map(Command::Forget),
        5 => (1_u8..8).prop_map(Command::Advance),
        1 => Just(Command::Leap),
        2 => Just(Command::Sweep),
        3 => Just(Command::Repeat),
    ]
}

/// What there is so far, the same for both stores.
#[derive(Debug)]
pub(super) struct World {
    pub(super) tasks: Vec<TaskId>,
    pub(super) batches: Vec<BatchId>,
    /// The lead told last.
    led: Option<Lead>,
    partition: u16,
    pace: Pace,
    drawn: u64,
}

impl World {
    /// Nothing but a task and a batch that never were.
    pub(super) fn new(partition: u16, pace: Pace) -> Self {
        World {
            tasks: vec![IdRange::new(Timestamp(1), partition, 1, 1).first],
            batches: vec![BatchId::new(Timestamp(1), partition, 1)],
            led: None,
            partition,
            pace,
            drawn: 0,
        }
    }

    /// The call that a command stands for here and now; none when it is no call.
    pub(super) fn resolve(&mut self, command: &Command, now: Timestamp) -> Option<Call> {
        Some(match command {
            Command::Submit(draft) => {
                let batch = BatchId::new(now, self.partition, self.draw());
                Call::Submit(self.submission(batch, Append::New, draft, now))
            }
            Command::Append {
                batch,
                is_retry,
                draft,
            } => {
                let append = if *is_retry {
                    Append::Retry
                } else {
                    Append::Open
                };
                Call::Submit(self.submission(*batch.get(&self.batches), append, draft, now))
            }
            Command::Acquire { max, lease } => Call::Acquire {
                max: *max,
                lease: self.pace.of(*lease),
            },
            Command::Commit(steps) => Call::Commit(
                steps
                    .iter()
                    .map(|step| (*step.task.get(&self.tasks), step.is_stale, step.kind))
                    .collect(),
                self.pace,
            ),
            Command::Renew { tasks, lease } => Call::Renew(
                tasks
                    .iter()
                    .map(|(task, is_stale, progress, mark)| {
                        (*task.get(&self.tasks), *is_stale, *progress, *mark)
                    })
                    .collect(),
                self.pace.of(*lease),
            ),
            Command::Extend(pieces) => Call::Extend(
                pieces
                    .iter()
                    .map(|(task, is_stale, offset, text)| {
                        let task = *task.get(&self.tasks);
                        (task, *is_stale, u64::from(*offset), *text)
                    })
                    .collect(),
            ),
            Command::Reap => Call::Reap,
            Command::Amend { batch, amendment } => {
                Call::Amend(*batch.get(&self.batches), *amendment)
            }
            Command::Bid {
                key,
                task,
                revision,
                place,
                length,
            } => Call::Bid(Bid {
                key: cache_key(*key),
                lead: Lead {
                    task: *task.get(&self.tasks),
                    fence: Fence {
                        epoch: 1,
                        revision: *revision,
                    },
                },
                over: match (place, self.led) {
                    (Place::Anybodys, _) => Over::Anybody,
                    (Place::TheLast, Some(lead)) => Over::This(lead),
                    _ => Over::Nobody,
                },
                until: now + self.pace.of(*length),
            }),
            Command::Forget(key) => Call::Forget(vec![cache_key(*key)]),
            Command::Sweep => Call::Sweep,
            Command::Repeat => Call::Repeat,
            Command::Advance(_) | Command::Leap => return None,
        })
    }

    /// Remembers what a reply tells of new tasks and batches.
    pub(super) fn learn(&mut self, reply: &Reply) {
        if let Reply::Led(lead) = reply {
            self.led = Some(*lead);
        }
        let Reply::Accepted(Ok(accepted)) = reply else {
            return;
        };
        if !self.batches.contains(&accepted.batch_id) {
            self.batches.push(accepted.batch_id);
        }
        if !self.tasks.contains(&accepted.ids.first) {
            self.tasks.extend(accepted.ids.iter());
        }
    }

    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn << 20
    }

    fn submission(
        &mut self,
        batch_id: BatchId,
        append: Append,
        draft: &Draft,
        now: Timestamp,
    ) -> Submission {
        let specs: Vec<Arc<Spec>> = draft
            .tasks
            .iter()
            .map(|task| Arc::new(self.spec(task, now)))
            .collect();
        Submission {
            batch_id,
            append,
            keep_open: draft.keep_open,
            ids: IdRange::new(now, self.partition, self.draw(), specs.len() as u32),
            specs,
            budget: draft.budget,
            idempotency: draft.key.map(|(key, content)| Idempotency {
                key: format!("key {key}"),
                // The same content is at least as many tasks.
                hash: [content * 64 + draft.tasks.len() as u8; 32],
            }),
        }
    }

    fn spec(&self, draft: &TaskDraft, now: Timestamp) -> Spec {
        let retention = self.pace.of(draft.retention.unwrap_or(Span(5))).as_millis() as u64;
        Spec {
            priority: draft.priority,
            timeout_ms: 1_000,
            not_before: draft.not_before.map(|span| due(self.pace, span, now)),
            status_retention_ms: retention,
            result_retention_ms: retention,
            // Stores may tidy up after the others later.
            stream: draft.words.is_multiple_of(2),
            max_cost_micros: draft.cost,
            ..crate::support::spec::spec(
                "say ".repeat(draft.words),
                now,
                now + self.pace.of(draft.deadline.unwrap_or(Span(5))),
            )
        }
    }
}

/// The earliest start that is `span` away. On a clock that cannot be moved it has come already or never comes: on
/// which side of a moment a call is served there differs from store to store.
pub(super) fn due(pace: Pace, span: Span, now: Timestamp) -> Timestamp {
    if pace.is_timed || span == Span(5) {
        return now + pace.of(span);
    }
    now - Duration::from_millis(5)
}
