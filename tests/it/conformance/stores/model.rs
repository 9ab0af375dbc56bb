//! The model itself: the suite must hold for what everything is compared with.

use std::sync::Arc;

use async_trait::async_trait;
use tidings::{
    clock::ManualClock,
    store::{Capacity, Store},
};

use super::SMALL;
use crate::{
    conformance::harness::{Harness, Host, START},
    support::model_store::ModelStore,
};

#[derive(Debug)]
struct Memory(Arc<ModelStore>);

#[async_trait]
impl Host for Memory {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::clone(&self.0) as Arc<dyn Store>
    }

    async fn peer(&self, _first: &Arc<dyn Store>) -> Arc<dyn Store> {
        self.open().await
    }
}

/// A fresh model.
pub(in crate::conformance) async fn model() -> Harness {
    with(Capacity::default()).await
}

/// A fresh model that is soon full.
pub(in crate::conformance) async fn small_model() -> Harness {
    with(SMALL).await
}

async fn with(capacity: Capacity) -> Harness {
    let clock = Arc::new(ManualClock::new(START));
    let store = ModelStore::with_capacity(Arc::clone(&clock) as Arc<_>, capacity);
    Harness::start(Memory(Arc::new(store)), Some(clock)).await
}
