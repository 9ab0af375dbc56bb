//! The store as the place where all workers agree on how fast they call an upstream.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    clock::Timestamp,
    store::{Store, Swap},
    upstream::{Shared, Slot},
};

/// A store, as the upstream room sees it.
#[derive(Debug)]
pub(super) struct Quota(pub(super) Arc<dyn Store>);

#[async_trait]
impl Shared for Quota {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    async fn swap(&self, key: &str, version: u64, value: Vec<u8>, keep: Duration) -> Option<Slot> {
        let swap = Swap {
            key: key.to_owned(),
            version,
            value,
            keep,
        };
        match self.0.swap(swap).await {
            Ok(slot) => Some(Slot {
                version: slot.version,
                value: slot.value,
                is_written: slot.swapped,
            }),
            Err(error) => {
                tracing::debug!(%error, "the others' calls could not be taken into account");
                None
            }
        }
    }
}
