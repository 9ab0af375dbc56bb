//! The Redis store, on a server that goes with the test.

use std::sync::Arc;

use async_trait::async_trait;
use tidings::store::{
    Store,
    redis::{Config, RedisStore},
};

use crate::{
    conformance::harness::{Harness, Host},
    support::redis::RedisServer,
};

#[derive(Debug)]
struct Server {
    server: RedisServer,
    partitions: u16,
}

#[async_trait]
impl Host for Server {
    async fn open(&self) -> Arc<dyn Store> {
        let config = Config {
            partitions: self.partitions,
            ..Config::new(self.server.url())
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

async fn on_a_server(partitions: u16) -> Harness {
    let server = RedisServer::start(&[]).await;
    Harness::start(Server { server, partitions }, None).await
}

/// A fresh Redis with one partition.
pub(in crate::conformance) async fn redis() -> Harness {
    on_a_server(1).await
}

/// A fresh Redis with four partitions.
pub(in crate::conformance) async fn redis_in_four() -> Harness {
    on_a_server(4).await
}
