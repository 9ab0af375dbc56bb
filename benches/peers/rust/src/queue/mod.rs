//! apalis on Redis: worker and client, in a process each. What its settings are and why:
//!
//! - `lock_tasks`: on, its default, for `apalis`. `apalis-unlocked` has it off, which its documentation offers for
//!   tasks that take less than a heartbeat: a worker then writes nothing between taking a task and finishing it.
//! - `poll_ms`: nothing tells a worker that another process submitted, so it looks this often. Of 1 and 10, 10: where a
//!   look takes longer than the interval, the next one is forgotten, and tasks wait for the next heartbeat.
//! - `heartbeat_ms`: 1,000 instead of 30,000, which bounds that wait.
//! - `window`: what was submitted becomes runnable by one `unpack` in Lua, which fails, and ends the worker, at some
//!   8,000 tasks. So the client never has as many under way.
//! - `concurrency`, `fetch`, `batch`: 1,000 each used less CPU time than 100 or 256 and 500 for W1. W3 has 256 calls
//!   in flight; `spawn` made it faster, at more CPU time. Fetching 16 or 64 at a time was slower.
//! - Results: apalis's events say which tasks are done, and pipelines read them. Its own `wait_for` looks every 100 ms,
//!   with a round trip or more for each task.

mod client;
mod worker;

use std::time::Duration;

use apalis_redis::{Config, RedisStorage};
use redis::aio::ConnectionManagerConfig;
use serde::Deserialize;

pub use client::client;
pub use worker::work;

use crate::shared::{Failed, settings, variable};

/// How long Redis may take to answer: at the client's default of 500 ms, one slow answer ends a worker.
const RESPONSE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Settings {
    /// Tasks a worker runs at a time.
    concurrency: usize,
    /// Tasks a worker takes at a time.
    fetch: usize,
    /// How often an idle worker looks for tasks.
    poll_ms: u64,
    heartbeat_ms: u64,
    lock_tasks: bool,
    /// Whether each task runs as a Tokio task of its own.
    spawn: bool,
    /// Tasks submitted at a time.
    batch: usize,
    /// Tasks submitted and not yet known to be done.
    window: usize,
}

fn config(settings: &Settings) -> Config {
    Config::default()
        .queue("bench")
        .batch_size(settings.fetch)
        .heartbeat_interval(Duration::from_millis(settings.heartbeat_ms))
        .lock_tasks(settings.lock_tasks)
}

async fn open() -> Result<(Settings, RedisStorage<String>), Failed> {
    let settings: Settings = settings()?;
    let client = redis::Client::open(variable("REDIS_URL")?)?;
    let patient = ConnectionManagerConfig::new().set_response_timeout(Some(RESPONSE));
    let connection = client.get_connection_manager_with_config(patient).await?;
    let storage = RedisStorage::new(connection).with_config(config(&settings));
    Ok((settings, storage))
}
