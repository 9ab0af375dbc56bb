//! The Redis store, on servers that go with the test.

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;
use tidings::store::{
    Capacity, Store,
    redis::{Config, RedisStore},
};

use super::SMALL;
use crate::{
    conformance::harness::{Harness, Host},
    support::{
        cluster::Cluster,
        redis::{RedisServer, config},
        sentinel::SentinelSet,
    },
};

#[derive(Debug)]
struct Servers<S> {
    url: String,
    partitions: u16,
    capacity: Capacity,
    _running: S,
}

#[async_trait]
impl<S: Debug + Send + Sync + 'static> Host for Servers<S> {
    async fn open(&self) -> Arc<dyn Store> {
        let config = Config {
            partitions: Some(self.partitions),
            capacity: self.capacity,
            ..config(&self.url)
        };
        Arc::new(
            RedisStore::connect(config)
                .await
                .expect("the server will do"),
        )
    }

    async fn peer(&self, _first: &Arc<dyn Store>) -> Arc<dyn Store> {
        self.open().await
    }
}

async fn on<S: Debug + Send + Sync + 'static>(running: S, url: String, partitions: u16) -> Harness {
    with(running, url, partitions, Capacity::default()).await
}

/// As [`on`], where every partition's share is [`SMALL`].
async fn small_on<S>(running: S, url: String, partitions: u16) -> Harness
where
    S: Debug + Send + Sync + 'static,
{
    // The least that is that much when it is rounded up.
    let whole = |share| (share - 1) * u64::from(partitions) + 1;
    let capacity = Capacity {
        tasks: whole(SMALL.tasks),
        bytes: whole(SMALL.bytes),
    };
    with(running, url, partitions, capacity).await
}

async fn with<S>(running: S, url: String, partitions: u16, capacity: Capacity) -> Harness
where
    S: Debug + Send + Sync + 'static,
{
    let servers = Servers {
        url,
        partitions,
        capacity,
        _running: running,
    };
    Harness::start(servers, None).await
}

/// A fresh Redis with one partition.
pub(in crate::conformance) async fn redis() -> Harness {
    let server = RedisServer::start(&[]).await;
    let url = server.url();
    on(server, url, 1).await
}

/// A fresh Redis with four partitions.
pub(in crate::conformance) async fn redis_in_four() -> Harness {
    let server = RedisServer::start(&[]).await;
    let url = server.url();
    on(server, url, 4).await
}

/// The primary that fresh sentinels know.
pub(in crate::conformance) async fn sentinel() -> Harness {
    let set = SentinelSet::start(&[]).await;
    let url = set.url();
    on(set, url, 1).await
}

/// A fresh cluster with eight partitions.
pub(in crate::conformance) async fn cluster() -> Harness {
    let cluster = Cluster::start(&[]).await;
    let url = cluster.url();
    on(cluster, url, 8).await
}

/// A fresh Redis that is soon full.
pub(in crate::conformance) async fn small_redis() -> Harness {
    let server = RedisServer::start(&[]).await;
    let url = server.url();
    small_on(server, url, 1).await
}

/// A fresh Redis with four partitions that are soon full.
pub(in crate::conformance) async fn small_redis_in_four() -> Harness {
    let server = RedisServer::start(&[]).await;
    let url = server.url();
    small_on(server, url, 4).await
}

/// A fresh cluster with eight partitions that are soon full.
pub(in crate::conformance) async fn small_cluster() -> Harness {
    let cluster = Cluster::start(&[]).await;
    let url = cluster.url();
    small_on(cluster, url, 8).await
}
