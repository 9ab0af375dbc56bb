//! The OpenAI cookbook's parallel request processor: a bucket of requests that is told the exact limit and starts full,
//! five attempts a task, and 15 s without any call after a 429.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::call::{Caller, Reply};
use crate::case::paced::RPM;

const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(15);
/// How long its loop sleeps between two looks.
const EVERY: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
struct Shared {
    retries: VecDeque<(usize, u32)>,
    last_throttled: Option<Instant>,
    in_progress: usize,
}

/// Runs so many tasks.
pub(crate) async fn run(caller: Arc<Caller>, tasks: usize) {
    let shared = Arc::new(Mutex::new(Shared::default()));
    let mut started = JoinSet::new();
    let mut capacity = RPM as f64;
    let mut updated = Instant::now();
    let mut fresh = 0..tasks;
    let mut waiting = None;
    loop {
        let now = Instant::now();
        let came = (now - updated).as_secs_f64() * RPM as f64 / 60.0;
        capacity = (capacity + came).min(RPM as f64);
        updated = now;
        {
            let mut shared = shared.lock().expect("nobody panics with it");
            if waiting.is_none() {
                let retry = shared.retries.pop_front();
                waiting = retry.or_else(|| Some((fresh.next()?, 1)));
            }
            if waiting.is_none() && shared.in_progress == 0 {
                break;
            }
            let paused = shared.last_throttled.is_some_and(|at| now - at < PAUSE);
            if capacity >= 1.0
                && !paused
                && let Some((task, attempt)) = waiting.take()
            {
                capacity -= 1.0;
                shared.in_progress += 1;
                started.spawn(one(caller.clone(), task, attempt));
            }
        }
        while let Some(Ok((task, attempt, reply))) = started.try_join_next() {
            settle(&shared, task, attempt, reply);
        }
        sleep(EVERY).await;
    }
}

async fn one(caller: Arc<Caller>, task: usize, attempt: u32) -> (usize, u32, Reply) {
    let reply = caller.call(task, attempt).await;
    (task, attempt, reply)
}

fn settle(shared: &Mutex<Shared>, task: usize, attempt: u32, reply: Reply) {
    let mut shared = shared.lock().expect("nobody panics with it");
    shared.in_progress -= 1;
    if let Reply::Again { throttled, .. } = reply {
        if throttled {
            shared.last_throttled = Some(Instant::now());
        }
        if attempt < ATTEMPTS {
            shared.retries.push_back((task, attempt + 1));
        }
    }
}
