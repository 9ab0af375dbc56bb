//! How a task is written: one packed, versioned record whose first bytes are what a commit compares.
//!
//! ```text
//! head (64 bytes) | u32 spec length | u32 outcome length | u32 state length | spec | outcome | state | history
//! ```
//!
//! The head is fixed, so that a script can compare and patch it in place; the history comes last, so that a
//! script can append to it. Spec, outcome and state are CBOR with numbered fields: a newer process reads an older
//! record. Numbers are big-endian.

mod reader;

use std::sync::Arc;

use reader::Reader;

use crate::{
    clock::Timestamp,
    model::{
        BatchId, Cause, Charges, Failure, Outcome, Spec, Status, Task, TaskId, Transition, WorkerId,
    },
};

/// Bytes of the head.
pub const HEAD_LEN: usize = 64;
/// The head's first bytes, epoch and revision: the fence.
pub const FENCE_LEN: usize = 12;
/// Bytes of one transition in the history.
pub const TRANSITION_LEN: usize = 24;
/// The layout described above.
const FORMAT: u8 = 1;
/// Bytes of the lengths behind the head.
const LENGTHS: usize = 12;
/// What a record mostly holds besides its texts.
const USUAL_REST: usize = 192;

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(String);

/// The part of the head that a store looks at without reading the rest.
///
/// ```text
///  0  u32 epoch        4  u64 revision    12  u8 status     13  u8 progress   14  u8 format   15  u8 priority
/// 16  u32 attempt     20  u8 sent         21  u8 aside, 2 unused    24  i64 due       32  i64 deadline        40  16 bytes batch id
/// 56  u32 max cost     60  u32 weight
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The task's epoch.
    pub epoch: u32,
    /// The task's revision.
    pub revision: u64,
    /// The task's status.
    pub status: Status,
    /// 0 to 100.
    pub progress: u8,
    /// The number of the task's priority.
    pub priority: u8,
    /// How often a worker acquired it.
    pub attempt: u32,
    /// The call of the present attempt may have been sent.
    pub sent: bool,
    /// Nothing is reserved for a call of the present attempt.
    pub aside: bool,
    /// While queued: the earliest start.
    pub due: Timestamp,
    /// After this it neither starts nor goes on.
    pub deadline: Timestamp,
    /// The batch it belongs to.
    pub batch_id: BatchId,
    /// What one call may cost at most, in millionths of the currency.
    pub max_cost_micros: u32,
    /// Bytes of the task's input.
    pub weight: u32,
}

impl Head {
    /// The head of a task.
    pub fn of(task: &Task) -> Head {
        Head {
            epoch: task.epoch,
            revision: task.revision(),
            status: task.status(),
            progress: task.progress,
            priority: task.spec.priority as u8,
            attempt: task.attempt(),
            sent: task.sent,
            aside: task.aside,
            due: task.due,
            deadline: task.spec.deadline,
            batch_id: task.batch_id,
            max_cost_micros: task.spec.max_cost_micros,
            weight: u32::try_from(task.spec.weight()).unwrap_or(u32::MAX),
        }
    }

    /// The head's bytes.
    pub fn encode(&self) -> [u8; HEAD_LEN] {
        let mut bytes = [0; HEAD_LEN];
        bytes[..4].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.revision.to_be_bytes());
        bytes[12] = self.status as u8;
        bytes[13] = self.progress;
        bytes[14] = FORMAT;
        bytes[15] = self.priority;
        bytes[16..20].copy_from_slice(&self.attempt.to_be_bytes());
        bytes[20] = u8::from(self.sent);
        bytes[21] = u8::from(self.aside);
        bytes[24..32].copy_from_slice(&self.due.0.to_be_bytes());
        bytes[32..40].copy_from_slice(&self.deadline.0.to_be_bytes());
        bytes[40..56].copy_from_slice(self.batch_id.as_bytes());
        bytes[56..60].copy_from_slice(&self.max_cost_micros.to_be_bytes());
        bytes[60..].copy_from_slice(&self.weight.to_be_bytes());
        bytes
    }

    /// Reads a head.
    ///
    /// # Errors
    /// The bytes are too few, of another format, or name no status.
    pub fn decode(bytes: &[u8]) -> Result<Head, Fault> {
        let mut reader = Reader(bytes);
        let head: [u8; HEAD_LEN] = reader.array()?;
        if head[14] != FORMAT {
            return Err(Fault(format!("record format {} is not known", head[14])));
        }
        let mut reader = Reader(&head);
        let (epoch, revision) = (reader.u32()?, reader.u64()?);
        let [status, progress, _format, priority] = reader.array()?;
        let attempt = reader.u32()?;
        let [sent, aside, _, _] = reader.array()?;
        Ok(Head {
            epoch,
            revision,
            status: Status::from_code(status)
                .ok_or_else(|| Fault(format!("no status has number {status}")))?,
            progress,
            priority,
            attempt,
            sent: sent != 0,
            aside: aside != 0,
            due: Timestamp(reader.i64()?),
            deadline: Timestamp(reader.i64()?),
            batch_id: BatchId::from_bytes(reader.array()?),
            max_cost_micros: reader.u32()?,
            weight: reader.u32()?,
        })
    }
}

/// What changes in a task besides head, history and outcome, as it is read.
#[derive(Debug, Default, minicbor::Decode)]
struct State {
    #[n(0)]
    charges: Charges,
    #[n(1)]
    failures: Vec<Failure>,
    #[n(2)]
    partial: Option<String>,
}

/// The same as it is written.
#[derive(Debug, minicbor::Encode)]
struct StateOf<'a> {
    #[n(0)]
    charges: Charges,
    #[n(1)]
    failures: &'a [Failure],
    #[n(2)]
    partial: Option<&'a str>,
}

/// The bytes of a spec.
pub fn encode_spec(spec: &Spec) -> Vec<u8> {
    cbor(spec)
}

/// The bytes of an outcome.
pub fn encode_outcome(outcome: &Outcome) -> Vec<u8> {
    cbor(outcome)
}

/// A whole task in one record.
pub fn encode(task: &Task) -> Vec<u8> {
    pack(task, Some(&task.spec), task.outcome.as_deref())
}

/// A task without its spec and outcome, for a store that keeps those apart.
pub fn encode_state(task: &Task) -> Vec<u8> {
    pack(task, None, None)
}

/// As [`encode_state`], with the outcome.
pub fn encode_ended(task: &Task) -> Vec<u8> {
    pack(task, None, task.outcome.as_deref())
}

/// Whether a record holds an outcome.
///
/// # Errors
/// The bytes are too few.
pub fn has_outcome(bytes: &[u8]) -> Result<bool, Fault> {
    let mut reader = Reader(bytes);
    let (_head, _spec): ([u8; HEAD_LEN], u32) = (reader.array()?, reader.u32()?);
    Ok(reader.u32()? > 0)
}

/// Written into one piece of memory, where the lengths find their place once they are known.
fn pack(task: &Task, spec: Option<&Spec>, outcome: Option<&Outcome>) -> Vec<u8> {
    let state = StateOf {
        charges: task.charges,
        failures: &task.failures,
        partial: task.partial.as_deref(),
    };
    let history = task.history.len() * TRANSITION_LEN;
    let texts = if spec.is_some() { task.weight() } else { 0 };
    let mut bytes = Vec::with_capacity(HEAD_LEN + LENGTHS + texts + USUAL_REST + history);
    bytes.extend_from_slice(&Head::of(task).encode());
    bytes.extend_from_slice(&[0; LENGTHS]);
    append(&mut bytes, 0, spec);
    append(&mut bytes, 1, outcome);
    append(&mut bytes, 2, Some(&state));
    for transition in &task.history {
        bytes.extend_from_slice(&encode_transition(transition));
    }
    bytes
}

/// Appends a part, if there is one, and notes its length as that of this number.
fn append<T: minicbor::Encode<()>>(bytes: &mut Vec<u8>, number: usize, part: Option<&T>) {
    let Some(part) = part else { return };
    let before = bytes.len();
    cbor_into(part, bytes);
    let length = (bytes.len() - before) as u32;
    let at = HEAD_LEN + 4 * number;
    bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// One entry of the history: `i64 at | u64 worker | u8 status | u8 cause | u16 unused | u32 attempt`.
pub fn encode_transition(transition: &Transition) -> [u8; TRANSITION_LEN] {
    let mut bytes = [0; TRANSITION_LEN];
    let worker = transition.worker.map_or(0, |worker| worker.0);
    bytes[..8].copy_from_slice(&transition.at.0.to_be_bytes());
    bytes[8..16].copy_from_slice(&worker.to_be_bytes());
    bytes[16] = transition.status as u8;
    bytes[17] = transition.cause as u8;
    bytes[20..].copy_from_slice(&transition.attempt.to_be_bytes());
    bytes
}

/// Reads a record written by [`encode`].
///
/// # Errors
/// The bytes are not such a record, or contradict themselves.
pub fn decode(id: TaskId, bytes: &[u8]) -> Result<Task, Fault> {
    let parts = Parts::split(bytes)?;
    let spec = Arc::new(from_cbor(parts.spec, "spec")?);
    let outcome = match parts.outcome {
        [] => None,
        bytes => Some(Arc::new(from_cbor(bytes, "outcome")?)),
    };
    parts.join(id, spec, outcome)
}

/// Reads a record written by [`encode_state`] or [`encode_ended`], with what was kept apart.
///
/// # Errors
/// The bytes are not such a record, or contradict themselves.
pub fn decode_state(
    id: TaskId,
    bytes: &[u8],
    spec: &[u8],
    outcome: Option<&[u8]>,
) -> Result<Task, Fault> {
    let spec = Arc::new(from_cbor(spec, "spec")?);
    let parts = Parts::split(bytes)?;
    let own = Some(parts.outcome).filter(|own| !own.is_empty());
    let outcome = outcome
        .or(own)
        .map(|bytes| from_cbor(bytes, "outcome").map(Arc::new))
        .transpose()?;
    parts.join(id, spec, outcome)
}

struct Parts<'a> {
    head: Head,
    spec: &'a [u8],
    outcome: &'a [u8],
    state: &'a [u8],
    history: &'a [u8],
}

impl<'a> Parts<'a> {
    fn split(bytes: &'a [u8]) -> Result<Self, Fault> {
        let head = Head::decode(bytes)?;
        let mut reader = Reader(&bytes[HEAD_LEN..]);
        let lengths = [reader.u32()?, reader.u32()?, reader.u32()?];
        Ok(Parts {
            head,
            spec: reader.take(lengths[0] as usize)?,
            outcome: reader.take(lengths[1] as usize)?,
            state: reader.take(lengths[2] as usize)?,
            history: reader.0,
        })
    }

    fn join(
        self,
        id: TaskId,
        spec: Arc<Spec>,
        outcome: Option<Arc<Outcome>>,
    ) -> Result<Task, Fault> {
        let history = decode_history(self.history)?;
        let last = history
            .last()
            .ok_or_else(|| Fault("the history is empty".into()))?;
        let head = self.head;
        if (history.len() as u64, last.status, last.attempt)
            != (head.revision, head.status, head.attempt)
        {
            return Err(Fault("head and history contradict each other".into()));
        }
        let state: State = from_cbor(self.state, "state")?;
        Ok(Task {
            id,
            batch_id: head.batch_id,
            spec,
            epoch: head.epoch,
            history,
            due: head.due,
            charges: state.charges,
            failures: state.failures,
            outcome,
            partial: state.partial.map(Arc::from),
            progress: head.progress,
            sent: head.sent,
            aside: head.aside,
        })
    }
}

fn decode_history(bytes: &[u8]) -> Result<Vec<Transition>, Fault> {
    if !bytes.len().is_multiple_of(TRANSITION_LEN) {
        return Err(Fault("the history is cut".into()));
    }
    bytes
        .chunks_exact(TRANSITION_LEN)
        .map(|entry| {
            let mut reader = Reader(entry);
            let (at, worker) = (reader.i64()?, reader.u64()?);
            let [status, cause, _, _] = reader.array()?;
            let unknown = || Fault(format!("no transition is ({status}, {cause})"));
            Ok(Transition {
                at: Timestamp(at),
                status: Status::from_code(status).ok_or_else(unknown)?,
                cause: Cause::from_code(cause).ok_or_else(unknown)?,
                attempt: reader.u32()?,
                worker: (worker != 0).then_some(WorkerId(worker)),
            })
        })
        .collect()
}

/// Encodes a value that is to be stored with numbered fields.
pub fn cbor<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    cbor_into(value, &mut bytes);
    bytes
}

fn cbor_into<T: minicbor::Encode<()>>(value: &T, bytes: &mut Vec<u8>) {
    if let Err(never) = minicbor::encode(value, bytes) {
        unreachable!("writing to memory cannot fail: {never}");
    }
}

/// Decodes what [`cbor`] wrote; `what` names it in the fault.
///
/// # Errors
/// The bytes are something else.
pub fn from_cbor<'b, T: minicbor::Decode<'b, ()>>(bytes: &'b [u8], what: &str) -> Result<T, Fault> {
    minicbor::decode(bytes).map_err(|error| Fault(format!("the {what} cannot be read: {error}")))
}

#[cfg(test)]
mod tests;
