//! The client: submits tasks, hears of those done by apalis's events, and reads their results.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use apalis::prelude::*;
use apalis_redis::RedisStorage;
use futures::{Stream, StreamExt as _, stream};
use redis::aio::ConnectionManager;
use tokio::{sync::Semaphore, time::timeout};

use super::{Settings, config};
use crate::shared::{
    Failed, Workload, payload, report_latencies, report_seconds, result_of, variable,
};

/// How long the next result is waited for before the rest counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// Results read by one pipeline.
const READ: usize = 512;

pub async fn client(workload: &Workload) -> Result<(), Failed> {
    let (settings, mut storage) = super::open().await?;
    let redis = redis::Client::open(variable("REDIS_URL")?)?;
    let mut events = redis.get_async_pubsub().await?;
    events
        .subscribe(format!("tasks:{}", config(&settings).done_jobs_set()))
        .await?;
    let done = events
        .into_on_message()
        .map(|message| message.get_payload().unwrap_or_default());
    let results = Results {
        done: done.boxed(),
        redis: storage.get_connection().clone(),
        meta: config(&settings).job_meta_hash(),
    };
    match workload.name.as_str() {
        "w2" => one_by_one(workload, storage, results).await,
        _ => in_bulk(workload, &settings, storage, results).await,
    }
}

async fn one_by_one(
    workload: &Workload,
    mut storage: RedisStorage<String>,
    mut results: Results<impl Stream<Item = String> + Unpin>,
) -> Result<(), Failed> {
    let (mut latencies, mut known) = (Vec::new(), 0);
    for number in workload.numbers() {
        let started = Instant::now();
        push(&mut storage, number..number + 1).await?;
        known += results.next().await?;
        latencies.push(started.elapsed().as_secs_f64() * 1e3);
    }
    report_latencies(&latencies, known);
    Ok(())
}

async fn in_bulk(
    workload: &Workload,
    settings: &Settings,
    mut storage: RedisStorage<String>,
    mut results: Results<impl Stream<Item = String> + Unpin>,
) -> Result<(), Failed> {
    let room = Semaphore::new(settings.window);
    let started = Instant::now();
    let submit = async {
        for start in workload.numbers().step_by(settings.batch) {
            let numbers = start..workload.numbers().end.min(start + settings.batch);
            let Ok(taken) = room.acquire_many(u32::try_from(numbers.len())?).await else {
                break;
            };
            taken.forget();
            push(&mut storage, numbers).await?;
        }
        Ok::<_, Failed>(())
    };
    let collect = async {
        let mut known = 0;
        while known < workload.count {
            let more = results.next().await?;
            if more == 0 {
                break;
            }
            known += more;
            room.add_permits(more);
        }
        room.close();
        Ok::<_, Failed>(known)
    };
    let (submitted, known) = futures::future::join(submit, collect).await;
    submitted?;
    report_seconds(started.elapsed().as_secs_f64(), known?);
    Ok(())
}

async fn push(storage: &mut RedisStorage<String>, numbers: Range<usize>) -> Result<(), Failed> {
    // A letter keeps apalis from taking the name for a number and dropping the zeros.
    let tasks = numbers.map(|number| {
        let id = TaskId::from_string(format!("t{number:08}"));
        TaskBuilder::new(payload(number)).task_id(id).build()
    });
    storage.push_all(stream::iter(tasks)).await?;
    Ok(())
}

struct Results<S> {
    done: S,
    redis: ConnectionManager,
    meta: String,
}

impl<S: Stream<Item = String> + Unpin> Results<S> {
    /// How many results have become known; zero when none came for long.
    async fn next(&mut self) -> Result<usize, Failed> {
        let Ok(Some(ids)) = timeout(PATIENCE, (&mut self.done).ready_chunks(READ).next()).await
        else {
            return Ok(0);
        };
        let mut read = redis::pipe();
        for id in &ids {
            read.hget(format!("{}:{id}", self.meta), "result");
        }
        let results: Vec<Option<String>> = read.query_async(&mut self.redis).await?;
        let right = |(id, result): &(&String, Option<String>)| {
            *result == Some(format!(r#"{{"Ok":"{}"}}"#, result_of(&id[1..])))
        };
        Ok(ids.iter().zip(results).filter(right).count())
    }
}
