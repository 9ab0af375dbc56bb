//! What the micro-benchmarks reach: pieces of calls and messages that have no face of their own. Nothing else uses it.

use super::{commit, message};
use crate::store::{Change, Commit, Moved};

/// Packs commits of one partition into script calls. Answers how many of them the calls have.
pub fn commit_calls(commits: &[Commit]) -> usize {
    let indexes: Vec<usize> = (0..commits.len()).collect();
    let calls = commit::pack_all(commits, &indexes);
    calls.iter().map(|(_, part)| part.len()).sum()
}

/// What a script announces of transitions, as number 0 of epoch 0.
pub fn announcement(moved: &[Moved]) -> Vec<u8> {
    let mut bytes = vec![0; 4 + 8];
    bytes.push(message::MOVED);
    bytes.extend((moved.len() as u32).to_be_bytes());
    bytes.extend(moved.iter().flat_map(message::encode_moved));
    bytes
}

/// What an announcement says; none when it is something else.
pub fn hear(announcement: &[u8]) -> Option<Vec<Change>> {
    message::decode(announcement).map(|message| message.changes)
}
