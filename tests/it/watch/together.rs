//! Those who stand at the same place of a batch's log share its pages, and nobody's going away holds the others up.

use futures::{StreamExt as _, future::join_all, poll};
use tokio::time::timeout;

use super::{BatchEvents, MOMENT, World, entries, told};

const WATCHERS: usize = 50;

/// So many watchers of a batch, which all wait for the same read of what has happened since.
async fn waiting(world: &World) -> Vec<BatchEvents> {
    let (batch, _) = world.submit(4).await;
    let mut streams = Vec::new();
    for _ in 0..WATCHERS {
        let mut events = world.watch_batch(batch).await;
        assert_eq!(entries(&told(&mut events).await).len(), 4);
        streams.push(events);
    }
    world.work().await;
    // The hub has its turn.
    tokio::task::yield_now().await;
    world.failover.hold_logs(true);
    let before = world.failover.log_reads();
    for events in &mut streams {
        assert!(poll!(events.next()).is_pending());
    }
    // The read begins.
    tokio::task::yield_now().await;
    assert_eq!(world.failover.log_reads(), before + 1, "one reads for all");
    streams
}

#[tokio::test(start_paused = true)]
async fn watchers_of_one_batch_share_its_pages() {
    let world = World::new();
    let mut streams = waiting(&world).await;
    let before = world.failover.log_reads();
    world.failover.hold_logs(false);
    for seen in join_all(streams.iter_mut().map(told)).await {
        assert_eq!(entries(&seen).len(), 8);
    }
    // Who asked while one read may know of more than that read saw.
    let reads = world.failover.log_reads() - before;
    assert_eq!(reads, 1, "reads for {WATCHERS} watchers");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_stops_reading_or_goes_amid_a_read_holds_nobody_up() {
    let world = World::new();
    let mut streams = waiting(&world).await;
    // The first to ask stops, and so do some who wait; others go.
    let stopped = streams.split_off(WATCHERS - 10);
    let first = streams.remove(0);
    drop(streams.remove(0));
    drop(streams.pop());
    world.failover.hold_logs(false);
    for seen in join_all(streams.iter_mut().map(told)).await {
        assert_eq!(entries(&seen).len(), 8);
    }
    // They miss nothing when they read on.
    for mut events in stopped.into_iter().chain([first]) {
        assert_eq!(entries(&told(&mut events).await).len(), 8);
    }
}

#[tokio::test(start_paused = true)]
async fn one_read_that_fails_is_made_again_for_all() {
    let world = World::new();
    let (batch, _) = world.submit(1).await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut events = world.watch_batch(batch).await;
        told(&mut events).await;
        streams.push(events);
    }
    world.store.fail_reads(true);
    world.work().await;
    for events in &mut streams {
        let silent = timeout(MOMENT, events.next()).await;
        assert!(silent.is_err(), "nothing can be read: {silent:?}");
    }
    world.store.fail_reads(false);
    for seen in join_all(streams.iter_mut().map(told)).await {
        assert_eq!(entries(&seen).len(), 2);
    }
}
