//! Large parts of tasks stand beside the records, and go around the scripts.
//!
//! Redis hashes every byte that passes through a script, which takes longer than all else that is done with it. So what is
//! large travels by plain commands: ahead of the script that accepts it, under a name that expires unless that script
//! gives it a lasting one; and after the script that returns the record.

use std::time::Duration;

use redis::Value;

use super::{
    RedisStore,
    keys::Keys,
    lease::{decimal, fence_bytes},
    link::{Call, Order},
    reply,
};
use crate::{
    model::{Fence, Task, TaskId},
    store::{
        Error,
        record::{self, Apart, Fault},
    },
};

/// A part of so many bytes is large: below that a key of its own costs more than it saves. A spec is looked for where this
/// says, whoever wrote it, so that it changes with the schema alone.
const LARGE: usize = 2 << 10;
/// How long what went ahead waits for its script.
const WAITS_FOR: Duration = Duration::from_secs(60);
/// Bytes that are asked for at a time: the connection serves others too.
const PIECE: usize = 4 << 20;

/// Which parts of a task are large.
pub(super) fn of(task: &Task) -> Apart {
    let outcome = task.outcome.as_ref();
    Apart {
        spec: task.spec.weight() >= LARGE as u64,
        outcome: outcome.is_some_and(|outcome| outcome.weight() >= LARGE),
    }
}

/// Sends a part ahead of the script that moves its task on from this fence. Nobody else names it so.
pub(super) fn ahead(id: TaskId, fence: Fence, part: Vec<u8>) -> Call {
    let key = Keys::of(id.partition()).ahead(&name(id, fence));
    let waits_for = decimal(WAITS_FOR.as_millis());
    command("SET", id, vec![key, part, b"PX".to_vec(), waits_for])
}

/// What a script calls that which was sent ahead of it.
pub(super) fn name(id: TaskId, fence: Fence) -> Vec<u8> {
    [&id.as_bytes()[..], &fence_bytes(fence)].concat()
}

/// The large parts of a task, where its record has them apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    spec: Option<Vec<u8>>,
    outcome: Option<Vec<u8>>,
    /// The task was removed after its record was read.
    pub(super) gone: bool,
}

impl Parts {
    /// The task as record and parts have it.
    pub(super) fn decode(&self, id: TaskId, record: &[u8]) -> Result<Task, Fault> {
        record::decode_with(id, record, self.spec.as_deref(), self.outcome.as_deref())
    }
}

/// Parts that are read at a time.
#[derive(Default)]
struct Piece {
    calls: Vec<Call>,
    /// For each call the number of its task, and whether it is about the outcome.
    places: Vec<(usize, bool)>,
    bytes: usize,
}

impl Piece {
    fn add(&mut self, place: (usize, bool), id: TaskId) {
        let keys = Keys::of(id.partition());
        let key = if place.1 {
            keys.outcome(id)
        } else {
            keys.spec(id)
        };
        self.calls.push(command("GET", id, vec![key]));
        self.places.push(place);
    }
}

/// Where the parts are that records lack.
fn pieces(records: &[(TaskId, &[u8])]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for (index, (id, record)) in records.iter().enumerate() {
        let (apart, bytes) = record::kept_apart(record);
        if !apart.is_any() {
            continue;
        }
        let mut piece = pieces.pop().unwrap_or_default();
        if piece.bytes > 0 && piece.bytes + bytes > PIECE {
            pieces.push(piece);
            piece = Piece::default();
        }
        piece.bytes += bytes;
        if apart.spec {
            piece.add((index, false), *id);
        }
        if apart.outcome {
            piece.add((index, true), *id);
        }
        pieces.push(piece);
    }
    pieces
}

impl RedisStore {
    /// The large parts of tasks, as their records say.
    pub(super) async fn parts_of(&self, records: &[(TaskId, &[u8])]) -> Result<Vec<Parts>, Error> {
        let mut parts = vec![Parts::default(); records.len()];
        let mut lacking = Vec::new();
        for piece in pieces(records) {
            self.read_parts(piece, &mut parts, &mut lacking).await?;
        }
        self.mark_gone(records, &lacking, &mut parts).await?;
        Ok(parts)
    }

    async fn read_parts(
        &self,
        piece: Piece,
        parts: &mut [Parts],
        lacking: &mut Vec<usize>,
    ) -> Result<(), Error> {
        let answers = self.router.run_each(&piece.calls).await?;
        for ((index, is_outcome), answer) in piece.places.into_iter().zip(answers) {
            let part = match answer {
                Value::BulkString(part) => Some(part),
                _ => None,
            };
            if part.is_none() {
                lacking.push(index);
            }
            if is_outcome {
                parts[index].outcome = part;
            } else {
                parts[index].spec = part;
            }
        }
        Ok(())
    }

    /// A task may have been removed after its record was read; otherwise it is damaged.
    async fn mark_gone(
        &self,
        records: &[(TaskId, &[u8])],
        lacking: &[usize],
        parts: &mut [Parts],
    ) -> Result<(), Error> {
        let ids = lacking.iter().map(|index| records[*index].0);
        let calls: Vec<Call> = ids
            .map(|id| command("EXISTS", id, vec![Keys::of(id.partition()).task(id)]))
            .collect();
        for (index, answer) in lacking.iter().zip(self.router.run_each(&calls).await?) {
            parts[*index].gone = reply::int(&answer) == Some(0);
        }
        Ok(())
    }
}

/// Removes what was sent ahead of a script that did not take it.
pub(super) fn take_back(ahead: &[Call]) -> Vec<Call> {
    let unlink = ahead.iter().map(|call| Call {
        order: Order::Command("UNLINK"),
        partition: call.partition,
        args: call.args[..1].to_vec(),
    });
    unlink.collect()
}

fn command(name: &'static str, id: TaskId, args: Vec<Vec<u8>>) -> Call {
    Call {
        order: Order::Command(name),
        partition: id.partition(),
        args,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        clock::Timestamp,
        model::{BatchId, IdRange, Spec},
    };

    fn record(id: TaskId, bytes: usize) -> Vec<u8> {
        let now = Timestamp(1);
        let spec = Spec::of_prompt("x".repeat(bytes), now);
        let task = Task::new(id, BatchId::new(now, 0, 1), Arc::new(spec), 1);
        record::encode_without(&task, of(&task))
    }

    #[test]
    fn what_is_read_at_a_time_is_one_part_or_not_too_large() {
        let sizes = [
            10,
            LARGE,
            PIECE - LARGE,
            1,
            LARGE,
            2 * PIECE,
            2 * PIECE,
            LARGE - 1,
        ];
        let ids: Vec<TaskId> = IdRange::new(Timestamp(1), 0, 1, 8).iter().collect();
        let records = ids.iter().zip(sizes).map(|(id, size)| record(*id, size));
        let records: Vec<Vec<u8>> = records.collect();
        let named = ids.iter().copied().zip(records.iter().map(Vec::as_slice));
        let pieces = pieces(&named.collect::<Vec<_>>()).into_iter();
        let places = pieces.map(|it| it.places.into_iter().map(|(index, _)| index).collect());
        let places: Vec<Vec<usize>> = places.collect();
        assert_eq!(places, [vec![1, 2], vec![4], vec![5], vec![6]]);
    }
}
