//! A task: its spec, where it stands, and how it came there.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    failure::{ErrorCode, Failure},
    id::{BatchId, TaskId},
    outcome::Outcome,
    spec::Spec,
    status::Status,
    transition::{Cause, Event, Illegal, Transition, next},
};
use crate::clock::Timestamp;

/// Bytes that are kept of what an attempt had put out that came to no answer.
pub const PARTIAL_MAX: usize = 64 << 10;

/// A task as it stands.
///
/// The history is the truth: status, revision and attempt are those of its last transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// The batch it belongs to.
    pub batch_id: BatchId,
    /// What to do.
    pub spec: Arc<Spec>,
    /// The store's epoch when the task was read; changes only when the store lost writes.
    pub epoch: u32,
    /// Every transition so far, the first at revision 1. Never empty.
    pub history: Vec<Transition>,
    /// While queued: the earliest start.
    pub due: Timestamp,
    /// What the attempts so far were charged to.
    pub charges: Charges,
    /// Failures so far, oldest first; the last one is final when the status is error.
    pub failures: Vec<Failure>,
    /// The answer; set when the status is completed.
    pub outcome: Option<Arc<Outcome>>,
    /// What the last attempt had put out when the task ended without a good answer, or the beginning of it.
    pub partial: Option<Arc<str>>,
    /// 0 to 100.
    pub progress: u8,
    /// The call of the present attempt may have reached the upstream. Set by the worker before it sends.
    pub sent: bool,
    /// It waits for the answer of another task, and nothing of its batch's budget is reserved for its own call.
    pub aside: bool,
}

/// About what a task with its spec takes in memory besides texts, failures and history.
const RECORD: usize = 768;

impl Task {
    /// A task just submitted: queued, at revision 1.
    pub fn new(id: TaskId, batch_id: BatchId, spec: Arc<Spec>, epoch: u32) -> Self {
        let submitted = Transition {
            at: spec.create_time,
            status: Status::Queued,
            cause: Cause::Submitted,
            attempt: 0,
            worker: None,
        };
        Task {
            id,
            batch_id,
            epoch,
            history: vec![submitted],
            due: spec.not_before.unwrap_or(spec.create_time),
            charges: Charges::default(),
            failures: Vec::new(),
            outcome: None,
            partial: None,
            progress: 0,
            sent: false,
            aside: false,
            spec,
        }
    }

    /// The last transition.
    #[expect(clippy::expect_used, reason = "`new` and every decoder put one in")]
    pub fn last(&self) -> &Transition {
        self.history.last().expect("a task has a first transition")
    }

    /// Where the task stands.
    pub fn status(&self) -> Status {
        self.last().status
    }

    /// How many transitions there were.
    pub fn revision(&self) -> u64 {
        self.history.len() as u64
    }

    /// How often a worker acquired the task.
    pub fn attempt(&self) -> u32 {
        self.last().attempt
    }

    /// What a commit compares: whoever holds the present fence may move the task.
    pub fn fence(&self) -> Fence {
        Fence {
            epoch: self.epoch,
            revision: self.revision(),
        }
    }

    /// Moves the task by one transition. Nothing else does.
    ///
    /// # Errors
    /// The table does not allow the event in the present status; the task is unchanged.
    pub fn apply(&mut self, event: Event, now: Timestamp) -> Result<(), Illegal> {
        let (from, cause) = (self.status(), event.cause());
        let status = next(from, cause).ok_or(Illegal { from, cause })?;
        let last = *self.last();
        let mut transition = Transition {
            at: now.max(last.at),
            status,
            cause,
            attempt: last.attempt,
            worker: None,
        };
        if status == Status::Queued {
            self.due = transition.at;
            self.progress = 0;
        }
        self.sent = false;
        self.aside = false;
        match event {
            Event::Acquired { worker } => {
                transition.attempt += 1;
                transition.worker = Some(worker);
            }
            Event::Succeeded(outcome) => {
                self.outcome = Some(Arc::from(outcome));
                self.progress = 100;
            }
            Event::Retried {
                failure,
                due,
                charges,
            } => {
                self.due = due;
                self.charges = charges;
                self.failed(failure);
            }
            Event::LeaseExpired(failure) | Event::Poisoned(failure) => {
                self.charges.crashes += 1;
                self.failed(failure);
            }
            Event::Failed(failure)
            | Event::Parked { failure, .. }
            | Event::DeadlinePassed(failure) => self.failed(failure),
            Event::Released | Event::CancelRequested => {}
        }
        self.history.push(transition);
        Ok(())
    }

    fn failed(&mut self, mut failure: Failure) {
        if self.status() == Status::Processing {
            failure.attempt = self.attempt();
        }
        // A task may wait hundreds of times for the same reason; telling it once is enough.
        let same = |last: &mut Failure| failure.code.passes() && last.code == failure.code;
        self.failures.pop_if(same);
        self.failures.push(failure);
    }

    /// Takes note of what the attempt had put out with which the task has just ended. Beside an answer, and on a task that
    /// goes on, nothing is kept of it.
    pub fn keep_partial(&mut self, text: &str) {
        let status = self.status();
        if status.is_terminal() && status != Status::Completed && !text.is_empty() {
            self.partial = Some(beginning(text, PARTIAL_MAX).into());
        }
    }

    /// The final failure of a task in error.
    pub fn error(&self) -> Option<&Failure> {
        self.failures
            .last()
            .filter(|_| self.status() == Status::Error)
    }

    /// How often the upstream has certainly answered: the sends in between are one as far as it may bill them.
    pub fn generation(&self) -> usize {
        let definite = self.failures.iter().filter(|it| it.is_definite());
        definite.count()
    }

    /// When the task became terminal.
    pub fn end_time(&self) -> Option<Timestamp> {
        let last = self.last();
        last.status.is_terminal().then_some(last.at)
    }

    /// When the finished task is to be removed.
    pub fn expire_time(&self) -> Option<Timestamp> {
        self.end_time()
            .map(|end| end + Duration::from_millis(self.spec.result_retention_ms))
    }

    /// Whether the history is past its retention, so that only the last state may be told.
    pub fn is_compacted(&self, now: Timestamp) -> bool {
        let keep = Duration::from_millis(self.spec.status_retention_ms);
        self.end_time().is_some_and(|end| now >= end + keep)
    }

    /// Whether the latest failure was a rate limit that is being waited out.
    pub fn is_throttled(&self) -> bool {
        self.failures
            .last()
            .is_some_and(|failure| failure.code == ErrorCode::RateLimited)
            && self.last().cause == Cause::Retried
    }

    /// Bytes of its input and its answer: what makes one task heavier than another.
    pub fn weight(&self) -> usize {
        let answer = self.outcome.as_ref();
        self.spec.weight() as usize
            + answer.map_or(0, |answer| answer.weight())
            + self.partial.as_ref().map_or(0, |text| text.len())
    }

    /// About how many bytes it takes in memory. Always the same for the same task.
    pub fn size(&self) -> usize {
        RECORD + self.content()
    }

    /// About how many bytes those parts of it take that differ from task to task.
    pub fn content(&self) -> usize {
        let names = self.spec.custom_id.len() + self.spec.model.len();
        let labels = self.spec.labels.iter();
        let labels: usize = labels.map(|(name, value)| name.len() + value.len()).sum();
        let failures = self.failures.iter();
        let failures: usize = failures.map(|it| size_of_val(it) + it.message.len()).sum();
        let history = self.history.len() * size_of::<Transition>();
        self.weight() + names + labels + failures + history
    }

    /// The failure of a task whose deadline has passed: it names what held the task up.
    pub fn deadline_failure(&self) -> Failure {
        if self.is_throttled() {
            return Failure::new(
                ErrorCode::DeadlineExceededThrottled,
                "the deadline passed while the upstream's rate limit held the task back; \
                 submit with a later deadline or fewer tasks at a time",
            );
        }
        Failure::new(
            ErrorCode::DeadlineExceeded,
            "the deadline passed before the task was done; submit with a later deadline",
        )
    }
}

/// So many bytes of a text at most, and whole characters.
pub fn beginning(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What a commit compares before it writes: a task's epoch and revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence {
    /// The store's epoch.
    pub epoch: u32,
    /// The task's revision.
    pub revision: u64,
}

impl Fence {
    /// Whether this fence lets its holder move a task whose stored fence is `stored`: nobody has moved the task since,
    /// neither further nor, after the store lost writes, along another path under a later epoch.
    pub fn holds(self, stored: Fence) -> bool {
        self.revision == stored.revision && stored.epoch <= self.epoch
    }
}

/// What the attempts of a task were charged to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Charges {
    /// Failures the upstream answered with.
    #[n(0)]
    pub failures: u32,
    /// Sends whose answer may exist.
    #[n(1)]
    pub ambiguous: u32,
    /// Workers lost.
    #[n(2)]
    pub crashes: u32,
    /// Times the upstream said it was overloaded.
    #[n(3)]
    pub overloads: u32,
    /// Waits charged to time alone, for their backoff.
    #[n(4)]
    pub waits: u32,
    /// Answers that did not fit their schema.
    #[n(5)]
    #[cbor(default)]
    pub misfits: u32,
}

/// Names one start of one worker process: drawn at random, so that no two are ever the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u64);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
