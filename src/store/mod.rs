//! Where tasks live. A store compares and commits; it decides nothing.
//!
//! Every implementation keeps the numbered contract on [`Store`]; `tests/it/conformance` holds each to it.

pub mod capacity;
pub mod change;
pub mod embedded;
mod info;
pub mod lead;
pub mod output;
pub mod prompt;
pub mod recent;
pub mod record;
pub mod redis;
pub mod slot;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::{
    clock::Timestamp,
    model::{
        Batch, BatchId, CacheKey, Fence, IdRange, Parked, Spec, Status, Task, TaskId, WorkerId,
    },
};

pub use capacity::{Capacity, Load};
pub use change::{Change, Moved, Note};
pub use info::{Durability, Info};
pub use lead::{Bid, Lead, Over};
pub use output::{Extension, OUTPUT_MAX, OUTPUT_PAGE, Output};
pub use prompt::Prompts;
pub use recent::{Moment, Part, Recent};
pub use slot::{Slot, Swap};

/// How long an idempotency key answers with what it first made.
pub const IDEMPOTENCY_WINDOW: Duration = Duration::from_secs(24 * 3600);
/// How long the id of a removed task is still known to have existed, and a finished batch is kept after its last task.
pub const TOMBSTONE_RETENTION: Duration = Duration::from_secs(24 * 3600);
/// Every how many starts one goes to the least urgent task waiting, so that no priority starves.
pub const AGING_INTERVAL: u64 = 16;
/// A batch that has no more than so many tasks queued starts them all in one turn: whoever wants little does not wait as
/// long as if everybody wanted much, and the turn is still short.
pub const LAST_TURN: u64 = 16;

/// Where tasks live.
///
/// 1. **All or nothing.** A submit or the commit of one task happens whole or not at all, and is as durable as
///    [`Info::durability`] says before the call returns; what a submit reached beyond that it says itself.
/// 2. **Compare by fence.** A commit writes only when [`Commit::fence`] holds for the stored task, see
///    [`Fence::holds`]; else it is a [`Verdict::Conflict`] and changes nothing. Committing the same task again is
///    `Applied` again.
/// 3. **A change and its indexes are one act**: record, queue, timers, batch counters and batch log move together.
/// 4. **Read your writes.** What a call returned is seen by every later read on any process. Only that tasks
///    were acquired may become visible moments later, at the latest when a later submit, commit or renew has returned: a
///    worker may begin before its lease is durable, and nobody is told of an attempt before it is.
/// 5. **Order.** `acquire` hands out by priority; every [`AGING_INTERVAL`]th start takes the least urgent instead. Within
///    a priority, the batches of a partition that have tasks ready take turns of one task; a batch of which no more than
///    [`LAST_TURN`] tasks are queued keeps its turn until none is ready. How many an acquire asks for makes no
///    difference. A batch that gets tasks to start joins behind the others. Within a batch the order of submission holds: a task
///    given back by release, lease expiry or parking goes to its batch's head; so does one that had to wait for its time,
///    when that has come; one that is retried without a wait goes to the tail. If that batch had nothing ready, a task given back has the next turn; so has a batch that is resumed.
/// 6. **Only queued, due, unparked tasks whose deadline has not passed are acquired**, each by one worker.
/// 7. **Leases and timers run by the store's own clock**, [`Store::now`], not the caller's.
/// 8. **Changes are hints.** They come after the write, may be lost or repeated, and a loss that the store notices is
///    announced as [`Change::Gap`].
/// 9. **Losing is never silent.** A store that finds less than it had acknowledged begins a new epoch, or refuses to
///    serve. Whatever is read carries the epoch as of the same instant: [`Task::epoch`], [`Log::epoch`]. Tasks that
///    were not lost keep their revisions, and the fences of their workers hold.
/// 10. **Output is progress, not a promise.** It belongs to one attempt, the next begins with none, and nobody reads it
///     once the task has moved. A store may lose it before, from its end; never does one attempt's text join another's.
/// 11. **Of many swaps of one version one is made**, and the others are told what it left. No two writes of a key have the
///     same version, even when its value was lost or its time was over in between. A value may be lost at any time: it is
///     what processes agree on for now, such as how fast they call, and never a task's state.
/// 12. **One lead a key.** A bid wins where its key has no lead, where the lead is the one it may take the place of, and
///     where the lead is the same task no further on. Of many bids at once one wins, and all are told the same lead. It is
///     kept until [`Bid::until`] of the bid that made it, or until it is forgotten. Losing one costs a call and nothing
///     else: the end of an epoch may take leads back.
/// 13. **No budget is passed.** What a task's call may cost is held ready in the act that acquires it, if it fits into
///     what its batch has neither spent nor holds ready; the act that ends the attempt puts the [`Bill`](crate::model::Bill) in its place, [`Renewal::aside`] nothing. A
///     batch whose next task does not fit takes no turns until something of it has ended that makes
///     room, or everything has; then it joins behind the others. If nothing is held ready it is parked instead.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// What this store is.
    fn info(&self) -> Info;

    /// The store's clock, as well as this process knows it.
    fn now(&self) -> Timestamp;

    /// Hears of changes from now on.
    fn changes(&self) -> broadcast::Receiver<Change>;

    /// What went through this process lately, where that is kept in mind. It is kept before changes are told.
    fn recent(&self) -> Option<&Recent> {
        None
    }

    /// What prompts an acquire, also as soon as a submit is on its way, where the store carries calls out in the order in
    /// which they are made and numbers what it announces. None where it does not: changes prompt it then.
    fn prompts(&self) -> Option<&Prompts> {
        None
    }

    /// Accepts tasks into a new or an open batch. With a key that was used before, answers what it first made.
    /// More than the store's [`Capacity`] is refused whole: [`Error::Full`].
    async fn submit(&self, submission: Submission) -> Result<Accepted, Error>;

    /// Takes up to `max` tasks for a worker, for the length of the lease.
    async fn acquire(
        &self,
        worker: WorkerId,
        max: usize,
        lease: Duration,
    ) -> Result<Acquired, Error>;

    /// Writes tasks that have been moved by one transition. Answers in order.
    async fn commit(&self, commits: Vec<Commit>) -> Result<Vec<Verdict>, Error>;

    /// Extends leases, stores progress and marks calls as sent. Answers in order whether each lease is still held.
    async fn renew(&self, renewals: &[Renewal], lease: Duration) -> Result<Vec<bool>, Error>;

    /// Appends to the output of running attempts, and hints at it as at progress. Answers in order whether each was
    /// taken: not when the task is not held under that fence any more, when something before the piece is missing, or
    /// when it would pass [`OUTPUT_MAX`]. What is there already is skipped, so that a call may be repeated.
    async fn extend(&self, extensions: &[Extension]) -> Result<Vec<bool>, Error>;

    /// What the running attempt of a task has put out after byte `from`, up to [`OUTPUT_PAGE`]. None when no attempt
    /// runs, or it has put out nothing.
    async fn output(&self, id: TaskId, from: u64) -> Result<Option<Output>, Error>;

    /// Up to `max` tasks that time has run out for: processing with an expired lease, or not terminal with a passed
    /// deadline. Their commit still compares, with [`Commit::guard`].
    async fn overdue(&self, max: usize) -> Result<Vec<Task>, Error>;

    /// Reads tasks. Answers in order.
    async fn tasks(&self, ids: &[TaskId]) -> Result<Vec<Lookup>, Error>;

    /// Reads a batch.
    async fn batch(&self, id: BatchId) -> Result<Option<Batch>, Error>;

    /// Reads up to `max` entries of a batch's log from position `from`, and the batch as of the same instant.
    async fn log(&self, id: BatchId, from: u64, max: usize) -> Result<Option<Log>, Error>;

    /// Names up to `max` tasks of one batch, or of all batches newest first, from `cursor` on.
    async fn list(
        &self,
        batch: Option<BatchId>,
        cursor: Option<Cursor>,
        max: usize,
    ) -> Result<Listing, Error>;

    /// Changes a batch as a whole. None when there is no such batch.
    async fn amend(&self, id: BatchId, amendment: Amendment) -> Result<Option<Batch>, Error>;

    /// Makes a task the lead of a key if its bid wins. Answers who is the lead now.
    async fn bid(&self, bid: Bid) -> Result<Lead, Error>;

    /// Forgets the leads of keys. Answers how many there were.
    async fn forget(&self, keys: &[CacheKey]) -> Result<usize, Error>;

    /// Removes what is past its retention, a bounded amount a call. Answers how much it removed.
    async fn sweep(&self) -> Result<usize, Error>;

    /// Writes a small value that processes agree on, unless its key was written since it was read. Answers what is kept
    /// then.
    async fn swap(&self, swap: Swap) -> Result<Slot, Error>;

    /// Counts what is stored; fails when the store is away.
    async fn stats(&self) -> Result<Stats, Error>;
}

/// Tasks to accept. All ids were chosen by the caller and lie in the batch's partition.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The batch.
    pub batch_id: BatchId,
    /// The batch must be there and open, or, when every spec has a `retry_of`, just be there. Else it is made new.
    pub append: Append,
    /// Whether more calls will follow. Not looked at for [`Append::Retry`].
    pub keep_open: bool,
    /// The ids of `specs`, in order.
    pub ids: IdRange,
    /// What to do; at least one.
    pub specs: Vec<Arc<Spec>>,
    /// What a new batch may spend, in billionths of the currency. Not looked at for any other.
    pub budget: Option<u64>,
    /// Makes the call safe to repeat.
    pub idempotency: Option<Idempotency>,
}

/// What a submission expects of its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// The batch is new.
    New,
    /// The batch is there and open.
    Open,
    /// The batch is there, open or closed, and stays as it is.
    Retry,
}

/// A key under which a call may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The caller's key, with its tenant.
    pub key: String,
    /// Hash of the call's content.
    pub hash: [u8; 32],
}

/// What a submission made, now or when its key was first used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The batch.
    pub batch_id: BatchId,
    /// The tasks.
    pub ids: IdRange,
    /// How well they are kept; at least [`Info::durability`], unless that has just become worse.
    pub durability: Durability,
}

/// What `acquire` took.
#[derive(Clone, Debug, Default)]
pub struct Acquired {
    /// The tasks, already processing.
    pub tasks: Vec<Task>,
    /// There may be more to take at once.
    pub more: bool,
    /// When the next waiting task becomes due, if the store knows of one.
    pub next_due: Option<Timestamp>,
}

/// A task to write, moved by exactly one transition.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The task as it shall be.
    pub task: Task,
    /// The fence it had before.
    pub fence: Fence,
    /// The status it had before.
    pub from: Status,
    /// What must hold besides the fence.
    pub guard: Guard,
    /// Hold the batch back in the same act.
    pub park: Option<Parked>,
}

/// What must hold besides the fence: time may have been given since the task was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guard {
    /// Nothing.
    #[default]
    None,
    /// The task's lease has expired by the store's clock.
    LeaseExpired,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Written.
    Applied,
    /// The task has moved on, or is gone; nothing was written.
    Conflict,
}

/// A lease to extend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The task.
    pub id: TaskId,
    /// The fence under which it is held.
    pub fence: Fence,
    /// 0 to 100.
    pub progress: u8,
    /// From now on the attempt's call may reach the upstream. Stays so until the task moves. Of a task that waited aside
    /// it is refused, as if the lease were lost, when what its call may cost does not fit any more.
    pub sent: bool,
    /// The task waits for the answer of another one: until its call is marked as sent nothing is held ready for it.
    pub aside: bool,
}

/// What is known of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The task.
    Found(Box<Task>),
    /// Never accepted here, or long gone.
    Missing,
    /// Past its retention since less than [`TOMBSTONE_RETENTION`].
    Expired,
    /// Its record cannot be read.
    Fault(String),
}

/// A piece of a batch's log: every transition of its tasks, in the order they were committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The transitions from the position asked for.
    pub entries: Vec<Moved>,
    /// How many entries the log has in all.
    pub end: u64,
    /// The batch as of `end`.
    pub batch: Batch,
    /// The epoch as of `end`.
    pub epoch: u32,
}

/// A page of ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The ids.
    pub ids: Vec<TaskId>,
    /// Where the next page starts; none after the last.
    pub next: Option<Cursor>,
}

/// A place in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// In this batch,
    pub batch: BatchId,
    /// from the task with this number on, counted from 0 in order of submission.
    pub offset: u64,
}

/// A change to a batch as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amendment {
    /// Let a parked batch go on. Nothing else happens to one that is not parked.
    Resume {
        /// What it may spend from now on. Nothing at all happens when the batch has no budget, or when this is not above
        /// what is spent or held ready: the answer shows the budget as it was.
        budget: Option<u64>,
    },
    /// Accept no more submits.
    Close,
}

/// What a store holds, over all partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Tasks that could start now, as far as the budgets of their batches have room.
    pub ready: u64,
    /// Tasks that wait for an instant.
    pub delayed: u64,
    /// Tasks in parked batches.
    pub parked: u64,
    /// Tasks held by workers.
    pub processing: u64,
    /// Bytes of the inputs of all of these, see [`Spec::weight`].
    pub bytes: u64,
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be reached or cannot answer now; the call may be repeated later.
    #[error("reach the store: {0}")]
    Unavailable(String),
    /// The store has no room; nothing was written.
    #[error("store more: {0}")]
    Full(String),
    /// The idempotency key was used before with other content.
    #[error("reuse an idempotency key for other content")]
    KeyReused,
    /// There is no such batch.
    #[error("find batch {0}")]
    NoSuchBatch(BatchId),
    /// The batch takes no more tasks.
    #[error("add to batch {0}, which is closed")]
    BatchClosed(BatchId),
    /// What is stored cannot be read.
    #[error("read a stored record: {0}")]
    Corrupt(String),
}
