//! A store that lost writes: whoever was told what is gone is told the truth, once, and nobody waits for ever.

use futures::StreamExt as _;
use tidings::{
    model::{Event, Status, TaskId},
    watch::{Error, Resume, batch, task},
};

use super::{World, answered, entries, failing, last_error, moves, told};

/// Revisions with their epochs, and whether they came as a reset.
fn marked(events: &[task::Event]) -> Vec<(u64, u32, bool)> {
    let mark = |event: &task::Event| match event {
        task::Event::Moved {
            task,
            revision,
            reset,
            ..
        } => Some((*revision, task.epoch, *reset)),
        _ => None,
    };
    events.iter().filter_map(mark).collect()
}

/// Where each event of a batch leaves its watcher, and whether it came as a reset.
fn places(events: &[batch::Event]) -> Vec<(Resume, bool)> {
    let place = |event: &batch::Event| match event {
        batch::Event::Moved { reset, resume, .. } => (*resume, *reset),
        batch::Event::Progress { reset, resume, .. } => (*resume, *reset),
        batch::Event::Heartbeat { resume, .. } => (*resume, false),
    };
    events.iter().map(place).collect()
}

fn at(after: u64, epoch: u32) -> Resume {
    Resume { after, epoch }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_was_rolled_back_is_told_once_as_it_now_is_and_goes_on_from_there() {
    let world = World::new();
    let (_, id) = world.submit_one().await;
    world.acquire().await;
    let mut events = world.watch_task(id).await;
    assert_eq!(
        marked(&told(&mut events).await),
        [(1, 1, false), (2, 1, false)]
    );

    world.roll_back(2).await;

    assert_eq!(marked(&told(&mut events).await), [(1, 2, true)]);
    world.store.tell_gap();
    assert_eq!(told(&mut events).await.len(), 0, "it is told once");
    world.work().await;
    world.store.tell_gap();
    assert_eq!(
        marked(&told(&mut events).await),
        [(2, 2, false), (3, 2, false)]
    );
    assert!(failing(&mut events).await.is_none(), "it has ended well");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_has_come_as_far_along_another_way_is_told_as_it_now_is() {
    let world = World::new();
    let (_, id) = world.submit_one().await;
    let tasks = world.acquire().await;
    let mut events = world.watch_task(id).await;
    world.happen(tasks, Event::Released).await;
    assert_eq!(told(&mut events).await.len(), 3);
    world.roll_back(2).await;
    // Before anybody looks it has as many transitions as were told, and more.
    let task = world.acquire().await;
    world.happen(task, answered()).await;
    world.store.tell_gap();

    let seen = told(&mut events).await;

    assert_eq!(marked(&seen), [(3, 2, true)]);
    assert_eq!(moves(&seen), [(3, Status::Completed)]);
    assert!(failing(&mut events).await.is_none(), "it has ended well");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_was_kept_goes_on_without_a_reset() {
    let world = World::new();
    let (_, id) = world.submit_one().await;
    let tasks = world.acquire().await;
    let mut events = world.watch_task(id).await;
    told(&mut events).await;
    world.failover.lose_nothing();
    world.store.tell_gap();
    assert!(told(&mut events).await.is_empty());
    world.happen(tasks, answered()).await;
    assert_eq!(marked(&told(&mut events).await), [(3, 2, false)]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_the_failover_is_not_believed() {
    let world = World::new();
    let (batch, id) = world.submit_one().await;
    let tasks = world.acquire().await;
    world.failover.lose_nothing();
    let mut of_task = world.watch_task(id).await;
    let mut of_batch = world.watch_batch(batch).await;
    let (before, _) = (told(&mut of_task).await, told(&mut of_batch).await);
    assert_eq!(marked(&before), [(1, 2, false), (2, 2, false)]);
    let (truth, old) = (world.failover.present(), world.copy().await);
    world.failover.to(old, 1);
    world.store.tell_gap();
    assert!(told(&mut of_task).await.is_empty());
    assert!(told(&mut of_batch).await.is_empty());
    world.failover.to(truth, 2);
    world.happen(tasks, answered()).await;
    assert_eq!(marked(&told(&mut of_task).await), [(3, 2, false)]);
    let seen = told(&mut of_batch).await;
    assert_eq!(entries(&seen).len(), 1);
    assert!(places(&seen).iter().all(|(_, reset)| !reset));
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_writes_are_lost_between_two_reads_is_told_what_is_left() {
    let world = World::new();
    let (batch, ids) = world.submit(4).await;
    world.acquire().await;
    world.failover.to_after_a_log(world.copy().await, 2);
    let mut events = world.watch_batch(batch).await;
    let seen = told(&mut events).await;
    let first = |(id, position): (&TaskId, u64)| (position, *id, 1);
    let expected: Vec<_> = ids.iter().zip(1..).map(first).collect();
    assert_eq!(entries(&seen), expected);
    assert!(
        places(&seen)
            .iter()
            .all(|(place, reset)| place.epoch == 2 && !reset)
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_is_resumed_from_an_earlier_epoch_with_a_reset() {
    let world = World::new();
    let (_, id) = world.submit_one().await;
    world.acquire().await;
    world.failover.lose_nothing();
    for (resume, expected) in [
        (at(0, 0), vec![(1, 2, false), (2, 2, false)]),
        (at(0, 1), vec![(1, 2, false), (2, 2, false)]),
        (at(1, 0), vec![(2, 2, false)]),
        (at(1, 2), vec![(2, 2, false)]),
        (at(2, 2), vec![]),
        (at(1, 1), vec![(2, 2, true)]),
        (at(7, 1), vec![(2, 2, true)]),
    ] {
        let mut events = world.resume_task(id, resume).await.unwrap();
        assert_eq!(marked(&told(&mut events).await), expected, "{resume:?}");
    }
    for resume in [at(3, 0), at(3, 2)] {
        let refused = world.resume_task(id, resume).await.err();
        assert!(
            matches!(refused, Some(Error::Beyond { asked: 3, last: 2 })),
            "{resume:?}: {refused:?}"
        );
    }
    let refused = world.resume_task(id, at(1, 3)).await.err();
    let beyond = Error::EpochBeyond {
        asked: 3,
        present: 2,
    };
    assert_eq!(format!("{refused:?}"), format!("{:?}", Some(beyond)));
}

#[tokio::test(start_paused = true)]
async fn what_vanished_under_its_watcher_was_lost() {
    let world = World::new();
    let (batch, id) = world.submit_one().await;
    let mut of_task = world.watch_task(id).await;
    let mut of_batch = world.watch_batch(batch).await;
    told(&mut of_task).await;
    told(&mut of_batch).await;

    world.fail_over_to_nothing();

    assert!(matches!(last_error(&mut of_task).await, Error::TaskLost(lost) if lost == id));
    assert!(matches!(last_error(&mut of_batch).await, Error::BatchLost(lost) if lost == batch));
    // Whoever comes back from before is told the same; whoever was never told anything is not.
    let refused = world.resume_task(id, at(1, 1)).await.err();
    assert!(matches!(refused, Some(Error::TaskLost(_))), "{refused:?}");
    let refused = world.resume_task(id, at(0, 0)).await.err();
    assert!(matches!(refused, Some(Error::NoSuchTask(_))), "{refused:?}");
    let refused = world.resume_batch(batch, at(1, 1)).await.err();
    assert!(matches!(refused, Some(Error::BatchLost(_))), "{refused:?}");
    let refused = world.resume_batch(batch, at(0, 0)).await.err();
    assert!(matches!(refused, Some(Error::Store(_))), "{refused:?}");
}

/// What a batch's watcher has to hear when everything is told anew.
fn anew(told: &[batch::Event], ids: &[TaskId], epoch: u32) {
    let places = places(told);
    let resets = places.iter().filter(|(_, reset)| *reset).count();
    assert_eq!(resets, 1, "{places:?}");
    assert_eq!(places[0], (at(1, epoch), true));
    assert!(places.iter().all(|(place, _)| place.epoch == epoch));
    let first: Vec<(u64, TaskId, u64)> = ids
        .iter()
        .zip(1..)
        .map(|(id, position)| (position, *id, 1))
        .collect();
    assert_eq!(entries(told)[..ids.len()], first);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_told_anew_after_the_store_lost_writes() {
    let world = World::new();
    let (batch, ids) = world.submit(40).await;
    world.acquire().await;
    let mut events = world.watch_batch(batch).await;
    assert_eq!(entries(&told(&mut events).await).len(), 80);

    world.roll_back(2).await;

    let seen = told(&mut events).await;
    anew(&seen, &ids, 2);
    assert_eq!(entries(&seen).len(), 40);
    world.work().await;
    world.store.tell_gap();
    let rest = told(&mut events).await;
    assert_eq!(entries(&rest).len(), 80);
    assert!(places(&rest).iter().all(|(_, reset)| !reset));
    assert!(failing(&mut events).await.is_none(), "it has ended well");
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_resumed_from_an_earlier_epoch_with_everything_anew() {
    let world = World::new();
    let (batch, ids) = world.submit(4).await;
    world.failover.lose_nothing();
    for resume in [at(2, 1), at(4, 1), at(9, 1)] {
        let mut events = world.resume_batch(batch, resume).await.unwrap();
        anew(&told(&mut events).await, &ids, 2);
    }
    for (resume, expected) in [(at(0, 0), 4), (at(0, 1), 4), (at(3, 2), 1)] {
        let mut events = world.resume_batch(batch, resume).await.unwrap();
        let seen = told(&mut events).await;
        assert_eq!(entries(&seen).len(), expected, "{resume:?}");
        assert!(places(&seen).iter().all(|(_, reset)| !reset), "{resume:?}");
    }
    let refused = world.resume_batch(batch, at(5, 2)).await.err();
    assert!(matches!(refused, Some(Error::Beyond { asked: 5, last: 4 })));
    let refused = world.resume_batch(batch, at(1, 3)).await.err();
    assert!(matches!(refused, Some(Error::EpochBeyond { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_reset_that_was_not_told_yet_is_owed_wherever_the_batch_is_resumed() {
    let world = World::new();
    let (batch, ids) = world.submit(4).await;
    let mut events = world.watch_batch(batch).await;
    told(&mut events).await;
    world.failover.hide_beginnings(true);
    world.failover.lose_nothing();
    world.store.tell_gap();
    let beat = events.next().await;
    let Some(Ok(batch::Event::Heartbeat { resume, .. })) = beat else {
        panic!("{beat:?}");
    };
    assert_eq!(resume, at(4, 1));
    drop(events);
    world.failover.hide_beginnings(false);
    let mut events = world.resume_batch(batch, resume).await.unwrap();
    anew(&told(&mut events).await, &ids, 2);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_told_the_end_is_not_touched() {
    let world = World::new();
    let (batch, id) = world.submit_one().await;
    let mut of_task = world.watch_task(id).await;
    let mut of_batch = world.watch_batch(batch).await;
    world.work().await;
    told(&mut of_task).await;
    told(&mut of_batch).await;
    world.roll_back(2).await;
    assert!(failing(&mut of_task).await.is_none());
    assert!(failing(&mut of_batch).await.is_none());
}
