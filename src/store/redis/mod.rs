//! The store in Redis: one packed record a task, one script a step, one connection a process.
//!
//! `keys.rs` is the data model, `scripts/` the steps. Transitions are decided in Rust; the only one a script makes
//! by itself is that of a task being acquired.

mod batch;
mod commit;
mod error;
mod feed;
mod keys;
mod lease;
mod link;
mod message;
mod read;
mod reply;
mod script;
mod server;
mod submit;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use redis::{
    Client, ConnectionInfo, IntoConnectionInfo, aio::MultiplexedConnection, io::tcp::TcpSettings,
};
use tokio::sync::broadcast;
use tokio_util::task::AbortOnDropHandle;

use self::{feed::Feed, link::Link, script::Scripts};
use super::{
    Accepted, Acquired, Amendment, Change, Commit, Cursor, Error, Info, Listing, Log, Lookup,
    Renewal, Stats, Store, Submission, Verdict,
};
use crate::{
    clock::Timestamp,
    model::{Batch, BatchId, Task, TaskId, WorkerId, id::MAX_PARTITIONS},
};

pub use server::ConnectError;

/// Unacknowledged bytes older than this end a connection.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the Redis is and how it is used.
#[derive(Clone)]
pub struct Config {
    /// `redis://` or `rediss://`; may hold a password.
    pub url: String,
    /// Over how many partitions ids are spread; fixed once the store holds data. One Redis is one thread, and one
    /// partition keeps the strictest order: more are for a cluster.
    pub partitions: u16,
    /// Start even if the server may evict accepted tasks.
    pub allow_eviction: bool,
}

impl Config {
    /// One partition, no eviction.
    pub fn new(url: impl Into<String>) -> Self {
        Config {
            url: url.into(),
            partitions: 1,
            allow_eviction: false,
        }
    }

    /// The URL without its password.
    pub fn redacted(&self) -> String {
        let Some(mut url) = redis::parse_redis_url(&self.url) else {
            return "a malformed Redis URL".into();
        };
        if url.password().is_some() && url.set_password(Some("***")).is_err() {
            return "a Redis URL with a password".into();
        }
        url.set_query(None);
        url.into()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("url", &self.redacted())
            .field("partitions", &self.partitions)
            .field("allow_eviction", &self.allow_eviction)
            .finish()
    }
}

/// The store in Redis.
#[derive(Debug)]
pub struct RedisStore {
    info: Info,
    link: Arc<Link>,
    feed: Arc<Feed>,
    /// From which partition the next round starts.
    turn: AtomicU16,
    /// Acquires whose answer never came, by worker and partition: what they were given is asked for first.
    unanswered: Mutex<HashMap<(WorkerId, u16), u64>>,
    /// How far the sweep of each partition's batches is.
    swept: Vec<AtomicU64>,
    _loops: [AbortOnDropHandle<()>; 3],
}

impl RedisStore {
    /// Connects, and checks that the server and the data in it will do.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(config: Config) -> Result<Self, ConnectError> {
        // Another part of the process may have installed one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let partitions = config.partitions.clamp(1, MAX_PARTITIONS);
        let client = client(&config.url)?;
        let (mut connection, server) =
            meet(&client, config.allow_eviction)
                .await
                .map_err(|error| {
                    // Said here alone: later on everybody knows which server is meant.
                    let address = client.get_connection_info().addr().to_string();
                    match error {
                        ConnectError::Store(source) => ConnectError::At { address, source },
                        other => other,
                    }
                })?;
        server::claim(&mut connection, partitions).await?;
        let info = Info {
            name: "redis",
            durability: server.durability,
            partitions,
            epoch: server::epoch(&mut connection, partitions).await?,
        };
        let scripts = Scripts::new(server.flags);
        let link = Arc::new(Link::new(client.clone(), connection, scripts, partitions));
        let feed = Arc::new(Feed::new(partitions));
        let loops = [
            tokio::spawn(Arc::clone(&link).keep()),
            tokio::spawn(Arc::clone(&feed).subscribe(client, Arc::clone(&link))),
            tokio::spawn(Arc::clone(&feed).probe(Arc::clone(&link))),
        ];
        let loops = loops.map(AbortOnDropHandle::new);
        feed.stands().await?;
        Ok(RedisStore {
            info,
            link,
            feed,
            turn: AtomicU16::new(0),
            unanswered: Mutex::default(),
            swept: (0..partitions).map(|_| AtomicU64::new(0)).collect(),
            _loops: loops,
        })
    }

    /// The partition of an id, if there is such a one.
    fn partition_of(&self, partition: u16) -> Option<u16> {
        (partition < self.info.partitions).then_some(partition)
    }
}

async fn meet(
    client: &Client,
    allow_eviction: bool,
) -> Result<(MultiplexedConnection, server::Server), ConnectError> {
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&link::settings())
        .await?;
    let server = server::inspect(&mut connection, allow_eviction).await?;
    Ok((connection, server))
}

fn client(url: &str) -> Result<Client, ConnectError> {
    let refused = |failure: redis::RedisError| ConnectError::Url(failure.to_string());
    let info: ConnectionInfo = url.into_connection_info().map_err(refused)?;
    let tcp = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(TCP_USER_TIMEOUT);
    Client::open(info.set_tcp_settings(tcp)).map_err(refused)
}

#[async_trait]
impl Store for RedisStore {
    fn info(&self) -> Info {
        self.info.clone()
    }

    fn now(&self) -> Timestamp {
        self.link.now()
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.feed.listen()
    }

    async fn submit(&self, submission: Submission) -> Result<Accepted, Error> {
        self.accept(submission).await
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
        self.commit_all(&commits).await
    }

    async fn renew(&self, renewals: &[Renewal], lease: Duration) -> Result<Vec<bool>, Error> {
        self.renew_all(renewals, lease).await
    }

    async fn overdue(&self, max: usize) -> Result<Vec<Task>, Error> {
        self.overdue_up_to(max).await
    }

    async fn tasks(&self, ids: &[TaskId]) -> Result<Vec<Lookup>, Error> {
        self.lookup_all(ids).await
    }

    async fn batch(&self, id: BatchId) -> Result<Option<Batch>, Error> {
        Ok(self.read_log(id, 0, 0).await?.map(|log| log.batch))
    }

    async fn log(&self, id: BatchId, from: u64, max: usize) -> Result<Option<Log>, Error> {
        self.read_log(id, from, max).await
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
        self.amend_batch(id, amendment).await
    }

    async fn sweep(&self) -> Result<usize, Error> {
        self.forget_expired().await
    }

    async fn stats(&self) -> Result<Stats, Error> {
        self.count().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for url in [
            "redis://user:s3cret@localhost:6379/1",
            "rediss://:s3cret@localhost",
            "redis//:s3cret@localhost",
        ] {
            let config = Config::new(url);
            assert!(
                !format!("{config:?} {}", config.redacted()).contains("s3cret"),
                "{url}"
            );
        }
    }
}
