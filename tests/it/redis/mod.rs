//! What is particular to the Redis store; what it shares with the others is in `conformance`.

mod damage;
mod failover;
mod faults;
mod large;
mod prompts;
mod recent;
mod scripts;
mod start;
mod wait;

use std::{sync::Arc, time::Duration};

use tidings::{
    clock::{Clock, SystemClock, Timestamp},
    model::{BatchId, Event, IdRange, Outcome, Priority, Spec, Task, TaskId, Usage, WorkerId},
    store::{
        Append, Commit, Guard, Store, Submission,
        redis::{Config, RedisStore},
    },
};

use crate::support::redis::{RedisServer, config};

const LEASE: Duration = Duration::from_secs(15);
const WORKER: WorkerId = WorkerId(0xfeed_0000_0000_0001);

async fn connect(server: &RedisServer, partitions: u16) -> RedisStore {
    let config = Config {
        partitions: Some(partitions),
        ..config(&server.url())
    };
    RedisStore::connect(config).await.unwrap()
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn spec(priority: Priority) -> Spec {
    Spec {
        priority,
        ..crate::support::spec::spec(
            "what is the answer? ".repeat(10),
            now(),
            now() + Duration::from_secs(3_600),
        )
    }
}

fn submission(partition: u16, count: u32) -> Submission {
    Submission {
        batch_id: BatchId::new(now(), partition, rand::random()),
        append: Append::New,
        keep_open: false,
        ids: IdRange::new(now(), partition, rand::random(), count),
        specs: (0..count)
            .map(|_| Arc::new(spec(Priority::Normal)))
            .collect(),
        budget: None,
        idempotency: None,
    }
}

async fn submit(store: &RedisStore, partition: u16, count: u32) -> Vec<TaskId> {
    let accepted = store.submit(submission(partition, count)).await.unwrap();
    accepted.ids.iter().collect()
}

fn moved(mut task: Task, event: Event) -> Commit {
    let (fence, from) = (task.fence(), task.status());
    task.apply(event, now()).unwrap();
    Commit {
        task,
        fence,
        from,
        guard: Guard::None,
        park: None,
    }
}

fn succeeded(task: Task) -> Commit {
    let outcome = Outcome {
        text: "it is forty-two. ".repeat(12),
        usage: Usage {
            input_tokens: 7,
            output_tokens: 3,
            ..Usage::default()
        },
        ..Outcome::default()
    };
    moved(task, Event::Succeeded(Box::new(outcome)))
}
