//! Every key and channel, named once: here for Rust and, through [`lua_names`], for the scripts.
//!
//! All keys of a partition share a hash tag, so that a script touches one slot of a cluster.
//! Ids stand in keys as their 16 bytes.
//!
//! ```text
//! t:<task>    string  the packed record, as it was when the task was queued last, or as it ended
//! s:<task>    string  its spec, where that is large, see [`super::apart`]; the record then lacks it
//! a:<task>    string  the same of its outcome
//! z:<task><fence> string  a large part on its way, until the script that moves the task on from that fence renames it; expires
//! held        hash    the leases of all processing tasks, see [`super::held`]; what they change is not in the record yet
//! o:<task>    string  what its running attempt has put out: the fence it is held under, then the text; expires
//! q:<n><batch> list   ids of a batch's tasks of priority number n that are ready to start, next one first
//! r:<n>       list    batches with such a list that are not parked, each once, the one whose turn is next first
//! d           zset    ids that wait, by due time
//! timer       zset    by instant, what may have run out then: `l`, the instant, and the ids of tasks whose leases were given
//!                     together; `d`, an id range and its batch, for tasks that share a deadline; or `i`, the instant, and
//!                     the ids of those of them that have passed it
//! old         zset    by instant, what is past its retention then: the instant, and ids of tasks that ended together; where
//!                     they may have parts that stand apart, the instant's first byte is 1
//! ids         zset    every id range that was accepted, with its batch; goes with the batch
//! b:<batch>   hash    counters, sums, state and money of a batch
//! bl:<batch>  string  its log, entries of 24 bytes: task id, u32 revision, u8 status, 3 unused
//! bc:<batch>  string  the id ranges of its submits, 20 bytes each: first id, u32 count; outlives the batch by a sweep
//! bs          zset    batch ids by create time
//! pb          set     ids of parked batches
//! c:<worker>  string  the last acquire of a worker: request, then the ids it was given; expires with their leases
//! l:<key>     string  the lead of a cache key: task id, u32 epoch, u64 revision; expires
//! i:<key>     string  idempotency key: hash of the content, batch id, id range
//! v:<key>     string  a value that processes agree on: u64 version, value; expires when nobody writes it
//! m           hash    schema, partitions, epoch, seq, picks, counts of queued (q) and processing (p), the bytes of
//!                     input (w, weight) of both; the primary's reign and process (run), how far the partition was
//!                     when the reign began (base), whether that was less than before (lost)
//! ev          channel what changed
//! ```

use crate::model::{BatchId, TaskId};

const META: &str = "m";
const TASK: &str = "t:";
const SPEC: &str = "s:";
const OUTCOME: &str = "a:";
const AHEAD: &str = "z:";
const OUTPUT: &str = "o:";
const HELD: &str = "held";
const READY: &str = "q:";
const TURNS: &str = "r:";
const DELAYED: &str = "d";
const TIMER: &str = "timer";
const OLD: &str = "old";
const RANGES: &str = "ids";
const BATCH: &str = "b:";
const LOG: &str = "bl:";
const CALLS: &str = "bc:";
const BATCHES: &str = "bs";
const PARKED: &str = "pb";
const CLAIM: &str = "c:";
const LEAD: &str = "l:";
const IDEMPOTENCY: &str = "i:";
const SLOT: &str = "v:";
const CHANNEL: &str = "ev";
/// Never there.
const ABSENT: &str = "-";

/// The keys of one partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    partition: u16,
}

impl Keys {
    pub(super) fn of(partition: u16) -> Self {
        Keys { partition }
    }

    /// What every script gets as `KEYS[1]`.
    pub(super) fn meta(self) -> Vec<u8> {
        self.key(META, &[])
    }

    pub(super) fn task(self, id: TaskId) -> Vec<u8> {
        self.key(TASK, id.as_bytes())
    }

    pub(super) fn spec(self, id: TaskId) -> Vec<u8> {
        self.key(SPEC, id.as_bytes())
    }

    pub(super) fn outcome(self, id: TaskId) -> Vec<u8> {
        self.key(OUTCOME, id.as_bytes())
    }

    /// `name` is that of [`super::apart::name`].
    pub(super) fn ahead(self, name: &[u8]) -> Vec<u8> {
        self.key(AHEAD, name)
    }

    pub(super) fn held(self) -> Vec<u8> {
        self.key(HELD, &[])
    }

    pub(super) fn ranges(self) -> Vec<u8> {
        self.key(RANGES, &[])
    }

    pub(super) fn calls(self, id: BatchId) -> Vec<u8> {
        self.key(CALLS, id.as_bytes())
    }

    pub(super) fn batches(self) -> Vec<u8> {
        self.key(BATCHES, &[])
    }

    pub(super) fn idempotency(self, key: &str) -> Vec<u8> {
        self.key(IDEMPOTENCY, key.as_bytes())
    }

    pub(super) fn channel(self) -> Vec<u8> {
        self.key(CHANNEL, &[])
    }

    fn key(self, name: &str, rest: &[u8]) -> Vec<u8> {
        let mut key = format!("{{td:{}}}:{name}", self.partition).into_bytes();
        key.extend_from_slice(rest);
        key
    }
}

/// How to announce. A sharded channel stays within the node that has its slot and its replicas.
pub(super) fn publish(sharded: bool) -> &'static str {
    if sharded { "SPUBLISH" } else { "PUBLISH" }
}

/// How to subscribe to what is announced so.
pub(super) fn subscribe(sharded: bool) -> &'static str {
    if sharded { "SSUBSCRIBE" } else { "SUBSCRIBE" }
}

/// The partition whose channel this is.
pub(super) fn partition_of_channel(channel: &str) -> Option<u16> {
    let rest = channel.strip_prefix("{td:")?;
    rest.strip_suffix(&format!("}}:{CHANNEL}"))?.parse().ok()
}

/// The names as Lua expressions. `whole`: there is only one partition, so that they are known beforehand; else a script's
/// `PREFIX` is that of its partition.
pub(super) fn lua_names(whole: bool) -> Vec<(&'static str, String)> {
    let below = |name: &str| {
        if whole {
            format!("'{}'", String::from_utf8_lossy(&Keys::of(0).key(name, &[])))
        } else {
            format!("PREFIX .. '{name}'")
        }
    };
    let meta = if whole { below(META) } else { "KEYS[1]".into() };
    vec![
        ("META", meta),
        ("TASK", below(TASK)),
        ("SPEC", below(SPEC)),
        ("OUTCOME", below(OUTCOME)),
        ("AHEAD", below(AHEAD)),
        ("OUTPUT", below(OUTPUT)),
        ("HELD", below(HELD)),
        ("READY", below(READY)),
        ("TURNS", below(TURNS)),
        ("DELAYED", below(DELAYED)),
        ("TIMER", below(TIMER)),
        ("OLD", below(OLD)),
        ("RANGES", below(RANGES)),
        ("BATCH", below(BATCH)),
        ("LOG", below(LOG)),
        ("CALLS", below(CALLS)),
        ("BATCHES", below(BATCHES)),
        ("PARKED", below(PARKED)),
        ("CLAIM", below(CLAIM)),
        ("LEAD", below(LEAD)),
        ("IDEMPOTENCY", below(IDEMPOTENCY)),
        ("SLOT", below(SLOT)),
        ("CHANNEL", below(CHANNEL)),
        ("ABSENT", below(ABSENT)),
    ]
}

/// What a script begins with that knows its partition from `KEYS[1]` alone, which is [`Keys::meta`].
pub(super) fn lua_prefix() -> String {
    let end = META.len() + 1;
    format!("local PREFIX = string.sub(KEYS[1], 1, -{end})\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_names_its_partition() {
        let channel = String::from_utf8(Keys::of(31).channel()).unwrap();
        assert_eq!(channel, "{td:31}:ev");
        assert_eq!(partition_of_channel(&channel), Some(31));
        assert_eq!(partition_of_channel("{td:31}:m"), None);
        assert_eq!(partition_of_channel(""), None);
    }
}
