//! The worker: runs a workload's function until it is told to stop, then leaves word of what it ran.

use std::{
    io,
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use apalis::prelude::*;
use tokio::signal::unix::{SignalKind, signal};

use crate::shared::{Failed, leave_executions, request_body, result_of, variable};

static EXECUTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

async fn nothing(payload: String) -> Result<String, BoxDynError> {
    let result = result_of(&payload);
    let mut executed = EXECUTED.lock().unwrap_or_else(PoisonError::into_inner);
    executed.push(result.clone());
    Ok(result)
}

async fn call(payload: String) -> Result<String, BoxDynError> {
    static HTTP: LazyLock<reqwest::Client> = LazyLock::new(reqwest::Client::new);
    static URL: LazyLock<String> = LazyLock::new(|| variable("UPSTREAM_URL").unwrap_or_default());
    let response = HTTP
        .post(URL.as_str())
        .header("content-type", "application/json")
        .body(request_body(&payload))
        .send()
        .await?;
    response.error_for_status()?.bytes().await?;
    nothing(payload).await
}

pub async fn work(workload: &str) -> Result<(), Failed> {
    let (settings, storage) = super::open().await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        terminate.recv().await;
        leave_word()?;
        Ok::<(), io::Error>(())
    };
    let worker = WorkerBuilder::new(format!("worker-{}", std::process::id()))
        .backend(storage.poll_with_interval(Duration::from_millis(settings.poll_ms)))
        .concurrency(settings.concurrency);
    match (workload, settings.spawn) {
        ("w3", false) => worker.build(call).run_until(stop).await?,
        ("w3", true) => {
            let worker = worker.parallelize(tokio::spawn);
            worker.build(call).run_until(stop).await?;
        }
        (_, false) => worker.build(nothing).run_until(stop).await?,
        (_, true) => {
            let worker = worker.parallelize(tokio::spawn);
            worker.build(nothing).run_until(stop).await?;
        }
    }
    Ok(leave_word()?)
}

/// Before the worker stops and after it, because it may be killed in between.
fn leave_word() -> io::Result<()> {
    leave_executions(&EXECUTED.lock().unwrap_or_else(PoisonError::into_inner))
}
