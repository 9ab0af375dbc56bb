//! The Redis store, on servers that go with the test.

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;
use tidings::store::{
    Store,
    redis::{Config, RedisStore},
};

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
    _running: S,
}

#[async_trait]
impl<S: Debug + Send + Sync + 'static> Host for Servers<S> {
    async fn open(&self) -> Arc<dyn Store> {
        let config = Config {
            partitions: Some(self.partitions),
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
    let servers = Servers {
        url,
        partitions,
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
