//! Silence, a store that is away, and a server that goes.

use std::time::Duration;

use futures::StreamExt as _;
use tidings::{
    store,
    watch::{Config, Error, HEARTBEAT, Resume, batch, task},
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
        let Some(Ok(batch::Event::Heartbeat { resume, .. })) = beat else {
            panic!("{beat:?}");
        };
        assert_eq!(resume, Resume { after: 4, epoch: 1 });
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

    let refused = world.resume_task(id, Resume::default()).await.err();
    assert!(
        matches!(refused, Some(Error::Store(store::Error::Unavailable(_)))),
        "whoever comes now is told at once: {refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_shows_that_it_lives_while_its_store_is_away() {
    let world = World::new();
    let (batch, id) = world.submit_one().await;
    let mut of_task = world.watch_task(id).await;
    let mut of_batch = world.watch_batch(batch).await;
    told(&mut of_task).await;
    told(&mut of_batch).await;
    // Both have been silent for a while when the store goes.
    let silent = Instant::now();
    world.store.fail_reads(true);
    world.work().await;
    let (of_task, of_batch) = tokio::join!(of_task.next(), of_batch.next());
    assert!(matches!(of_task, Some(Ok(task::Event::Heartbeat { .. }))));
    assert!(matches!(of_batch, Some(Ok(batch::Event::Heartbeat { .. }))));
    assert!(silent.elapsed() <= HEARTBEAT + TICK);
}

/// Streams that live for a minute and leave within a second.
fn short() -> Config {
    Config {
        age: Duration::from_secs(60),
        drain: Duration::from_secs(1),
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_lived_its_time_says_where_to_resume() {
    let world = World::with(short());
    let (batch, id) = world.submit_one().await;
    let (mut lives, mut after) = (Vec::new(), Resume::default());
    world.acquire().await;
    for _ in 0..40 {
        let born = Instant::now();
        let mut of_task = world.resume_task(id, after).await.unwrap();
        let mut of_batch = world.resume_batch(batch, after).await.unwrap();
        let ends = tokio::join!(last_error(&mut of_task), last_error(&mut of_batch));
        let (Error::Aged(of_task), Error::Aged(of_batch)) = ends else {
            panic!("{ends:?}");
        };
        assert_eq!(of_task, Resume { after: 2, epoch: 1 });
        assert_eq!(of_batch, of_task);
        after = of_task;
        lives.push(born.elapsed());
    }
    // The later of two each.
    let tenth = Duration::from_secs(6);
    let bound = short().age - tenth..=short().age + tenth + TICK;
    assert!(lives.iter().all(|life| bound.contains(life)), "{lives:?}");
    lives.sort_unstable();
    lives.dedup();
    assert!(lives.len() > 20, "they do not all end at once: {lives:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_read_is_told_before_a_stream_ends_of_age() {
    let world = World::with(short());
    let (batch, _) = world.submit(100).await;
    let mut events = world.watch_batch(batch).await;
    // Its watcher is slower than its life is long.
    sleep(2 * short().age).await;
    let mut seen = Vec::new();
    let end = loop {
        match events.next().await.unwrap() {
            Ok(event) => seen.push(event),
            Err(error) => break error,
        }
    };
    let Error::Aged(resume) = end else {
        panic!("{end:?}");
    };
    assert_eq!(entries(&seen).len(), 16, "the first page");
    let mut events = world.resume_batch(batch, resume).await.unwrap();
    assert_eq!(entries(&told(&mut events).await).len(), 84);
}

#[tokio::test(start_paused = true)]
async fn watches_leave_a_server_that_drains_one_after_the_other() {
    let world = World::with(short());
    let (batch, id) = world.submit_one().await;
    let mut streams = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (mut of_task, mut of_batch) =
            (world.watch_task(id).await, world.watch_batch(batch).await);
        streams.spawn(async move {
            let of_task = async { (last_error(&mut of_task).await, Instant::now()) };
            let of_batch = async { (last_error(&mut of_batch).await, Instant::now()) };
            let ends = tokio::join!(of_task, of_batch);
            [ends.0, ends.1]
        });
    }
    sleep(Duration::from_secs(5)).await;
    let drained = Instant::now();
    world.draining.cancel();
    world.hub.left().await;
    let left = drained.elapsed();
    assert!(left <= short().drain + TICK, "after {left:?}");
    assert_eq!(world.hub.watchers(), 0);
    let mut tenths = [0; 10];
    for (end, at) in streams.join_all().await.into_iter().flatten() {
        assert!(
            matches!(end, Error::Draining(Resume { after: 1, epoch: 1 })),
            "{end:?}"
        );
        let after = at.duration_since(drained).div_duration_f64(short().drain);
        tenths[((after * 10.0) as usize).min(9)] += 1;
    }
    assert_eq!(tenths[0], 0, "health comes first: {tenths:?}");
    assert!(tenths[1..].iter().all(|count| *count > 0), "{tenths:?}");
}

#[tokio::test(start_paused = true)]
async fn news_is_told_while_a_server_drains() {
    let world = World::with(short());
    let (_, id) = world.submit_one().await;
    let mut events = world.watch_task(id).await;
    told(&mut events).await;
    world.draining.cancel();
    world.work().await;
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        seen.push(event.unwrap());
    }
    assert_eq!(moves(&seen).len(), 2, "it has ended well");
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_to_a_server_that_drains_is_told_what_there_is_and_sent_on() {
    let world = World::new();
    let (batch, id) = world.submit_one().await;
    world.draining.cancel();
    let drained = Instant::now();
    let mut of_task = world.watch_task(id).await;
    let mut of_batch = world.watch_batch(batch).await;
    assert!(matches!(
        of_task.next().await,
        Some(Ok(task::Event::Moved { .. }))
    ));
    assert!(matches!(
        of_batch.next().await,
        Some(Ok(batch::Event::Moved { .. }))
    ));
    assert!(matches!(last_error(&mut of_task).await, Error::Draining(_)));
    assert!(matches!(
        last_error(&mut of_batch).await,
        Error::Draining(_)
    ));
    assert_eq!(drained.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn without_a_window_every_watch_ends_at_once() {
    let world = World::with(Config {
        drain: Duration::ZERO,
        ..Config::default()
    });
    let (batch, id) = world.submit_one().await;
    let mut of_task = world.watch_task(id).await;
    let mut of_batch = world.watch_batch(batch).await;
    told(&mut of_task).await;
    told(&mut of_batch).await;
    world.store.fail_reads(true);
    world.work().await;
    let drained = Instant::now();
    world.draining.cancel();
    let errors = tokio::join!(last_error(&mut of_task), last_error(&mut of_batch));
    for error in [errors.0, errors.1] {
        assert!(matches!(error, Error::Draining(_)), "{error:?}");
    }
    assert_eq!(drained.elapsed(), Duration::ZERO);
}
