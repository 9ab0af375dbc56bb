//! How a task is written: one packed, versioned record whose first bytes are what a commit compares.
//!
//! ```text
//! head (64 bytes) | u32 spec length | u32 outcome length | u32 state length | spec | outcome | state | history
//! ```
//!
//! The head is fixed, so that a script can compare and patch it in place; the history comes last, so that a
//! script can append to it. Spec, outcome and state are CBOR with numbered fields: a newer process reads an older
//! record. Numbers are big-endian. Of a part that is kept apart the length says about how long it is, and its bytes are
//! missing.

mod head;
mod read;
mod write;

pub use head::{Apart, FENCE_LEN, HEAD_LEN, Head};
pub use read::{decode, decode_state, decode_with, from_cbor, has_outcome, kept_apart};
pub use write::{
    cbor, encode, encode_ended, encode_outcome, encode_spec, encode_spec_in, encode_state,
    encode_transition, encode_without,
};

/// Bytes of one transition in the history.
pub const TRANSITION_LEN: usize = 24;
/// Bytes of the lengths behind the head.
const LENGTHS: usize = 12;

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(String);

#[cfg(test)]
mod tests;
