//! How a lease is written: what being processed changes in a task, beside the record of how it was queued.
//!
//! ```text
//!  0  u32 epoch   4  u64 revision   12  u32 attempt   16  i64 since   24  u64 worker   32  i64 expiry
//! 40  u8 progress 41  u8 sent       42  u8 aside      43  22 unused
//! ```
//!
//! Redis keeps a hash of few fields as a list, which it goes through for each of them, unless a value has more than 64
//! bytes: with leases of 43, a task cost it half as much again.
//!
//! A task that is acquired and ends costs one field of a hash in between, of which one command takes any number; its
//! record is written when it is submitted and when it ends.

use std::cmp::Ordering;

use crate::{
    clock::Timestamp,
    model::{Event, Task, WorkerId},
    store::record::FENCE_LEN,
};

/// Bytes of a lease.
pub(super) const LEASE_LEN: usize = 65;
/// Where the instant of its start stands.
pub(super) const SINCE_AT: usize = 16;
/// Where the worker stands.
pub(super) const WORKER_AT: usize = 24;
/// Where the instant of its expiry stands.
pub(super) const EXPIRY_AT: usize = 32;
/// Where the attempt's progress stands.
pub(super) const PROGRESS_AT: usize = 40;
/// Where it says that the attempt's call may have been sent.
pub(super) const SENT_AT: usize = 41;
/// Where it says that the task waits aside.
pub(super) const ASIDE_AT: usize = 42;
/// Unused bytes at its end.
pub(super) const PAD_LEN: usize = LEASE_LEN - ASIDE_AT - 1;

/// How a lease stands to the revision that follows a record: over, just that, or later. None where either is none.
pub(super) fn compare(lease: &[u8], record: &[u8]) -> Option<Ordering> {
    let revision = |bytes: &[u8]| {
        let bytes = bytes.get(4..FENCE_LEN)?.try_into().ok()?;
        Some(u64::from_be_bytes(bytes))
    };
    Some(revision(lease)?.cmp(&revision(record)?.saturating_add(1)))
}

/// Moves a task, as its record has it, to where its lease says that it is.
///
/// # Errors
/// Says what of the two contradicts itself.
pub(super) fn begin(task: &mut Task, lease: &[u8]) -> Result<(), String> {
    let lease: &[u8; LEASE_LEN] = lease
        .try_into()
        .map_err(|_| format!("a lease has {LEASE_LEN} bytes, not {}", lease.len()))?;
    let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|byte| lease[at + byte]));
    let (revision, since) = (number(4), Timestamp(number(SINCE_AT).cast_signed()));
    if revision != task.revision() + 1 {
        return Err(format!(
            "the lease is of revision {revision}, the record of {}",
            task.revision()
        ));
    }
    let worker = WorkerId(number(WORKER_AT));
    task.apply(Event::Acquired { worker }, since)
        .map_err(|illegal| illegal.to_string())?;
    task.epoch = u32::from_be_bytes([lease[0], lease[1], lease[2], lease[3]]);
    task.progress = lease[PROGRESS_AT];
    task.sent = lease[SENT_AT] != 0;
    task.aside = lease[ASIDE_AT] != 0;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_over_once_its_record_has_come_as_far() {
        let at = |revision: u64| [&[9; 4][..], &revision.to_be_bytes(), &[0; 50]].concat();
        for (lease, record, stands) in [
            (2, 1, Ordering::Equal),
            (2, 2, Ordering::Less),
            (2, 7, Ordering::Less),
            (4, 1, Ordering::Greater),
        ] {
            assert_eq!(compare(&at(lease), &at(record)), Some(stands));
        }
        assert_eq!(compare(b"", &at(1)), None);
        assert_eq!(compare(&at(1), b"nonsense"), None);
    }
}
