//! Whether what stands in a partition agrees with itself.

use std::collections::{BTreeMap, HashMap};

use ::redis::{FromRedisValue, aio::MultiplexedConnection, cmd};
use tidings::{
    clock::Timestamp,
    model::{Event, IdRange, Status, Task, TaskId, WorkerId},
    store::record,
};

use crate::support::redis::RedisServer;

/// Compares the records of a partition with its queue, timers, counters and logs, and answers how many there are.
pub(super) async fn assert_consistent(server: &RedisServer, partition: u16) -> usize {
    let mut shelf = Shelf {
        prefix: format!("{{td:{partition}}}:").into_bytes(),
        connection: server.connect().await.unwrap(),
    };
    let tasks = shelf.tasks().await;
    let count = |status| tasks.values().filter(|it| it.status() == status).count();
    let meta: HashMap<String, Vec<u8>> = shelf.ask("HGETALL", b"m", &[]).await;
    for (field, status) in [("q", Status::Queued), ("p", Status::Processing)] {
        let stored = meta
            .get(field)
            .map_or("0".into(), |it| String::from_utf8_lossy(it));
        assert_eq!(stored, count(status).to_string(), "count of {status:?}");
    }
    shelf.assert_places(&tasks).await;
    shelf.assert_turns().await;
    shelf.assert_batches(&tasks).await;
    tasks.len()
}

struct Shelf {
    prefix: Vec<u8>,
    connection: MultiplexedConnection,
}

impl Shelf {
    async fn ask<T: FromRedisValue>(&mut self, name: &str, key: &[u8], args: &[&str]) -> T {
        let mut ask = cmd(name);
        ask.arg([&self.prefix, key].concat()).arg(args);
        ask.query_async(&mut self.connection).await.unwrap()
    }

    /// What follows in the keys that begin so.
    async fn names(&mut self, begin: &str) -> Vec<Vec<u8>> {
        let keys: Vec<Vec<u8>> = self.ask("KEYS", format!("{begin}*").as_bytes(), &[]).await;
        let skip = self.prefix.len() + begin.len();
        keys.into_iter().map(|key| key[skip..].to_vec()).collect()
    }

    async fn tasks(&mut self) -> BTreeMap<TaskId, Task> {
        let mut tasks = BTreeMap::new();
        for name in self.names("t:").await {
            let bytes: Vec<u8> = self.ask("GET", &[b"t:", &name[..]].concat(), &[]).await;
            let id = TaskId::from_bytes(name.try_into().unwrap());
            tasks.insert(id, record::decode(id, &bytes).unwrap());
        }
        for (id, lease) in self.leases().await {
            let task = tasks.get_mut(&id).expect("a lease is of a task");
            let worker = WorkerId(number(&lease, 24));
            let since = Timestamp(number(&lease, 16).cast_signed());
            task.apply(Event::Acquired { worker }, since).unwrap();
            assert_eq!(task.revision(), number(&lease, 4), "revision of a lease");
        }
        tasks
    }

    async fn leases(&mut self) -> BTreeMap<TaskId, Vec<u8>> {
        let leases: HashMap<Vec<u8>, Vec<u8>> = self.ask("HGETALL", b"held", &[]).await;
        let leases = leases.into_iter();
        let leases = leases.map(|(id, lease)| (TaskId::from_bytes(id.try_into().unwrap()), lease));
        leases.collect()
    }

    /// Every queued task has one place, every task that is not terminal a timer for its deadline, and every lease one for
    /// its end.
    async fn assert_places(&mut self, tasks: &BTreeMap<TaskId, Task>) {
        let mut placed: Vec<Vec<u8>> = self.ask("ZRANGE", b"d", &["0", "-1"]).await;
        for list in self.names("q:").await {
            let part: Vec<Vec<u8>> = self
                .ask("LRANGE", &[b"q:", &list[..]].concat(), &["0", "-1"])
                .await;
            placed.extend(part);
        }
        let is_queued = |task: &&Task| task.status() == Status::Queued;
        assert_eq!(
            sorted(placed),
            ids(tasks.values().filter(is_queued)),
            "queue"
        );
        let timers: Vec<(Vec<u8>, i64)> = self
            .ask("ZRANGE", b"timer", &["0", "-1", "WITHSCORES"])
            .await;
        for task in tasks.values().filter(|task| !task.status().is_terminal()) {
            let deadline = task.spec.deadline.0;
            let times = |(timer, at): &(Vec<u8>, i64)| {
                timer[0] == b'd' && *at == deadline && range_of(timer).contains(task.id)
            };
            assert!(timers.iter().any(times), "the deadline of {}", task.id);
        }
        for (id, lease) in self.leases().await {
            let expiry = number(&lease, 32).cast_signed();
            let times = |(timer, at): &(Vec<u8>, i64)| {
                let mut ids = timer[1 + 8..].chunks_exact(16);
                timer[0] == b'l' && *at == expiry && ids.any(|it| it == id.as_bytes())
            };
            assert!(timers.iter().any(times), "the lease of {id}");
        }
    }

    /// The batches that take turns are those with a list, each once, but for those that are parked.
    async fn assert_turns(&mut self) {
        let parked: Vec<Vec<u8>> = self.ask("SMEMBERS", b"pb", &[]).await;
        let listed = self.names("q:").await.into_iter();
        let mut taking = Vec::new();
        for priority in ["1", "2", "3"] {
            let key = format!("r:{priority}");
            let batches: Vec<Vec<u8>> = self.ask("LRANGE", key.as_bytes(), &["0", "-1"]).await;
            let names = batches.into_iter();
            taking.extend(names.map(|batch| [priority.as_bytes(), &batch].concat()));
        }
        let listed = listed.filter(|name| !parked.iter().any(|batch| *batch == name[1..]));
        assert_eq!(sorted(taking), sorted(listed.collect()), "turns");
    }

    /// A batch's counters are those of its tasks, and its log ends with what each has come to.
    async fn assert_batches(&mut self, tasks: &BTreeMap<TaskId, Task>) {
        let names = self.names("b:").await;
        let mut in_batches = 0;
        for name in names {
            let members: Vec<&Task> = tasks
                .values()
                .filter(|task| task.batch_id.as_bytes()[..] == name[..])
                .collect();
            in_batches += members.len();
            let counts: HashMap<String, Vec<u8>> =
                self.ask("HGETALL", &[b"b:", &name[..]].concat(), &[]).await;
            for (field, status) in [
                ("q", Status::Queued),
                ("p", Status::Processing),
                ("c", Status::Completed),
            ] {
                let count = members.iter().filter(|it| it.status() == status).count();
                let stored = counts
                    .get(field)
                    .map_or("0".into(), |it| String::from_utf8_lossy(it));
                assert_eq!(stored, count.to_string(), "{status:?} of a batch");
            }
            let log: Vec<u8> = self.ask("GET", &[b"bl:", &name[..]].concat(), &[]).await;
            let mut reached: HashMap<&[u8], u32> = HashMap::new();
            for entry in log.chunks_exact(24) {
                let revision = u32::from_be_bytes(entry[16..20].try_into().unwrap());
                let before = reached.insert(&entry[..16], revision).unwrap_or(0);
                assert_eq!(
                    revision,
                    before + 1,
                    "every revision is told once, in order"
                );
            }
            for task in members {
                let told = reached.get(&task.id.as_bytes()[..]).copied();
                assert_eq!(told.map(u64::from), Some(task.revision()), "log");
            }
        }
        assert_eq!(in_batches, tasks.len(), "every task is of a batch");
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The ids under a timer of a deadline.
fn range_of(timer: &[u8]) -> IdRange {
    IdRange {
        first: TaskId::from_bytes(timer[1..17].try_into().unwrap()),
        count: u32::from_be_bytes(timer[17..21].try_into().unwrap()),
    }
}

fn sorted(mut ids: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    ids.sort_unstable();
    ids
}

fn ids<'a>(tasks: impl Iterator<Item = &'a Task>) -> Vec<Vec<u8>> {
    sorted(tasks.map(|task| task.id.as_bytes().to_vec()).collect())
}
