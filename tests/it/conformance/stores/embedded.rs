//! The embedded store, in a directory that goes with the test.

use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;
use tidings::{
    clock::ManualClock,
    store::{
        Capacity, Store,
        embedded::{Config, EmbeddedStore},
    },
};

use super::SMALL;
use crate::conformance::harness::{Harness, Host, START};

#[derive(Debug)]
struct Directory {
    dir: TempDir,
    clock: Arc<ManualClock>,
    capacity: Capacity,
}

#[async_trait]
impl Host for Directory {
    async fn open(&self) -> Arc<dyn Store> {
        let config = Config {
            path: self.dir.path().join("data"),
            accept_data_loss: false,
            capacity: self.capacity,
        };
        let clock = Arc::clone(&self.clock);
        let opened = tokio::task::spawn_blocking(|| EmbeddedStore::open(config, clock));
        Arc::new(opened.await.unwrap().expect("the directory can be used"))
    }

    /// One process serves a directory.
    async fn peer(&self, first: &Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::clone(first)
    }
}

/// A fresh embedded store.
pub(in crate::conformance) async fn embedded() -> Harness {
    with(Capacity::default()).await
}

/// A fresh embedded store that is soon full.
pub(in crate::conformance) async fn small_embedded() -> Harness {
    with(SMALL).await
}

async fn with(capacity: Capacity) -> Harness {
    let clock = Arc::new(ManualClock::new(START));
    let host = Directory {
        dir: tempfile::tempdir().unwrap(),
        clock: Arc::clone(&clock),
        capacity,
    };
    Harness::start(host, Some(clock)).await
}
