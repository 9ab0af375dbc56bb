//! What tests stand on: real servers, a model of a store, and checks over recorded histories.

pub(crate) mod binary;
pub(crate) mod chance;
pub(crate) mod checker;
pub(crate) mod cluster;
pub(crate) mod deaf;
pub(crate) mod false_sentinel;
pub(crate) mod faulty_store;
pub(crate) mod gate;
pub(crate) mod history;
pub(crate) mod model_store;
pub(crate) mod port;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod recalling;
pub(crate) mod redis;
pub(crate) mod report;
pub(crate) mod scale;
pub(crate) mod sentinel;
pub(crate) mod server;
pub(crate) mod spec;
pub(crate) mod teller;
pub(crate) mod upstream;

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL_EVERY: Duration = Duration::from_millis(10);

/// Looks again and again until `check` gives something, and fails the test when it has not within the time given.
pub(crate) async fn eventually<T>(
    what: &str,
    within: Duration,
    mut check: impl AsyncFnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(start.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(POLL_EVERY).await;
    }
}
