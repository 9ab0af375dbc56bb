//! What a watcher costs that does not read.

use std::time::Duration;

use futures::StreamExt as _;
use tidings::{
    model::{Event, Outcome},
    watch::batch,
};
use tokio::time::sleep;

use super::{World, told};

/// What a page may weigh at most, and what one more answer does.
const PAGE: usize = 128 << 10;
const ANSWER: usize = 20 << 10;

fn large() -> Event {
    Event::Succeeded(Box::new(Outcome {
        text: "x".repeat(ANSWER),
        ..Outcome::default()
    }))
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_for_a_watcher_that_does_not_read() {
    let world = World::new();
    let (batch, _) = world.submit(500).await;
    let streams: Vec<_> = futures::stream::iter(0..50)
        .then(|_| world.watch_batch(batch))
        .collect()
        .await;
    let before = world.failover.log_reads();
    for _ in 0..20 {
        world.store.tell_gap();
        sleep(Duration::from_secs(60)).await;
    }
    world.work().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.failover.log_reads(), before);
    // And those who come back miss nothing.
    for mut events in streams.into_iter().take(3) {
        assert_eq!(super::entries(&told(&mut events).await).len(), 1_500);
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_holds_little_however_large_the_answers_are() {
    let world = World::new();
    let (batch, _) = world.submit(40).await;
    let tasks = world.acquire().await;
    world.happen(tasks, large()).await;
    let mut events = world.watch_batch(batch).await;
    let (mut held, mut most, mut reads) = (0, 0, world.failover.log_reads());
    let mut count = 0;
    while let Some(Ok(event)) = events.next().await {
        if world.failover.log_reads() > reads {
            // Another page.
            (held, reads) = (0, world.failover.log_reads());
        }
        if let batch::Event::Moved {
            task: Some(task), ..
        } = event
        {
            held += task.weight();
            most = most.max(held);
            count += 1;
        }
    }
    assert_eq!(count, 120);
    assert!(most >= ANSWER, "the answers are in the pages");
    assert!(most < PAGE + ANSWER, "{most} bytes in one page");
}

#[tokio::test(start_paused = true)]
async fn no_watcher_holds_inputs() {
    let world = World::new();
    let (batch, id) = world.submit_one().await;
    assert!(world.task(id).await.weight() > 0);
    let mut of_batch = world.watch_batch(batch).await;
    let Some(Ok(batch::Event::Moved { task, .. })) = of_batch.next().await else {
        panic!("a transition comes first");
    };
    assert_eq!(task.unwrap().weight(), 0);
    let mut of_task = world.watch_task(id).await;
    let Some(Ok(tidings::watch::task::Event::Moved { task, .. })) = of_task.next().await else {
        panic!("a transition comes first");
    };
    assert_eq!(task.weight(), 0);
}
