//! The retry policy of openai-python 3.52.0 over a pool of 64: two retries, 0.5·2ⁿ s up to 8 s less up to a quarter,
//! `retry-after` obeyed up to 120 s, no retry beyond. What fails after that is lost, as in any loop around the SDK.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};

use super::call::{Caller, Reply};

const POOL: usize = 64;
const MAX_RETRIES: u32 = 2;
const FIRST_DELAY: f64 = 0.5;
const LONGEST_DELAY: f64 = 8.0;
const LONGEST_OBEYED: Duration = Duration::from_secs(120);

/// Runs so many tasks.
pub(crate) async fn run(caller: Arc<Caller>, tasks: usize) {
    let next = Arc::new(AtomicUsize::new(0));
    let mut pool = JoinSet::new();
    for _ in 0..POOL {
        let (caller, next) = (caller.clone(), next.clone());
        pool.spawn(async move {
            loop {
                let task = next.fetch_add(1, Ordering::Relaxed);
                if task >= tasks {
                    return;
                }
                complete(&caller, task).await;
            }
        });
    }
    pool.join_all().await;
}

async fn complete(caller: &Caller, task: usize) {
    for retry in 0..=MAX_RETRIES {
        let Reply::Again { retry_after, .. } = caller.call(task, retry + 1).await else {
            return;
        };
        if retry == MAX_RETRIES || retry_after.is_some_and(|wait| wait > LONGEST_OBEYED) {
            return;
        }
        let told = retry_after.filter(|wait| !wait.is_zero());
        sleep(told.unwrap_or_else(|| delay(retry))).await;
    }
}

fn delay(retry: u32) -> Duration {
    let delay = (FIRST_DELAY * f64::from(2_u32.pow(retry))).min(LONGEST_DELAY);
    Duration::from_secs_f64(delay * (1.0 - 0.25 * rand::random::<f64>()))
}
