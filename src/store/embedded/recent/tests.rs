use std::sync::Arc;

use super::*;
use crate::{
    clock::Timestamp,
    model::{BatchId, Event, IdRange, Spec, WorkerId},
};

const NOW: Timestamp = Timestamp(1_000);

fn tasks(count: u32, bytes: usize) -> Vec<Task> {
    let spec = Arc::new(Spec::of_prompt("x".repeat(bytes), NOW));
    let ids = IdRange::new(NOW, 0, 7, count);
    let tasks = ids
        .iter()
        .map(|id| Task::new(id, BatchId::new(NOW, 0, 5), spec.clone(), 1));
    tasks.collect()
}

fn started(task: &Task) -> Task {
    let mut task = task.clone();
    let worker = WorkerId(42);
    task.apply(Event::Acquired { worker }, NOW).unwrap();
    task
}

fn keep(recent: &Recent, tasks: impl IntoIterator<Item = Task>) {
    recent.keep(tasks.into_iter().map(Arc::new), NOW);
}

fn start(recent: &Recent, task: &Task) {
    recent.forget([&task.id]);
    keep(recent, [started(task)]);
}

/// One with little room for queued tasks.
fn small() -> Recent {
    Recent(RwLock::new(Shelves {
        queued: Shelf::new(MOVED_ROOM),
        ..Shelves::default()
    }))
}

fn held(recent: &Recent) -> usize {
    let shelves = recent.0.read();
    let shelves = [&shelves.moved, &shelves.queued];
    let bytes = shelves.map(|shelf| {
        for half in [&shelf.young, &shelf.old] {
            assert_eq!(
                half.bytes,
                half.tasks.values().map(|task| task.size()).sum::<usize>()
            );
        }
        shelf.young.bytes + shelf.old.bytes
    });
    bytes.iter().sum()
}

#[test]
fn a_task_is_found_as_it_was_last_written_and_not_while_it_is_written() {
    let recent = Recent::default();
    let [one, other] = <[Task; 2]>::try_from(tasks(2, 10)).unwrap();
    keep(&recent, [one.clone(), other.clone()]);
    assert_eq!(recent.get(one.id).as_deref(), Some(&one));
    recent.forget([&one.id]);
    assert_eq!(recent.get(one.id), None);
    let found = recent.look(&[one.id, other.id], Task::revision);
    assert_eq!(found, [None, Some(1)]);
    keep(&recent, [started(&one)]);
    assert_eq!(recent.get(one.id).as_deref(), Some(&started(&one)));
    recent.forget([&one.id]);
    keep(&recent, [one.clone()]);
    assert_eq!(recent.get(one.id).as_deref(), Some(&one));
}

#[test]
fn what_is_kept_is_bounded_and_of_those_that_have_moved_the_newest() {
    let recent = Recent::default();
    let all = tasks(40_000, 200);
    for task in &all {
        keep(&recent, [task.clone()]);
        start(&recent, task);
    }
    assert!(held(&recent) <= 2 * MOVED_ROOM + 8 * 1_024);
    let found = |task: &Task| recent.get(task.id).is_some();
    assert!(all[36_000..].iter().all(found));
    assert!(!all[..20_000].iter().any(found));
}

#[test]
fn of_those_that_wait_the_first_stay_until_they_start() {
    let recent = small();
    let all = tasks(30_000, 200);
    keep(&recent, all.iter().cloned());
    let found = |task: &Task| recent.get(task.id).is_some();
    let here = all.iter().take_while(|task| found(task)).count();
    assert!(here > 8_000, "{here}");
    assert!(!all[here..].iter().any(found));
    for task in &all[..here] {
        start(&recent, task);
    }
    recent.forget([&all[29_999].id]);
    keep(&recent, [all[29_999].clone()]);
    assert!(found(&all[29_999]), "there is room again");
}

#[test]
fn those_that_never_start_lose_their_room_in_the_end() {
    let recent = small();
    let all = tasks(110_000, 200);
    keep(&recent, all.iter().cloned());
    assert_eq!(recent.get(all[0].id), None);
    assert!(held(&recent) <= 2 * MOVED_ROOM + 8 * 1_024);
}

#[test]
fn heavy_tasks_and_those_whose_time_has_not_come_stay_on_disk() {
    let recent = Recent::default();
    let heavy = tasks(1, HEAVIEST + 1);
    keep(&recent, heavy.clone());
    assert_eq!(recent.get(heavy[0].id), None);
    let mut later = tasks(1, 10).remove(0);
    later.due = Timestamp(NOW.0 + 1);
    keep(&recent, [later.clone()]);
    assert_eq!(recent.get(later.id), None);
    keep(&recent, [started(&later)]);
    assert!(recent.get(later.id).is_some());
}
