//! Tasks that wait for the call of an equal one, whose record cannot be read.

use std::time::Duration;

use tidings::{
    model::{ErrorCode, Status, Task, Work},
    store::{Bid, Lead, Over, Store as _},
    upstream,
    worker::Registry,
};
use tokio::time::sleep;

use super::{LONG, START, World};

fn prompt() -> Work {
    Work::Prompt { text: "p".into() }
}

async fn bid(world: &World, task: &Task) -> Lead {
    let lead = Lead {
        task: task.id,
        fence: task.fence(),
    };
    let bid = Bid {
        key: upstream::cache_key(&task.spec).unwrap(),
        lead,
        over: Over::Nobody,
        until: START + LONG,
    };
    world.store.bid(bid).await.unwrap()
}

/// A lead whose call another process makes, and a task that waits for it here.
async fn waiting(world: &World) -> (Task, Task) {
    world.submit(prompt()).await;
    let lead = world.acquire().await;
    bid(world, &lead).await;
    let id = world.submit(prompt()).await;
    world.start(Registry::default());
    sleep(Duration::from_secs(1)).await;
    (lead, world.task(id).await)
}

#[tokio::test(start_paused = true)]
async fn a_lead_that_cannot_be_read_for_long_is_followed_no_further() {
    let world = World::new();
    let (lead, follower) = waiting(&world).await;
    assert_eq!(follower.status(), Status::Processing);

    world.store.fail_reads(true);
    sleep(Duration::from_secs(30)).await;

    let ended = world.task(follower.id).await;
    let error = ended.error().expect("it went on to a call of its own");
    assert_eq!(error.code, ErrorCode::ModelNotFound);
    assert_eq!(world.task(lead.id).await.status(), Status::Processing);
    let stands = bid(&world, &lead).await;
    assert_eq!(
        stands.task, follower.id,
        "whoever comes now follows this one"
    );
}

#[tokio::test(start_paused = true)]
async fn a_short_absence_of_the_store_costs_no_call() {
    let world = World::new();
    let (_, follower) = waiting(&world).await;
    for _ in 0..10 {
        world.store.fail_reads(true);
        sleep(Duration::from_secs(5)).await;
        world.store.fail_reads(false);
        sleep(Duration::from_secs(5)).await;
    }
    assert_eq!(world.task(follower.id).await, follower);
}
