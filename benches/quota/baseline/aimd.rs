//! Additive increase and multiplicative decrease of the concurrency: one more with each round of answers, half as many
//! after a 429, at most once a second. Every failure is tried again for as long as it takes, after the wait that was
//! asked for or a backoff.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::call::{Caller, Reply};

const FIRST: f64 = 8.0;
const MOST: f64 = 256.0;
const CUT_EVERY: Duration = Duration::from_secs(1);
const FIRST_DELAY: f64 = 0.5;
const LONGEST_DELAY: f64 = 8.0;

#[derive(Debug)]
struct Window {
    size: f64,
    open: usize,
    cut: Option<Instant>,
}

#[derive(Debug)]
struct Shared {
    window: Mutex<Window>,
    freed: Notify,
}

/// Runs so many tasks.
pub(crate) async fn run(caller: Arc<Caller>, tasks: usize) {
    let shared = Arc::new(Shared {
        window: Mutex::new(Window {
            size: FIRST,
            open: 0,
            cut: None,
        }),
        freed: Notify::new(),
    });
    let mut started = JoinSet::new();
    for task in 0..tasks {
        enter(&shared).await;
        let (caller, shared) = (caller.clone(), shared.clone());
        started.spawn(async move {
            complete(&caller, &shared, task).await;
        });
        while started.try_join_next().is_some() {}
    }
    started.join_all().await;
}

/// A task gives its place back while it waits, so that the window counts calls.
async fn complete(caller: &Caller, shared: &Shared, task: usize) {
    for attempt in 1.. {
        let reply = caller.call(task, attempt).await;
        leave(shared, reply);
        let Reply::Again { retry_after, .. } = reply else {
            return;
        };
        sleep(retry_after.unwrap_or_else(|| delay(attempt))).await;
        enter(shared).await;
    }
}

async fn enter(shared: &Shared) {
    loop {
        let freed = shared.freed.notified();
        {
            let mut window = shared.window.lock().expect("nobody panics with it");
            if (window.open as f64) < window.size.floor() {
                window.open += 1;
                return;
            }
        }
        freed.await;
    }
}

fn leave(shared: &Shared, reply: Reply) {
    let mut window = shared.window.lock().expect("nobody panics with it");
    window.open -= 1;
    match reply {
        Reply::Answer => window.size = (window.size + 1.0 / window.size).min(MOST),
        Reply::Again {
            throttled: true, ..
        } => {
            let now = Instant::now();
            if window.cut.is_none_or(|cut| now - cut >= CUT_EVERY) {
                window.size = (window.size / 2.0).max(1.0);
                window.cut = Some(now);
            }
        }
        _ => {}
    }
    drop(window);
    shared.freed.notify_waiters();
}

fn delay(attempt: u32) -> Duration {
    let delay = (FIRST_DELAY * f64::from(2_u32.pow(attempt.min(8) - 1))).min(LONGEST_DELAY);
    Duration::from_secs_f64(delay * (1.0 - 0.25 * rand::random::<f64>()))
}
