//! A process tells what it has written itself without reading it again, and as if it had been read.

use futures::StreamExt as _;
use tidings::{
    model::{Event, Fence, Status, TaskId, Work, WorkerId},
    store::{Change, Commit, Guard, Moved, Renewal, Store as _, Verdict},
    watch::{Hub, batch, task},
};
use tokio_util::sync::CancellationToken;

use super::{LONG, World, answered, entries, told};

/// Every transition as its watcher knows it.
fn known(events: &[batch::Event]) -> Vec<String> {
    let moved = |event: &batch::Event| match event {
        batch::Event::Moved { entry, task, .. } => {
            let task = task.as_ref()?;
            let past = &task.history[..usize::try_from(entry.revision).unwrap()];
            let mut spec = (*task.spec).clone();
            // It is not told.
            spec.work = Work::Prompt {
                text: String::new(),
            };
            Some(format!("{entry:?} {past:?} {spec:?} {}", task.epoch))
        }
        _ => None,
    };
    events.iter().filter_map(moved).collect()
}

#[tokio::test(start_paused = true)]
async fn what_its_own_process_wrote_is_told_without_reading_it() {
    let world = World::recalling();
    let (batch, _) = world.submit(300).await;
    let mut events = world.watch_batch(batch).await;
    let mut seen = told(&mut events).await;
    let before = world.failover.task_reads();
    let tasks = world.acquire().await;
    seen.extend(told(&mut events).await);
    world.happen(tasks, answered()).await;
    seen.extend(told(&mut events).await);
    assert_eq!(entries(&seen).len(), 900);
    assert_eq!(world.failover.task_reads(), before);

    // Whoever has to read everything is told the same.
    let other = Hub::new(world.store.clone(), CancellationToken::new());
    let whole = batch::watch(other, batch, <_>::default()).await.unwrap();
    let whole: Vec<_> = whole.map(Result::unwrap).collect().await;
    assert!(world.failover.task_reads() > before);
    assert_eq!(known(&seen), known(&whole));
}

#[tokio::test(start_paused = true)]
async fn what_another_process_wrote_is_read() {
    let world = World::recalling();
    let (batch, _) = world.submit(3).await;
    let mut events = world.watch_batch(batch).await;
    assert_eq!(entries(&told(&mut events).await).len(), 3);
    let acquired = world.store.acquire(WorkerId(9), 3, LONG).await.unwrap();
    let seen = told(&mut events).await;
    assert_eq!(entries(&seen).len(), 3);
    world.happen(acquired.tasks, Event::Released).await;
    let before = world.failover.task_reads();
    assert_eq!(entries(&told(&mut events).await).len(), 3);
    assert_eq!(world.failover.task_reads(), before, "that it wrote itself");
    let holder = |event: &batch::Event| match event {
        batch::Event::Moved { task, .. } => task.as_ref().unwrap().history[1].worker,
        _ => None,
    };
    let holders: Vec<_> = seen.iter().filter_map(holder).collect();
    assert_eq!(holders, [WorkerId(9); 3]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_was_read_once_is_not_read_for_its_later_transitions() {
    let world = World::recalling();
    let (batch, _) = world.submit(300).await;
    // Another process does the work.
    let acquired = world.store.acquire(WorkerId(9), 300, LONG).await.unwrap();
    for task in acquired.tasks {
        let (mut ended, fence) = (task.clone(), task.fence());
        ended.apply(answered(), world.store.now()).unwrap();
        let verdict = commit(&*world.store, ended, fence).await;
        assert_eq!(verdict, Verdict::Applied);
    }
    let mut events = world.watch_batch(batch).await;
    assert_eq!(entries(&told(&mut events).await).len(), 900);
    assert_eq!(world.failover.task_reads(), 300);
}

#[tokio::test(start_paused = true)]
async fn what_was_written_and_lost_is_not_told_as_if_it_were_there() {
    let world = World::recalling();
    let (batch, _) = world.submit(2).await;
    let mut events = world.watch_batch(batch).await;
    told(&mut events).await;
    world.work().await;
    world.roll_back(2).await;
    let seen = told(&mut events).await;
    let standing = |event: &batch::Event| match event {
        batch::Event::Moved { task, .. } => task.as_ref().map(|it| (it.revision(), it.epoch)),
        _ => None,
    };
    let standing: Vec<_> = seen.iter().filter_map(standing).collect();
    assert!(standing.ends_with(&[(1, 2), (1, 2)]), "{standing:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_while_a_task_runs_is_told_its_progress() {
    let world = World::recalling();
    let (batch, id) = world.submit_one().await;
    let mut events = world.watch_batch(batch).await;
    let task = world.acquire().await.remove(0);
    told(&mut events).await;
    let renewal = Renewal {
        id,
        fence: task.fence(),
        progress: 40,
        sent: false,
        aside: false,
    };
    assert_eq!(world.face.renew(&[renewal], LONG).await.unwrap(), [true]);
    let seen = told(&mut world.watch_batch(batch).await).await;
    let progress = |event: &batch::Event| match event {
        batch::Event::Moved { task, .. } => task.as_ref().map(|it| it.progress),
        _ => None,
    };
    assert_eq!(seen.iter().filter_map(progress).next_back(), Some(40));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_refused_is_not_told() {
    let world = World::recalling();
    let (batch, _) = world.submit(1).await;
    let mut events = world.watch_batch(batch).await;
    told(&mut events).await;
    let task = world.acquire().await.remove(0);
    told(&mut events).await;
    // Another process ends it, and this one does not know.
    let mut late = task.clone();
    late.apply(Event::Released, world.store.now()).unwrap();
    world.store.repeat_hints(0);
    let mut ended = task.clone();
    ended.apply(answered(), world.store.now()).unwrap();
    assert_eq!(
        commit(&*world.store, ended, task.fence()).await,
        Verdict::Applied
    );
    assert_eq!(
        commit(&*world.face, late, task.fence()).await,
        Verdict::Conflict
    );
    world.store.tell_gap();
    let seen = told(&mut events).await;
    let last: Vec<(u64, TaskId, u64)> = entries(&seen);
    assert_eq!(last.len(), 1);
    let Some(batch::Event::Moved {
        task: Some(task), ..
    }) = seen.first()
    else {
        panic!("{seen:?}");
    };
    assert!(task.outcome.is_some());
}

async fn commit(
    store: &dyn tidings::store::Store,
    task: tidings::model::Task,
    fence: Fence,
) -> Verdict {
    let commit = Commit {
        task,
        fence,
        from: tidings::model::Status::Processing,
        guard: Guard::None,
        park: None,
    };
    store.commit(vec![commit]).await.unwrap().remove(0)
}

#[tokio::test(start_paused = true)]
async fn a_watched_task_is_read_again_only_where_others_moved_it() {
    let world = World::recalling();
    let (_, id) = world.submit_one().await;
    let mut events = world.watch_task(id).await;
    let revisions = |events: &[task::Event]| {
        let moved = events.iter().filter_map(|event| match event {
            task::Event::Moved { revision, task, .. } => Some((*revision, task.revision())),
            _ => None,
        });
        moved.collect::<Vec<_>>()
    };
    assert_eq!(revisions(&told(&mut events).await), [(1, 1)]);
    let before = world.failover.task_reads();
    let tasks = world.acquire().await;
    assert_eq!(revisions(&told(&mut events).await), [(2, 2)]);
    world.happen(tasks, Event::Released).await;
    let taken = world.acquire().await.remove(0);
    assert_eq!(revisions(&told(&mut events).await), [(3, 4), (4, 4)]);
    assert_eq!(world.failover.task_reads(), before);
    // Another process gives it back.
    let mut released = taken.clone();
    released.apply(Event::Released, world.store.now()).unwrap();
    let verdict = commit(&*world.store, released, taken.fence()).await;
    assert_eq!(verdict, Verdict::Applied);
    assert_eq!(revisions(&told(&mut events).await), [(5, 5)]);
    assert_eq!(world.failover.task_reads(), before + 1);
    // What this one knew of it is not told because somebody hints at it again.
    let late = Moved {
        task: id,
        batch: taken.batch_id,
        revision: 4,
        status: Status::Processing,
    };
    world.store.hint(Change::Moved([late].into()));
    assert_eq!(revisions(&told(&mut events).await), []);
}
