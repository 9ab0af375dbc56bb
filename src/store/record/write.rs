//! Writing records.

use super::{Apart, HEAD_LEN, Head, LENGTHS, TRANSITION_LEN};
use crate::model::{Charges, Failure, Outcome, Spec, Task, Transition};

/// What a record mostly holds besides its texts.
const USUAL_REST: usize = 192;

/// What changes in a task besides head, history and outcome, as it is written.
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

/// As [`encode_spec`], in memory that has served before.
pub fn encode_spec_in<'a>(spec: &Spec, bytes: &'a mut Vec<u8>) -> &'a [u8] {
    bytes.clear();
    cbor_into(spec, bytes);
    bytes
}

/// The bytes of an outcome.
pub fn encode_outcome(outcome: &Outcome) -> Vec<u8> {
    cbor(outcome)
}

/// A whole task in one record.
pub fn encode(task: &Task) -> Vec<u8> {
    encode_without(task, Apart::default())
}

/// A task without the parts that are kept apart, whose bytes are those of [`encode_spec`] and [`encode_outcome`].
pub fn encode_without(task: &Task, apart: Apart) -> Vec<u8> {
    let outcome = task.outcome.as_deref();
    let (spec_weight, outcome_weight) = (task.spec.weight(), outcome.map_or(0, Outcome::weight));
    let spec = (!apart.spec).then_some(&*task.spec);
    let mut bytes = Vec::new();
    pack(
        task,
        apart,
        spec,
        outcome.filter(|_| !apart.outcome),
        &mut bytes,
    );
    if apart.spec {
        note_length(&mut bytes, 0, spec_weight as usize);
    }
    if apart.outcome {
        note_length(&mut bytes, 1, outcome_weight);
    }
    bytes
}

/// A task without its spec and outcome, for a store that always keeps those apart, in memory that has served before.
pub fn encode_state<'a>(task: &Task, bytes: &'a mut Vec<u8>) -> &'a [u8] {
    pack(task, Apart::default(), None, None, bytes);
    bytes
}

/// As [`encode_state`], with the outcome.
pub fn encode_ended<'a>(task: &Task, bytes: &'a mut Vec<u8>) -> &'a [u8] {
    let outcome = task.outcome.as_deref();
    pack(task, Apart::default(), None, outcome, bytes);
    bytes
}

/// Written into one piece of memory, where the lengths find their place once they are known.
fn pack(
    task: &Task,
    apart: Apart,
    spec: Option<&Spec>,
    outcome: Option<&Outcome>,
    bytes: &mut Vec<u8>,
) {
    let state = StateOf {
        charges: task.charges,
        failures: &task.failures,
        partial: task.partial.as_deref(),
    };
    let history = task.history.len() * TRANSITION_LEN;
    let texts = spec.map_or(0, |spec| spec.weight() as usize)
        + outcome.map_or(0, Outcome::weight)
        + task.partial.as_ref().map_or(0, |text| text.len());
    let head = Head {
        apart,
        ..Head::of(task)
    };
    bytes.clear();
    bytes.reserve(HEAD_LEN + LENGTHS + texts + USUAL_REST + history);
    bytes.extend_from_slice(&head.encode());
    bytes.extend_from_slice(&[0; LENGTHS]);
    append(bytes, 0, spec);
    append(bytes, 1, outcome);
    append(bytes, 2, Some(&state));
    for transition in &task.history {
        bytes.extend_from_slice(&encode_transition(transition));
    }
}

/// Appends a part, if there is one, and notes its length as that of this number.
fn append<T: minicbor::Encode<()>>(bytes: &mut Vec<u8>, number: usize, part: Option<&T>) {
    let Some(part) = part else { return };
    let before = bytes.len();
    cbor_into(part, bytes);
    let length = bytes.len() - before;
    note_length(bytes, number, length);
}

fn note_length(bytes: &mut [u8], number: usize, length: usize) {
    let at = HEAD_LEN + 4 * number;
    let length = u32::try_from(length).unwrap_or(u32::MAX);
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
