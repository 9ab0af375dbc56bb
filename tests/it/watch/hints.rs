//! A hint says "look" and no more: lost or repeated, what is told stays the same.

use tidings::{
    model::{Event, Status, TaskId},
    watch::{Error, Hub, Resume, batch},
};
use tokio_util::sync::CancellationToken;

use super::{World, answered, entries, moves, told};

const WHOLE: [(u64, Status); 3] = [
    (1, Status::Queued),
    (2, Status::Processing),
    (3, Status::Completed),
];

#[tokio::test(start_paused = true)]
async fn a_task_whose_hints_are_all_lost_is_told_whole_after_a_gap() {
    let world = World::new();
    let (_, id) = world.submit_one().await;
    let mut events = world.watch_task(id).await;
    assert_eq!(moves(&told(&mut events).await), WHOLE[..1]);
    world.store.repeat_hints(0);
    world.work().await;
    assert!(told(&mut events).await.is_empty(), "nobody said anything");

    world.store.tell_gap();

    assert_eq!(moves(&told(&mut events).await), WHOLE[1..]);
    world.store.tell_gap();
    assert!(told(&mut events).await.is_empty(), "it has ended");
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_hints_are_all_lost_is_told_whole_after_a_gap() {
    let world = World::new();
    let (batch, ids) = world.submit(10).await;
    let mut events = world.watch_batch(batch).await;
    assert_eq!(entries(&told(&mut events).await).len(), 10);
    world.store.repeat_hints(0);
    world.work().await;
    assert!(told(&mut events).await.is_empty(), "nobody said anything");

    world.store.tell_gap();

    let rest = told(&mut events).await;
    let expected = |revision: u64| ids.iter().map(move |id| (*id, revision));
    let seen: Vec<(TaskId, u64)> = entries(&rest).iter().map(|e| (e.1, e.2)).collect();
    assert_eq!(seen, expected(2).chain(expected(3)).collect::<Vec<_>>());
    let Some(batch::Event::Progress { batch, resume, .. }) = rest.last() else {
        panic!("the counters come last: {:?}", rest.last());
    };
    assert!(batch.is_done());
    assert_eq!((batch.counts.completed, resume.after), (10, 30));
}

#[tokio::test(start_paused = true)]
async fn repeated_hints_repeat_nothing() {
    let world = World::new();
    world.store.repeat_hints(3);
    let (batch, id) = world.submit_one().await;
    let mut of_task = world.watch_task(id).await;
    let mut of_batch = world.watch_batch(batch).await;
    let mut seen = (told(&mut of_task).await, told(&mut of_batch).await);
    let tasks = world.acquire().await;
    world.happen(tasks, Event::Released).await;
    for _ in 0..3 {
        world.store.tell_gap();
        seen.0.extend(told(&mut of_task).await);
        seen.1.extend(told(&mut of_batch).await);
    }
    world.work().await;
    seen.0.extend(told(&mut of_task).await);
    seen.1.extend(told(&mut of_batch).await);

    let revisions: Vec<u64> = moves(&seen.0).iter().map(|it| it.0).collect();
    assert_eq!(revisions, [1, 2, 3, 4, 5]);
    let positions: Vec<_> = entries(&seen.1).iter().map(|it| (it.0, it.2)).collect();
    assert_eq!(positions, [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]);
    // The counters are told when they have changed, not whenever somebody looks.
    let progress = seen.1.len() - positions.len();
    assert!((1..=4).contains(&progress), "{:?}", seen.1);
}

#[tokio::test(start_paused = true)]
async fn moves_between_a_watchers_first_look_and_its_wait_are_told() {
    let world = World::new();
    let (_, id) = world.submit_one().await;
    // The first look comes before the work, the first wait after it.
    let mut events = world.watch_task(id).await;
    world.work().await;
    assert_eq!(moves(&told(&mut events).await), WHOLE);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_told_page_by_page_and_in_order() {
    let world = World::new();
    let (batch, ids) = world.submit(100).await;
    world.work().await;
    let mut events = world.watch_batch(batch).await;
    let seen = told(&mut events).await;
    let expected: Vec<_> = (1..=3)
        .flat_map(|revision| ids.iter().map(move |id| (*id, revision)))
        .zip(1..)
        .map(|((id, revision), position)| (position, id, revision))
        .collect();
    assert_eq!(entries(&seen), expected);
    assert_eq!(seen.len(), 301, "the counters come once, at the end");

    // From within the third page on.
    let place = seen[289].resume();
    assert_eq!((place.after, place.epoch), (290, 1));
    let mut rest = world.resume_batch(batch, place).await.unwrap();
    assert_eq!(entries(&told(&mut rest).await), expected[290..]);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_goes_leaves_no_place_behind() {
    let world = World::new();
    let (batch, id) = world.submit_one().await;
    let open = (
        world.watch_task(id).await,
        world.watch_task(id).await,
        world.watch_batch(batch).await,
    );
    assert_eq!(world.hub.watchers(), 3);
    drop(open);
    assert_eq!(world.hub.watchers(), 0);

    let unknown = world.submit_one().await;
    let beyond = Resume { after: 2, epoch: 0 };
    let refused = world.resume_task(unknown.1, beyond).await.err();
    assert!(matches!(refused, Some(Error::Beyond { asked: 2, last: 1 })));
    let refused = world.resume_batch(unknown.0, beyond).await.err();
    assert!(matches!(refused, Some(Error::Beyond { asked: 2, last: 1 })));
    assert_eq!(world.hub.watchers(), 0, "a watch that was refused");

    let mut ended = world.watch_task(id).await;
    let task = world.task(id).await;
    world.happen(vec![task], Event::CancelRequested).await;
    told(&mut ended).await;
    drop(ended);
    assert_eq!(world.hub.watchers(), 0, "a watch that came to its end");
    // Nobody is left to be told, which is no trouble.
    world.work().await;
    let (_, id) = world.submit_one().await;
    let tasks = world.acquire().await;
    world.happen(tasks, answered()).await;
    let mut later = world.watch_task(id).await;
    assert_eq!(moves(&told(&mut later).await), WHOLE);
}

#[tokio::test(start_paused = true)]
async fn a_hub_hears_what_happened_before_its_first_turn() {
    let mut world = World::new();
    world.hub = Hub::new(world.store.clone(), world.draining.clone());
    let running = world.hub.clone().run(CancellationToken::new());
    let (_, id) = world.submit_one().await;
    let mut events = world.watch_task(id).await;
    assert_eq!(moves(&told(&mut events).await), WHOLE[..1]);
    world.work().await;

    tokio::spawn(running);

    assert_eq!(moves(&told(&mut events).await), WHOLE[1..]);
}
