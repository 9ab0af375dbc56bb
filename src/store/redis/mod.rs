//! The store in Redis: one packed record a task, one script a step, one connection for commands a server.
//!
//! `keys.rs` is the data model, `scripts/` the steps. Transitions are decided in Rust; the only one a script makes
//! by itself is that of a task being acquired. `router.rs` finds the server of a partition, `link.rs` keeps the
//! connection to it, `ledger.rs` finds out when it came back with less than it had, `feed.rs` and `follow.rs` hear
//! what it announces.

mod absence;
mod acquire;
pub mod address;
mod apart;
mod batch;
#[doc(hidden)]
pub mod bench;
mod clock;
mod cluster;
mod commit;
mod dial;
mod durable;
mod echo;
mod error;
mod feed;
mod fields;
mod follow;
mod held;
mod keys;
mod lead;
mod lease;
mod ledger;
mod link;
mod live;
mod lookup;
mod message;
mod open;
mod output;
mod pack;
mod quorum;
mod read;
mod reply;
mod router;
mod script;
mod sentinel;
mod server;
mod slot;
mod submit;
mod text;
mod view;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio_util::task::AbortOnDropHandle;

use self::{
    address::{Address, Topology},
    dial::{Common, Target},
    feed::Feed,
    ledger::Ledger,
    router::Router,
    sentinel::Sentinels,
};
use super::{
    Accepted, Acquired, Amendment, Bid, Capacity, Change, Commit, Cursor, Durability, Error,
    Extension, Info, Lead, Listing, Log, Lookup, Output, Prompts, Recent, Renewal, Slot, Stats,
    Store, Submission, Swap, Verdict,
};
use crate::{
    clock::Timestamp,
    model::{Batch, BatchId, CacheKey, Task, TaskId, WorkerId, id::MAX_PARTITIONS},
};

pub use durable::Wait;
pub use server::ConnectError;

/// Partitions of a cluster where none are configured: enough to spread over many nodes evenly.
const CLUSTER_PARTITIONS: u16 = 64;
/// Where the Redis is and how it is used.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it is.
    pub address: Address,
    /// Over how many partitions ids are spread; fixed once the store holds data. None leaves it to what is there: one
    /// for a single Redis, which is one thread and keeps the strictest order so, and 64 for a cluster.
    pub partitions: Option<u16>,
    /// Start even if the server may evict accepted tasks.
    pub allow_eviction: bool,
    /// What a submit waits for before it is answered, besides the server itself.
    pub wait: Option<Wait>,
    /// The most that may be unfinished. Each partition takes its share of it, so that one may be full before others.
    pub capacity: Capacity,
}

impl Config {
    /// The usual number of partitions, no eviction, no waiting, the usual capacity.
    pub fn new(address: Address) -> Self {
        Config {
            address,
            partitions: None,
            allow_eviction: false,
            wait: None,
            capacity: Capacity::default(),
        }
    }

    /// Over how many partitions ids will be spread.
    pub fn partitions(&self) -> u16 {
        let usual = if self.address.is_cluster() {
            CLUSTER_PARTITIONS
        } else {
            1
        };
        self.partitions.unwrap_or(usual).clamp(1, MAX_PARTITIONS)
    }
}

/// The store in Redis.
#[derive(Debug)]
pub struct RedisStore {
    durability: Durability,
    partitions: u16,
    capacity: Capacity,
    router: Arc<Router>,
    feed: Arc<Feed>,
    /// From which partition the next round starts.
    turn: AtomicU16,
    /// Acquires whose answer never came, by worker and partition: what they were given is asked for first.
    unanswered: Mutex<HashMap<(WorkerId, u16), u64>>,
    absences: absence::Absences,
    /// How far the sweep of each partition's batches is.
    swept: Vec<AtomicU64>,
    _loops: [AbortOnDropHandle<()>; 2],
}

impl RedisStore {
    /// Connects, and checks that the server and the data in it will do.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(config: Config) -> Result<Self, ConnectError> {
        // Another part of the process may have installed one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let partitions = config.partitions();
        let common = Arc::new(Common {
            partitions,
            allow_eviction: config.allow_eviction,
            ledger: Ledger::new(partitions),
            clock: clock::StoreClock::default(),
            cluster: config.address.is_cluster(),
            wait: config.wait,
        });
        let (router, durability) = match config.address.topology {
            Topology::Single(info) => open::single(common.clone(), Target::Fixed(info)).await,
            Topology::Sentinel {
                sentinels,
                master,
                login,
            } => {
                let sentinels = Arc::new(Sentinels::new(sentinels, master, login));
                open::single(common.clone(), Target::Sentinels(sentinels)).await
            }
            Topology::Cluster { seeds } => open::many(common.clone(), seeds).await,
        }?;
        let router = Arc::new(router);
        let feed = Arc::new(Feed::new(common));
        let loops = [
            tokio::spawn(Arc::clone(&feed).subscribe(router.clone())),
            tokio::spawn(Arc::clone(&feed).probe(router.clone())),
        ];
        let loops = loops.map(AbortOnDropHandle::new);
        feed.stands().await?;
        Ok(RedisStore {
            durability,
            partitions,
            capacity: config.capacity,
            router,
            feed,
            turn: AtomicU16::new(0),
            unanswered: Mutex::default(),
            absences: absence::Absences::default(),
            swept: (0..partitions).map(|_| AtomicU64::new(0)).collect(),
            _loops: loops,
        })
    }

    /// The partition of an id, if there is such a one.
    fn partition_of(&self, partition: u16) -> Option<u16> {
        (partition < self.partitions).then_some(partition)
    }

    /// Takes note of what an answer says besides what was asked: the time, and that an announcement was made.
    fn hear(&self, partition: u16, now: i64, seq: u64) {
        self.router.common.clock.hear(now);
        self.router.common.ledger.saw(partition, seq);
    }
}

fn is_none<T>(read: &Result<Option<T>, Error>) -> bool {
    matches!(read, Ok(None))
}

#[async_trait]
impl Store for RedisStore {
    fn info(&self) -> Info {
        Info {
            name: "redis",
            durability: self.durability,
            partitions: self.partitions,
            epoch: self.router.common.ledger.highest_epoch(),
        }
    }

    fn now(&self) -> Timestamp {
        self.router.common.clock.now()
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.feed.listen()
    }

    fn recent(&self) -> Option<&Recent> {
        Some(&self.feed.recent)
    }

    fn prompts(&self) -> Option<&Prompts> {
        // Of more the one to ask would not be known, and each has numbers of its own.
        (self.partitions == 1).then_some(&self.feed.prompts)
    }

    async fn submit(&self, submission: Submission) -> Result<Accepted, Error> {
        let submit = self.accept(submission);
        let is_nothing = |it: &Result<_, _>| matches!(it, Err(Error::NoSuchBatch(_)));
        self.router.read_surely(submit, is_nothing).await
    }

    async fn acquire(
        &self,
        worker: WorkerId,
        max: usize,
        lease: Duration,
    ) -> Result<Acquired, Error> {
        self.acquire_up_to(worker, max, lease).await
    }

    async fn commit(&self, commits: Vec<Commit>) -> Result<Vec<Verdict>, Error> {
        self.commit_and_keep(commits).await
    }

    async fn renew(&self, renewals: &[Renewal], lease: Duration) -> Result<Vec<bool>, Error> {
        let renewed = self.renew_all(renewals, lease).await;
        // Whatever came of it: it may have been carried out.
        self.feed.recent.progressed(renewals);
        renewed
    }

    async fn extend(&self, extensions: &[Extension]) -> Result<Vec<bool>, Error> {
        self.extend_all(extensions).await
    }

    async fn output(&self, id: TaskId, from: u64) -> Result<Option<Output>, Error> {
        self.read_output(id, from).await
    }

    async fn overdue(&self, max: usize) -> Result<Vec<Task>, Error> {
        self.overdue_up_to(max).await
    }

    async fn tasks(&self, ids: &[TaskId]) -> Result<Vec<Lookup>, Error> {
        let is_nothing = |it: &Result<Vec<Lookup>, _>| {
            let missing = |it: &Lookup| matches!(it, Lookup::Missing);
            it.as_ref().is_ok_and(|found| found.iter().any(missing))
        };
        self.router
            .read_surely(self.lookup_all(ids), is_nothing)
            .await
    }

    async fn batch(&self, id: BatchId) -> Result<Option<Batch>, Error> {
        Ok(self.log(id, 0, 0).await?.map(|log| log.batch))
    }

    async fn log(&self, id: BatchId, from: u64, max: usize) -> Result<Option<Log>, Error> {
        let read = self.read_log(id, from, max);
        self.router.read_surely(read, is_none).await
    }

    async fn list(
        &self,
        batch: Option<BatchId>,
        cursor: Option<Cursor>,
        max: usize,
    ) -> Result<Listing, Error> {
        self.list_ids(batch, cursor, max).await
    }

    async fn amend(&self, id: BatchId, amendment: Amendment) -> Result<Option<Batch>, Error> {
        let amend = self.amend_batch(id, amendment);
        self.router.read_surely(amend, is_none).await
    }

    async fn bid(&self, bid: Bid) -> Result<Lead, Error> {
        self.place_bid(bid).await
    }

    async fn forget(&self, keys: &[CacheKey]) -> Result<usize, Error> {
        self.forget_leads(keys).await
    }

    async fn sweep(&self) -> Result<usize, Error> {
        self.forget_expired().await
    }

    async fn swap(&self, swap: Swap) -> Result<Slot, Error> {
        self.swap_slot(swap).await
    }

    async fn stats(&self) -> Result<Stats, Error> {
        self.count().await
    }
}
