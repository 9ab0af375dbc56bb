//! Reading records.

use std::sync::Arc;

use super::{Apart, Fault, HEAD_LEN, Head, TRANSITION_LEN, head::APART_AT};
use crate::{
    clock::Timestamp,
    model::{Cause, Charges, Failure, Outcome, Spec, Status, Task, TaskId, Transition, WorkerId},
};

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

/// Reads a record written by [`encode`](super::encode).
///
/// # Errors
/// The bytes are not such a record, or contradict themselves.
pub fn decode(id: TaskId, bytes: &[u8]) -> Result<Task, Fault> {
    decode_with(id, bytes, None, None)
}

/// Reads a record written by [`encode_without`](super::encode_without), with those parts that it was written without.
///
/// # Errors
/// The bytes are not such a record, or contradict themselves, or a part is missing.
pub fn decode_with(
    id: TaskId,
    bytes: &[u8],
    spec: Option<&[u8]>,
    outcome: Option<&[u8]>,
) -> Result<Task, Fault> {
    let parts = Parts::split(bytes)?;
    let missing = |what| Fault(format!("the {what} is kept apart, and missing there"));
    let spec = match (parts.head.apart.spec, spec) {
        (true, spec) => spec.ok_or_else(|| missing("spec"))?,
        (false, _) => parts.spec,
    };
    let outcome = match (parts.head.apart.outcome, outcome) {
        (true, outcome) => outcome.ok_or_else(|| missing("outcome"))?,
        (false, _) => parts.outcome,
    };
    let spec = Arc::new(from_cbor(spec, "spec")?);
    let outcome = match outcome {
        [] => None,
        bytes => Some(Arc::new(from_cbor(bytes, "outcome")?)),
    };
    parts.join(id, spec, outcome)
}

/// Which parts of a record are kept apart, and about how many bytes they have. Of what is no record: none.
pub fn kept_apart(bytes: &[u8]) -> (Apart, usize) {
    let apart = bytes
        .get(APART_AT)
        .map_or_else(Apart::default, |byte| Apart::decode(*byte));
    if !apart.is_any() {
        return (apart, 0);
    }
    let length = |number: usize| {
        let at = HEAD_LEN + 4 * number;
        let bytes = bytes.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?) as usize)
    };
    let of = |is_apart, number| if is_apart { length(number) } else { Some(0) };
    let about = of(apart.spec, 0).zip(of(apart.outcome, 1));
    about.map_or_else(Default::default, |(spec, outcome)| (apart, spec + outcome))
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

/// Reads a record written by [`encode_state`](super::encode_state) or [`encode_ended`](super::encode_ended), with what was
/// kept apart.
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
        let apart = head.apart;
        let mut part = |number: usize, is_apart| match is_apart {
            true => Ok(&[][..]),
            false => reader.take(lengths[number] as usize),
        };
        let (spec, outcome) = (part(0, apart.spec)?, part(1, apart.outcome)?);
        Ok(Parts {
            head,
            spec,
            outcome,
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

/// Decodes what [`cbor`](super::cbor) wrote; `what` names it in the fault.
///
/// # Errors
/// The bytes are something else.
pub fn from_cbor<'b, T: minicbor::Decode<'b, ()>>(bytes: &'b [u8], what: &str) -> Result<T, Fault> {
    minicbor::decode(bytes).map_err(|error| Fault(format!("the {what} cannot be read: {error}")))
}

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| Fault("the record is cut".into()))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Fault> {
        self.array().map(i64::from_be_bytes)
    }
}
