//! Removes what is past its retention.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::backoff::jittered;
use crate::store::Store;

/// Retention is counted in hours; being late by seconds costs nothing, as reads look at the time themselves.
const PERIOD: Duration = Duration::from_secs(5);

/// Sweeps until `stop`.
pub(super) async fn run(store: Arc<dyn Store>, stop: CancellationToken) {
    let mut pause = PERIOD;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(jittered(pause)) => {}
        }
        pause = match store.sweep().await {
            // There was something, so there may be more.
            Ok(1..) => PERIOD / 50,
            Ok(0) => PERIOD,
            Err(error) => {
                tracing::warn!(%error, "sweeping failed; trying again");
                PERIOD
            }
        };
    }
}
