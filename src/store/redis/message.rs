//! What a script announces, and the entries of a batch's log: fixed little layouts, big-endian.
//!
//! ```text
//! message  u32 epoch | u64 seq | u64 call | sections
//! section  u8 kind | u32 count | entries
//!   moved    16 batch | u64 how many entries its log has by now, and then entries as those of its log
//!   noted    16 task | u8 progress
//!   amended  16 batch
//! log      16 task | u32 revision | u8 status | 3 unused
//! ```

use std::sync::Arc;

use crate::{
    model::{BatchId, Status, TaskId},
    store::{Change, Moved, Note},
};

/// Number of a section of moved tasks.
pub(super) const MOVED: u8 = 1;
/// Number of a section of notes.
pub(super) const NOTED: u8 = 2;
/// Number of a section of batches that changed as a whole.
pub(super) const AMENDED: u8 = 3;
/// Bytes of an entry of a batch's log.
pub(super) const LOG_ENTRY_LEN: usize = 24;

const HEADER_LEN: usize = 20;
const SECTION_LEN: usize = 5;
const BATCH_LEN: usize = 16;
const NOTED_LEN: usize = 17;

/// A message as it was heard.
#[derive(Debug)]
pub(super) struct Message {
    /// The partition's epoch.
    pub(super) epoch: u32,
    /// Its number in its partition.
    pub(super) seq: u64,
    /// The call that it is of, where its caller waits for the answer.
    pub(super) call: u64,
    /// What it says.
    pub(super) changes: Vec<Change>,
    /// How many entries the logs of batches have come to.
    pub(super) reaches: Vec<(BatchId, u64)>,
}

/// Reads a message; none when it is something else.
pub(super) fn decode(bytes: &[u8]) -> Option<Message> {
    let (header, mut rest) = bytes.split_at_checked(HEADER_LEN)?;
    let epoch = u32::from_be_bytes(header[..4].try_into().ok()?);
    let mut message = Message {
        epoch,
        seq: u64::from_be_bytes(header[4..12].try_into().ok()?),
        call: u64::from_be_bytes(header[12..].try_into().ok()?),
        changes: Vec::new(),
        reaches: Vec::new(),
    };
    while !rest.is_empty() {
        let (section, tail) = rest.split_at_checked(SECTION_LEN)?;
        let count = u32::from_be_bytes(section[1..].try_into().ok()?) as usize;
        rest = match section[0] {
            MOVED => add_moved(tail, count, &mut message)?,
            NOTED => add_notes(tail, count, &mut message.changes)?,
            AMENDED => add_amended(tail, count, &mut message.changes)?,
            _ => return None,
        };
    }
    Some(message)
}

/// Reads a section of moved tasks. Answers what follows it.
fn add_moved<'a>(bytes: &'a [u8], count: usize, message: &mut Message) -> Option<&'a [u8]> {
    let (batch, rest) = bytes.split_first_chunk()?;
    let (reaches, rest) = rest.split_first_chunk()?;
    let (entries, rest) = split(rest, count, LOG_ENTRY_LEN)?;
    let batch = BatchId::from_bytes(*batch);
    let moved: Option<Arc<[Moved]>> = entries
        .chunks_exact(LOG_ENTRY_LEN)
        .map(|entry| decode_log_entry(batch, entry))
        .collect();
    message.changes.push(Change::Moved(moved?));
    message.reaches.push((batch, u64::from_be_bytes(*reaches)));
    Some(rest)
}

fn add_notes<'a>(bytes: &'a [u8], count: usize, changes: &mut Vec<Change>) -> Option<&'a [u8]> {
    let (entries, rest) = split(bytes, count, NOTED_LEN)?;
    let notes: Option<Arc<[Note]>> = entries.chunks_exact(NOTED_LEN).map(decode_note).collect();
    changes.push(Change::Noted(notes?));
    Some(rest)
}

fn add_amended<'a>(bytes: &'a [u8], count: usize, changes: &mut Vec<Change>) -> Option<&'a [u8]> {
    let (entries, rest) = split(bytes, count, BATCH_LEN)?;
    for entry in entries.chunks_exact(BATCH_LEN) {
        let id = BatchId::from_bytes(entry.try_into().ok()?);
        changes.push(Change::Amended(id));
    }
    Some(rest)
}

/// So many entries of this length, and what follows them.
fn split(bytes: &[u8], count: usize, length: usize) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(count.checked_mul(length)?)
}

fn decode_log_entry(batch: BatchId, entry: &[u8]) -> Option<Moved> {
    Some(Moved {
        task: TaskId::from_bytes(entry[..16].try_into().ok()?),
        batch,
        revision: u64::from(u32::from_be_bytes(entry[16..20].try_into().ok()?)),
        status: Status::from_code(entry[20])?,
    })
}

fn decode_note(entry: &[u8]) -> Option<Note> {
    Some(Note {
        task: TaskId::from_bytes(entry[..16].try_into().ok()?),
        progress: entry[16],
    })
}

/// An entry of the log of the task's batch.
pub(super) fn encode_log_entry(moved: &Moved) -> [u8; LOG_ENTRY_LEN] {
    let mut bytes = [0; LOG_ENTRY_LEN];
    // The history is capped far below this.
    let revision = u32::try_from(moved.revision).unwrap_or(u32::MAX);
    bytes[..16].copy_from_slice(moved.task.as_bytes());
    bytes[16..20].copy_from_slice(&revision.to_be_bytes());
    bytes[20] = moved.status as u8;
    bytes
}

/// Reads a piece of the log of `batch`; none when it is something else.
pub(super) fn decode_log(batch: BatchId, bytes: &[u8]) -> Option<Vec<Moved>> {
    if !bytes.len().is_multiple_of(LOG_ENTRY_LEN) {
        return None;
    }
    bytes
        .chunks_exact(LOG_ENTRY_LEN)
        .map(|entry| decode_log_entry(batch, entry))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, model::IdRange};

    fn moved(index: u32) -> Moved {
        Moved {
            task: IdRange::new(Timestamp(1), 2, 3, 9).at(index),
            batch: BatchId::new(Timestamp(1), 2, 4),
            revision: 5 + u64::from(index),
            status: Status::Processing,
        }
    }

    fn section(kind: u8, entries: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend((entries.len() as u32).to_be_bytes());
        bytes.extend(entries.concat());
        bytes
    }

    fn message() -> Vec<u8> {
        let mut bytes = 1_u32.to_be_bytes().to_vec();
        bytes.extend([77_u64, 8].map(u64::to_be_bytes).concat());
        let moved_tasks = section(
            MOVED,
            &[&encode_log_entry(&moved(0)), &encode_log_entry(&moved(1))],
        );
        bytes.extend(&moved_tasks[..SECTION_LEN]);
        bytes.extend(moved(0).batch.as_bytes());
        bytes.extend(9_u64.to_be_bytes());
        bytes.extend(&moved_tasks[SECTION_LEN..]);
        let note = [&moved(2).task.as_bytes()[..], &[42]].concat();
        bytes.extend(section(NOTED, &[&note]));
        bytes.extend(section(AMENDED, &[moved(0).batch.as_bytes()]));
        bytes
    }

    #[test]
    fn a_message_says_what_its_sections_say() {
        let message = decode(&message()).unwrap();
        assert_eq!((message.epoch, message.seq, message.call), (1, 77, 8));
        assert_eq!(message.reaches, [(moved(0).batch, 9)]);
        let [
            Change::Moved(entries),
            Change::Noted(notes),
            Change::Amended(batch),
        ] = &message.changes[..]
        else {
            panic!("{message:?}");
        };
        assert_eq!(entries[..], [moved(0), moved(1)]);
        assert_eq!(
            notes[..],
            [Note {
                task: moved(2).task,
                progress: 42
            }]
        );
        assert_eq!(*batch, moved(0).batch);
    }

    #[test]
    fn a_cut_or_strange_message_is_none_and_never_a_panic() {
        let whole = message();
        let ends = [20, 20 + 5 + 72, 20 + 5 + 72 + 5 + 17, whole.len()];
        for length in 0..whole.len() {
            let legal = ends.contains(&length);
            assert_eq!(decode(&whole[..length]).is_some(), legal, "{length}");
        }
        assert!(decode(&[0; 30]).is_none());
    }

    #[test]
    fn a_log_comes_back_as_it_was_written() {
        let bytes = [encode_log_entry(&moved(0)), encode_log_entry(&moved(1))].concat();
        let log = decode_log(moved(0).batch, &bytes).unwrap();
        assert_eq!(log, [moved(0), moved(1)]);
        assert_eq!(decode_log(moved(0).batch, &bytes[1..]), None);
    }
}
