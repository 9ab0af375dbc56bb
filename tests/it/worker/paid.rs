//! Answers that were paid for, while their commits take long.

use std::time::Duration;

use tidings::{
    model::{Status, TaskId, Work},
    simulator::{CallRecord, Config, Latency},
    worker::Registry,
};

use super::{World, spec};
use crate::support::{
    server::soon,
    upstream::{endpoint, simulate},
};

const CONCURRENCY: usize = 16;
const TASKS: usize = 100;
const LATENCY: Duration = Duration::from_millis(50);

async fn submit(world: &World) -> Vec<TaskId> {
    let mut ids = Vec::new();
    for number in 0..TASKS {
        let mut spec = spec(Work::Prompt {
            text: number.to_string(),
        });
        spec.caching = None;
        ids.push(world.submit_spec(spec).await);
    }
    ids
}

/// The most calls at one instant: each takes at least as long as the upstream waits.
fn most_at_once(calls: &[CallRecord]) -> usize {
    let under_way = |it: &CallRecord| {
        let during = |other: &&CallRecord| {
            other.time_in <= it.time_in && it.time_in < other.time_in + LATENCY
        };
        calls.iter().filter(during).count()
    };
    calls.iter().map(under_way).max().unwrap_or_default()
}

#[tokio::test]
async fn no_more_calls_are_made_at_once_than_allowed_and_few_whose_answers_are_not_committed() {
    let upstream = simulate(Config {
        latency: Latency::Fixed(LATENCY),
        ..Config::default()
    })
    .await;
    let world = World::new();
    let ids = submit(&world).await;
    world.store.hold_commits(true);
    let endpoint = endpoint("simulated", upstream.base_url());
    world.start_with(endpoint, Registry::default(), CONCURRENCY);

    let most_uncommitted = CONCURRENCY + CONCURRENCY / 8;
    soon("as many have answers as may", async || {
        upstream.open_calls() == 0 && upstream.calls().len() >= most_uncommitted
    })
    .await;
    // A call more than these would be on its way by now.
    tokio::time::sleep(2 * LATENCY).await;
    assert_eq!(upstream.calls().len(), most_uncommitted);

    world.store.hold_commits(false);
    for id in ids {
        soon("it is answered", async || {
            world.task(id).await.status() == Status::Completed
        })
        .await;
    }
    let calls = upstream.calls();
    assert_eq!(calls.len(), TASKS);
    assert!(most_at_once(&calls) <= CONCURRENCY);
}
