//! What the micro-benchmarks reach: pieces of calls and messages that have no face of their own. Nothing else uses it.

use super::{message, pack::pack_all};
use crate::store::{Change, Commit, Moved};

/// Packs commits of one partition into script calls. Answers how many of them the calls have.
pub fn commit_calls(commits: &[Commit]) -> usize {
    let indexes: Vec<usize> = (0..commits.len()).collect();
    let calls = pack_all(commits, &indexes, false).into_iter();
    // With everything that goes over the wire.
    calls.map(|call| call.into_parts().0.len()).sum()
}

/// What a script announces of transitions of one batch, as number 0 of epoch 0.
pub fn announcement(moved: &[Moved]) -> Vec<u8> {
    let mut bytes = vec![0; 4 + 8 + 8];
    bytes.push(message::MOVED);
    bytes.extend((moved.len() as u32).to_be_bytes());
    let batch = moved.first().map(|it| *it.batch.as_bytes());
    bytes.extend(batch.unwrap_or_default());
    bytes.extend((moved.len() as u64).to_be_bytes());
    bytes.extend(moved.iter().flat_map(message::encode_log_entry));
    bytes
}

/// What an announcement says; none when it is something else.
pub fn hear(announcement: &[u8]) -> Option<Vec<Change>> {
    message::decode(announcement).map(|message| message.changes)
}
