//! Takes tasks through a store in the largest steps that it is made for: submit, acquire, commit.

use std::{sync::Arc, time::Duration};

use tidings::{
    clock::Timestamp,
    model::{
        Batch, BatchId, Event, IdRange, Outcome, Priority, Spec, Status, Task, Work, WorkerId,
    },
    store::{
        Append, Commit, Guard, Store as _, Submission, Verdict,
        redis::{Config, RedisStore, address::Address},
    },
};

use crate::{Fallible, client::Job, throughput::PAYLOAD};

/// Longer than it takes.
const LEASE: Duration = Duration::from_secs(60);
const DAY_MS: u64 = 24 * 3_600 * 1_000;
const WORKER: WorkerId = WorkerId(1);

/// Runs one task to have the scripts loaded, and then `count` tasks as W1 has them, so many at a time.
pub(super) async fn drive(url: &str, count: usize, per_call: usize) -> Fallible<()> {
    let address = Address::parse(url)?;
    let store = RedisStore::connect(Config::new(address)).await?;
    run(&store, 1, 1, 1).await?;
    run(&store, 2, count, per_call).await
}

/// Takes a batch with this number to its end.
async fn run(store: &RedisStore, number: u64, count: usize, per_call: usize) -> Fallible<()> {
    let batch_id = BatchId::new(store.now(), 0, number);
    for from in (0..count).step_by(per_call) {
        let numbers = from..(from + per_call).min(count);
        // Far enough apart that no two calls share an id.
        let random = (number << 48) + ((from as u64 + 1) << 24);
        let submission = submission(store.now(), batch_id, random, numbers.clone());
        store.submit(submission).await?;
        let mut left = numbers.len();
        while left > 0 {
            let tasks = store.acquire(WORKER, left, LEASE).await?.tasks;
            if tasks.is_empty() {
                return Err("tasks that were submitted are not handed out".into());
            }
            left -= tasks.len();
            let now = store.now();
            let commits: Fallible<Vec<Commit>> =
                tasks.iter().map(|task| ended(task, now)).collect();
            let verdicts = store.commit(commits?).await?;
            if verdicts.iter().any(|verdict| *verdict != Verdict::Applied) {
                return Err("a commit was refused".into());
            }
        }
    }
    let batch = store.batch(batch_id).await?.ok_or("the batch is gone")?;
    complete(&batch, count)
}

fn complete(batch: &Batch, count: usize) -> Fallible<()> {
    let completed = batch.counts.completed;
    if completed != count as u64 {
        return Err(format!("{completed} of {count} tasks are completed").into());
    }
    Ok(())
}

fn submission(
    now: Timestamp,
    batch_id: BatchId,
    random: u64,
    numbers: std::ops::Range<usize>,
) -> Submission {
    let count = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
    Submission {
        batch_id,
        append: if numbers.start == 0 {
            Append::New
        } else {
            Append::Open
        },
        keep_open: true,
        ids: IdRange::new(now, 0, random, count),
        specs: numbers.map(|number| Arc::new(spec(now, number))).collect(),
        budget: None,
        idempotency: None,
    }
}

fn spec(now: Timestamp, number: usize) -> Spec {
    Spec {
        work: Work::Function {
            name: "debug.echo".to_owned(),
            arguments: format!("\"{}\"", Job::Echo(PAYLOAD).text(number)),
        },
        custom_id: String::new(),
        model: String::new(),
        priority: Priority::Normal,
        timeout_ms: 600_000,
        deadline: now + Duration::from_millis(DAY_MS),
        not_before: None,
        status_retention_ms: DAY_MS,
        result_retention_ms: 7 * DAY_MS,
        max_attempts: 5,
        labels: Default::default(),
        retry_of: None,
        create_time: now,
        caching: None,
        stream: false,
        max_cost_micros: 0,
        validation_retries: None,
    }
}

/// The task with the answer that `debug.echo` would give.
fn ended(task: &Task, now: Timestamp) -> Fallible<Commit> {
    let Work::Function { arguments, .. } = &task.spec.work else {
        return Err("a task came back as another one".into());
    };
    let (id, batch) = (task.id, task.batch_id);
    let text = format!(
        "{{\"arguments\":{arguments},\"task\":{{\"id\":\"{id}\",\"batch_id\":\"{batch}\",\"custom_id\":\"\",\
         \"attempt\":1,\"worker\":\"{WORKER}\"}}}}"
    );
    let outcome = Outcome {
        text,
        ..Outcome::default()
    };
    let mut moved = task.clone();
    moved
        .apply(Event::Succeeded(Box::new(outcome)), now)
        .map_err(|illegal| format!("{illegal:?}"))?;
    Ok(Commit {
        task: moved,
        fence: task.fence(),
        from: Status::Processing,
        guard: Guard::None,
        park: None,
    })
}
