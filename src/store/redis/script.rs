//! The scripts: their sources, what Rust tells them, and their hashes.
//!
//! A script's numbers are those of the Rust enums and of the record's layout; they are put in when it is loaded.

use std::{collections::HashMap, time::Duration};

use redis::Script as Source;

use super::{echo, fields, held, keys, message, pack, reply, text};
use crate::{
    model::{Priority, Status, funds},
    store::{
        AGING_INTERVAL, IDEMPOTENCY_WINDOW, LAST_TURN, OUTPUT_MAX, OUTPUT_PAGE,
        TOMBSTONE_RETENTION, record,
    },
};

/// Lua's `unpack` gives up near 8,000 values. Even, so that pairs stay together.
const CHUNK: usize = 4_000;
/// Due tasks that one call moves to the ready lists.
const PROMOTE_MAX: usize = 1_000;
/// Tasks popped at a time: bounds by how much a reply of large tasks may pass [`REPLY_MAX`].
const POP_MAX: usize = 64;
/// Stale ids that one call may step over.
const LOOK_MAX: usize = 2_000;
/// Bytes of records after which a call hands out no more.
const REPLY_MAX: usize = 4 << 20;
/// Timers that one call looks at.
const TIMERS_MAX: usize = 512;
/// Tasks under those after which it looks at no more: some ms of the server's time.
const OVERDUE_LOOK_MAX: usize = 10_000;
/// Tasks past their retention after which a call removes no more: some ms of the server's time.
const OLD_MAX: usize = 4_000;
/// Id ranges of batches that one call forgets.
const RANGES_MAX: usize = 4_000;
/// Groups of tasks past their retention that one call looks at.
const OLD_GROUPS: usize = 512;
/// Batches of one call whose logs' ends it answers: each costs a few µs, whether anybody watches it or not.
const PIECES_MAX: usize = 16;
/// Output outlives the longest attempt by this much at most, where nobody removed it.
const OUTPUT_TTL: Duration = Duration::from_secs(25 * 3600);
/// The scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Submit,
    Acquire,
    Commit,
    Renew,
    Extend,
    Output,
    Overdue,
    Log,
    Amend,
    Sweep,
    Stats,
    Epoch,
    Ready,
    Swap,
    Bid,
    Forget,
}

impl Script {
    const ALL: [Script; 16] = [
        Script::Submit,
        Script::Acquire,
        Script::Commit,
        Script::Renew,
        Script::Extend,
        Script::Output,
        Script::Overdue,
        Script::Log,
        Script::Amend,
        Script::Sweep,
        Script::Stats,
        Script::Epoch,
        Script::Ready,
        Script::Swap,
        Script::Bid,
        Script::Forget,
    ];

    fn body(self) -> &'static str {
        match self {
            Script::Submit => include_str!("scripts/submit.lua"),
            Script::Acquire => include_str!("scripts/acquire.lua"),
            Script::Commit => include_str!("scripts/commit.lua"),
            Script::Renew => include_str!("scripts/renew.lua"),
            Script::Extend => include_str!("scripts/extend.lua"),
            Script::Output => include_str!("scripts/output.lua"),
            Script::Overdue => include_str!("scripts/overdue.lua"),
            Script::Log => include_str!("scripts/log.lua"),
            Script::Amend => include_str!("scripts/amend.lua"),
            Script::Sweep => include_str!("scripts/sweep.lua"),
            Script::Stats => include_str!("scripts/stats.lua"),
            Script::Epoch => include_str!("scripts/epoch.lua"),
            Script::Ready => include_str!("scripts/ready.lua"),
            Script::Swap => include_str!("scripts/swap.lua"),
            Script::Bid => include_str!("scripts/bid.lua"),
            Script::Forget => include_str!("scripts/forget.lua"),
        }
    }

    /// A full Redis takes no new work and no output, but what it holds must still be able to drain.
    fn needs_room(self) -> bool {
        matches!(self, Script::Submit | Script::Extend)
    }
}

/// Where scripts run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home {
    /// The server knows script flags and sharded channels (Redis 7.0 and newer).
    pub(super) modern: bool,
    /// It is a node of a cluster.
    pub(super) cluster: bool,
    /// There is only one partition.
    pub(super) whole: bool,
}

/// All scripts, ready to load.
#[derive(Debug)]
pub(super) struct Scripts(Vec<(String, Source)>);

impl Scripts {
    /// The scripts as they run there.
    pub(super) fn new(home: Home) -> Self {
        let values = values(home);
        let sources = Script::ALL.into_iter().map(|script| {
            let text = text_of(script, home, &values);
            let source = Source::new(&text);
            (text, source)
        });
        Scripts(sources.collect())
    }

    pub(super) fn text(&self, script: Script) -> &str {
        &self.0[script as usize].0
    }

    pub(super) fn hash(&self, script: Script) -> &str {
        self.0[script as usize].1.get_hash()
    }
}

/// On a node of a cluster: fails while the partition's slot is on its way to another node, since then a key that is
/// missing may be over there. Nothing has been written yet at this point.
const GUARD: &str = "redis.call('EXISTS', ABSENT)\n";

fn text_of(script: Script, home: Home, values: &HashMap<&str, String>) -> String {
    let mut body = text::with_shared(script.body());
    if home.cluster {
        body.insert_str(0, GUARD);
    }
    body = text::fill_in(&body, values);
    if text::words(&body).any(|word| word == "PREFIX") {
        body.insert_str(0, &keys::lua_prefix());
    }
    if home.modern && !script.needs_room() {
        body.insert_str(0, "#!lua flags=allow-oom\n");
    }
    body
}

/// What stands for the names that scripts use.
fn values(home: Home) -> HashMap<&'static str, String> {
    let publish = keys::publish(home.modern && home.cluster);
    let zeros = |length: usize| format!("'{}'", "\\0".repeat(length));
    let mut values = HashMap::from([
        ("PUBLISH", format!("'{publish}'")),
        ("LEASE_PAD", zeros(held::PAD_LEN)),
        ("NO_CALL", zeros(echo::NAME_LEN)),
    ]);
    values.extend(keys::lua_names(home.whole));
    values.extend(fields::lua_names());
    let numbers = limits().into_iter().chain(numbers());
    values.extend(numbers.map(|(name, number)| (name, number.to_string())));
    values
}

fn limits() -> [(&'static str, u64); 19] {
    [
        ("PIECES_MAX", PIECES_MAX as u64),
        ("CHUNK", CHUNK as u64),
        ("PROMOTE_MAX", PROMOTE_MAX as u64),
        ("POP_MAX", POP_MAX as u64),
        ("LOOK_MAX", LOOK_MAX as u64),
        ("REPLY_MAX", REPLY_MAX as u64),
        ("RANGES_MAX", RANGES_MAX as u64),
        ("TIMERS_MAX", TIMERS_MAX as u64),
        ("OVERDUE_LOOK_MAX", OVERDUE_LOOK_MAX as u64),
        ("OLD_MAX", OLD_MAX as u64),
        ("OLD_GROUPS", OLD_GROUPS as u64),
        ("AGING", AGING_INTERVAL),
        ("LAST_TURN", LAST_TURN),
        ("TOMBSTONE_MS", TOMBSTONE_RETENTION.as_millis() as u64),
        ("IDEMPOTENCY_MS", IDEMPOTENCY_WINDOW.as_millis() as u64),
        ("OUTPUT_MAX", OUTPUT_MAX as u64),
        ("OUTPUT_PAGE", OUTPUT_PAGE as u64),
        ("OUTPUT_MS", OUTPUT_TTL.as_millis() as u64),
        ("MAX_BUDGET", funds::MAX_BUDGET),
    ]
}

/// Numbers of enums and places in layouts.
fn numbers() -> Vec<(&'static str, u64)> {
    vec![
        ("QUEUED", Status::Queued as u64),
        ("PROCESSING", Status::Processing as u64),
        ("HIGH", Priority::High as u64),
        ("NORMAL", Priority::Normal as u64),
        ("LOW", Priority::Low as u64),
        ("ID_LEN", 16),
        ("RANGE_LEN", reply::RANGE_LEN as u64),
        ("HEAD_LEN", record::HEAD_LEN as u64),
        ("HEAD_END", record::HEAD_LEN as u64 - 1),
        ("LEASE_LEN", held::LEASE_LEN as u64),
        ("LEASE_WORKER_AT", held::WORKER_AT as u64),
        ("LEASE_EXPIRY_AT", held::EXPIRY_AT as u64),
        ("LEASE_PROGRESS_AT", held::PROGRESS_AT as u64),
        ("LEASE_SENT_AT", held::SENT_AT as u64),
        ("FENCE_LEN", record::FENCE_LEN as u64),
        ("FENCE_END", record::FENCE_LEN as u64 - 1),
        ("TRANSITION_LEN", record::TRANSITION_LEN as u64),
        (
            "RECORD_MIN",
            (record::HEAD_LEN + record::TRANSITION_LEN) as u64,
        ),
        // Places in the head, as `record::Head` has them.
        ("STATUS_AT", 12),
        ("COST_AT", 56),
        ("PRIORITY_AT", 15),
        ("DEADLINE_AT", 32),
        ("BATCH_AT", 40),
        ("WEIGHT_AT", 60),
        ("LOG_ENTRY_LEN", message::LOG_ENTRY_LEN as u64),
        ("MOVED", u64::from(message::MOVED)),
        ("NOTED", u64::from(message::NOTED)),
        ("AMENDED", u64::from(message::AMENDED)),
        ("PLACE_HEAD", pack::Place::Head as u64),
        ("GUARD_LEASE_EXPIRED", u64::from(pack::GUARD_LEASE_EXPIRED)),
        ("STREAMED", u64::from(pack::STREAMED)),
        ("WENT_AHEAD", u64::from(pack::WENT_AHEAD)),
        ("OLD_WITH_PARTS", u64::from(pack::OLD_WITH_PARTS)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOMES: [Home; 4] = [
        Home::new(true, false, true),
        Home::new(false, false, false),
        Home::new(true, true, true),
        Home::new(true, true, false),
    ];

    impl Home {
        const fn new(modern: bool, cluster: bool, whole: bool) -> Self {
            Home {
                modern,
                cluster,
                whole,
            }
        }
    }

    #[test]
    fn only_work_and_output_are_refused_when_the_server_is_full() {
        for home in HOMES {
            let scripts = Scripts::new(home);
            for script in Script::ALL {
                let drains = scripts.text(script).starts_with("#!lua flags=allow-oom\n");
                let is_taken = ![Script::Submit, Script::Extend].contains(&script);
                assert_eq!(drains, is_taken && home.modern, "{script:?}");
            }
        }
    }

    #[test]
    fn every_name_that_stands_for_a_value_has_one() {
        // Those of Lua and Redis, and the one that a script makes by itself.
        let others = ["KEYS", "ARGV", "LPUSH", "RPUSH", "PREFIX"];
        for home in HOMES {
            for script in Script::ALL {
                let scripts = Scripts::new(home);
                let is_name = |word: &&str| {
                    !word
                        .chars()
                        .any(|it| it.is_ascii_lowercase() || it == '_' && word.len() == 1)
                };
                let mut left = text::words(scripts.text(script)).filter(is_name);
                assert_eq!(left.find(|it| !others.contains(it)), None, "{script:?}");
            }
        }
    }

    #[test]
    fn in_a_cluster_a_script_looks_at_its_slot_before_all_else() {
        for home in HOMES {
            let scripts = Scripts::new(home);
            for script in Script::ALL {
                let text = scripts.text(script);
                let first = text.lines().find(|line| line.contains("redis.call"));
                let guard =
                    |it: &str| it.starts_with("redis.call('EXISTS', ") && it.ends_with("-')");
                let guards = first.is_some_and(guard);
                assert_eq!(guards, home.cluster, "{script:?}");
            }
        }
    }

    #[test]
    fn a_script_says_what_it_takes_and_returns() {
        for script in Script::ALL {
            let body = script.body();
            assert!(body.contains("-- KEYS[1]"), "{script:?}");
            assert!(body.contains("-- Returns"), "{script:?}");
        }
    }
}
