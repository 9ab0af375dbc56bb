use std::sync::Arc;

use super::*;
use crate::{
    clock::Timestamp,
    model::{BatchId, Event, IdRange, Spec, WorkerId},
};

const NOW: Timestamp = Timestamp(1_000);

fn tasks(number: u64, count: u32) -> Vec<Task> {
    let spec = Arc::new(Spec::of_prompt("x", NOW));
    let ids = IdRange::new(NOW, 0, number << 32, count);
    let tasks = ids
        .iter()
        .map(|id| Task::new(id, BatchId::new(NOW, 0, number), spec.clone(), 1));
    tasks.collect()
}

/// Asks for each in turn, and reads rows where one is missing. Answers how often that was, and how many were read.
fn start(ahead: &mut Ahead, batches: &[Vec<Task>]) -> (usize, usize) {
    let (mut rows, mut read) = (0, 0);
    for index in 0..batches[0].len() {
        for batch in batches {
            let wanted = &batch[index];
            if let Some(task) = ahead.take(wanted.id, 1) {
                assert_eq!(task, *wanted);
                continue;
            }
            let row = batch[index..].iter().take(ahead.reach() as usize);
            let row: Vec<Task> = row.cloned().collect();
            (rows, read) = (rows + 1, read + row.len());
            ahead.put(row.into_iter().skip(1));
        }
    }
    (rows, read)
}

#[test]
fn where_all_are_asked_for_rows_grow() {
    let mut ahead = Ahead::default();
    let (rows, read) = start(&mut ahead, &[tasks(1, 2_000)]);
    assert!(rows <= 2_000 / LONGEST as usize + 8, "{rows}");
    assert_eq!(read, 2_000);
    assert!(ahead.tasks.is_empty());
}

#[test]
fn what_was_read_in_vain_makes_rows_shorter_and_is_bounded() {
    let mut ahead = Ahead::default();
    start(&mut ahead, &[tasks(1, 1_000)]);
    // The others behind each of these are never asked for.
    let mut read = 0;
    for task in tasks(2, 2_000) {
        assert_eq!(ahead.take(task.id, 1), None);
        let reach = ahead.reach();
        read += reach as usize;
        let number = task.id.as_bytes()[15] as u64 + ((task.id.as_bytes()[14] as u64) << 8);
        ahead.put(tasks(3 + number, reach - 1).into_iter());
        assert!(ahead.tasks.len() <= SPARE + LONGEST as usize);
    }
    assert!(read < 4_000, "{read}");
}

#[test]
fn batches_that_take_turns_cost_no_more_than_one_read_in_vain_each() {
    for count in [2, 5, 50, 1_000] {
        let batches: Vec<Vec<Task>> = (0..count).map(|it| tasks(it + 1, 40)).collect();
        let (rows, read) = start(&mut Ahead::default(), &batches);
        let all = 40 * count as usize;
        assert!(rows <= all && read <= 3 * all, "{count}: {rows}, {read}");
    }
}

#[test]
fn a_task_that_has_moved_since_it_was_read_is_read_again() {
    let mut ahead = Ahead::default();
    let mut row = tasks(1, 2);
    ahead.put(row.clone().into_iter());
    assert_eq!(ahead.take(row[0].id, 2), None);
    assert_eq!(ahead.take(row[0].id, 1), None, "it is not kept");
    let worker = WorkerId(42);
    assert_eq!(ahead.take(row[1].id, 1).as_ref(), Some(&row[1]));
    row[1].apply(Event::Acquired { worker }, NOW).unwrap();
    ahead.put(row.drain(1..));
}
