//! Silence, a store that is away, and a server that goes.

use std::time::Duration;

use futures::StreamExt as _;
use tidings::{
    store,
    watch::{Error, HEARTBEAT, batch, task},
};
use tokio::time::{Instant, sleep};

use super::{World, entries, last_error, moves, told};

/// Tokio's timers are this coarse.
const TICK: Duration = Duration::from_millis(2);

fn assert_beat_after(silent: Instant) {
    let silence = silent.elapsed();
    assert!(
        (HEARTBEAT..HEARTBEAT + TICK).contains(&silence),
        "a heartbeat after {silence:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_task_watch_beats_every_thirty_seconds() {
    assert_eq!(HEARTBEAT, Duration::from_secs(30));
    let world = World::new();
    let (_, id) = world.submit_one().await;
    let mut events = world.watch_task(id).await;
    assert!(matches!(
        events.next().await,
        Some(Ok(task::Event::Moved { .. }))
    ));
    for _ in 0..3 {
        let silent = Instant::now();
        let beat = events.next().await;
        assert!(matches!(beat, Some(Ok(task::Event::Heartbeat { .. }))));
        assert_beat_after(silent);
    }
    // News puts the next beat off.
    sleep(HEARTBEAT / 2).await;
    world.acquire().await;
    assert!(matches!(
        events.next().await,
        Some(Ok(task::Event::Moved { revision: 2, .. }))
    ));
    let silent = Instant::now();
    let beat = events.next().await;
    assert!(matches!(beat, Some(Ok(task::Event::Heartbeat { .. }))));
    assert_beat_after(silent);
}

#[tokio::test(start_paused = true)]
async fn an_idle_batch_watch_beats_every_thirty_seconds_and_says_where_to_resume() {
    let world = World::new();
    let (batch, _) = world.submit(4).await;
    let mut events = world.watch_batch(batch).await;
    for _ in 0..5 {
        events.next().await.unwrap().unwrap();
    }
    for _ in 0..3 {
        let silent = Instant::now();
        let beat = events.next().await;
        assert!(matches!(
            beat,
            Some(Ok(batch::Event::Heartbeat { position: 4, .. }))
        ));
        assert_beat_after(silent);
    }
}

#[tokio::test(start_paused = true)]
async fn watches_outlast_a_store_that_is_away_for_ten_seconds() {
    let world = World::new();
    let (batch, id) = world.submit_one().await;
    let mut of_task = world.watch_task(id).await;
    let mut of_batch = world.watch_batch(batch).await;
    told(&mut of_task).await;
    told(&mut of_batch).await;
    world.store.fail_reads(true);
    world.work().await;
    let store = world.store.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(10)).await;
        store.fail_reads(false);
    });
    let gone = Instant::now();
    let whole = async |events: &mut super::TaskEvents| {
        let mut seen = Vec::new();
        while let Some(event) = events.next().await {
            seen.push(event.unwrap());
        }
        seen
    };
    let (of_task, of_batch) = tokio::join!(whole(&mut of_task), async {
        let mut seen = Vec::new();
        while let Some(event) = of_batch.next().await {
            seen.push(event.unwrap());
        }
        seen
    });

    let revisions: Vec<u64> = moves(&of_task).iter().map(|it| it.0).collect();
    assert_eq!(revisions, [2, 3]);
    let positions: Vec<u64> = entries(&of_batch).iter().map(|it| it.0).collect();
    assert_eq!(positions, [2, 3]);
    let back = gone.elapsed();
    let soon = Duration::from_secs(10)..Duration::from_secs(12);
    assert!(soon.contains(&back), "told after {back:?}");
}

#[tokio::test(start_paused = true)]
async fn watches_of_a_store_that_stays_away_end_with_its_error() {
    let world = World::new();
    let (batch, id) = world.submit_one().await;
    let mut of_task = world.watch_task(id).await;
    let mut of_batch = world.watch_batch(batch).await;
    told(&mut of_task).await;
    told(&mut of_batch).await;
    world.store.fail_reads(true);
    world.work().await;
    let gone = Instant::now();
    let errors = tokio::join!(last_error(&mut of_task), last_error(&mut of_batch));
    for error in [errors.0, errors.1] {
        let away = matches!(error, Error::Store(store::Error::Unavailable(_)));
        assert!(away, "{error:?}");
    }
    let patience = gone.elapsed();
    let bound = Duration::from_secs(10)..Duration::from_secs(60);
    assert!(bound.contains(&patience), "patient for {patience:?}");
    drop((of_task, of_batch));
    assert_eq!(world.hub.watchers(), 0);

    let resume = task::Resume::default();
    let refused = task::watch(world.hub.clone(), id, resume).await.err();
    assert!(
        matches!(refused, Some(Error::Store(store::Error::Unavailable(_)))),
        "whoever comes now is told at once: {refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn every_watch_ends_when_the_server_drains() {
    let world = World::new();
    let (batch, id) = world.submit_one().await;
    let mut of_task = world.watch_task(id).await;
    let mut of_batch = world.watch_batch(batch).await;
    told(&mut of_task).await;
    let drained = Instant::now();
    world.draining.cancel();
    // What had been read before is still told.
    let mut seen = Vec::new();
    let error = loop {
        match of_batch.next().await.unwrap() {
            Ok(event) => seen.push(event),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Draining), "{error:?}");
    assert_eq!(entries(&seen).len(), 1);
    assert!(of_batch.next().await.is_none());
    assert!(matches!(last_error(&mut of_task).await, Error::Draining));
    assert_eq!(drained.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_waits_for_its_store_ends_at_once_when_the_server_drains() {
    let world = World::new();
    let (batch, id) = world.submit_one().await;
    let mut of_task = world.watch_task(id).await;
    let mut of_batch = world.watch_batch(batch).await;
    told(&mut of_task).await;
    told(&mut of_batch).await;
    world.store.fail_reads(true);
    world.work().await;
    let draining = world.draining.clone();
    let drained = tokio::spawn(async move {
        sleep(Duration::from_secs(5)).await;
        draining.cancel();
        Instant::now()
    });
    let errors = tokio::join!(last_error(&mut of_task), last_error(&mut of_batch));
    for error in [errors.0, errors.1] {
        assert!(matches!(error, Error::Draining), "{error:?}");
    }
    assert_eq!(drained.await.unwrap().elapsed(), Duration::ZERO);
}
