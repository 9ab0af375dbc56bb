use super::*;
use crate::model::IdRange;

const NOW: Timestamp = Timestamp(1_000);
const LATER: Timestamp = Timestamp(2_000);
const NEVER: Timestamp = Timestamp(i64::MAX);

fn ids(count: u32) -> Vec<TaskId> {
    IdRange::new(NOW, 0, 7, count).iter().collect()
}

fn batch(number: u64) -> BatchId {
    BatchId::new(NOW, 0, number)
}

fn fence() -> Fence {
    Fence {
        epoch: 1,
        revision: 1,
    }
}

fn live(of: BatchId, priority: Priority, due: Timestamp) -> Live {
    Live::new(fence(), of, priority, due, NEVER, 10)
}

fn queued(index: &mut Index, id: TaskId, priority: Priority) {
    index.queue(id, live(batch(1), priority, NOW), Seat::Tail, NOW);
}

fn take(index: &mut Index) -> Option<TaskId> {
    index.take(NOW, &mut |_, _| true)
}

fn drain(index: &mut Index) -> Vec<TaskId> {
    std::iter::from_fn(|| take(index)).collect()
}

#[test]
fn urgent_tasks_come_first_and_each_priority_in_order() {
    let ids = ids(4);
    let mut index = Index::default();
    queued(&mut index, ids[0], Priority::Low);
    queued(&mut index, ids[1], Priority::Normal);
    queued(&mut index, ids[2], Priority::High);
    queued(&mut index, ids[3], Priority::High);
    assert_eq!(drain(&mut index), [ids[2], ids[3], ids[1], ids[0]]);
    assert!(!index.has_ready());
}

#[test]
fn every_sixteenth_start_takes_the_least_urgent() {
    let ids = ids(40);
    let mut index = Index::default();
    for id in &ids[..38] {
        queued(&mut index, *id, Priority::High);
    }
    queued(&mut index, ids[38], Priority::Normal);
    queued(&mut index, ids[39], Priority::Low);
    let order = drain(&mut index);
    assert_eq!((order[15], order[31]), (ids[39], ids[38]));
}

#[test]
fn a_task_given_back_goes_to_the_head_and_several_keep_their_order() {
    let ids = ids(4);
    let mut index = Index::default();
    for id in &ids {
        queued(&mut index, *id, Priority::Normal);
    }
    let taken = [take(&mut index).unwrap(), take(&mut index).unwrap()];
    let head = index.reserve_head(2);
    for (seat, id) in (head..).zip(taken) {
        let live = live(batch(1), Priority::Normal, NOW);
        index.queue(id, live, Seat::At(seat), NOW);
    }
    assert_eq!(drain(&mut index), ids);
}

#[test]
fn a_delayed_task_waits_and_then_comes_first() {
    let ids = ids(2);
    let mut index = Index::default();
    let late = live(batch(1), Priority::Normal, LATER);
    index.queue(ids[0], late, Seat::Tail, NOW);
    queued(&mut index, ids[1], Priority::Normal);
    index.promote(NOW);
    assert_eq!(index.stats().delayed, 1);
    assert_eq!(index.next_due(), Some(LATER));
    index.promote(LATER);
    assert_eq!((index.stats().delayed, index.stats().ready), (0, 2));
    assert_eq!(drain(&mut index), ids);
}

#[test]
fn a_parked_batch_waits_and_then_has_the_next_turn() {
    let ids = ids(5);
    let mut index = Index::default();
    let other = live(batch(2), Priority::Normal, NOW);
    index.queue(ids[0], other, Seat::Tail, NOW);
    queued(&mut index, ids[1], Priority::Normal);
    queued(&mut index, ids[2], Priority::Normal);
    let late = live(batch(1), Priority::Normal, LATER);
    index.queue(ids[3], late, Seat::Tail, NOW);
    index.park(batch(1));
    queued(&mut index, ids[4], Priority::Normal);
    let stats = index.stats();
    assert_eq!((stats.ready, stats.delayed, stats.parked), (1, 0, 4));
    index.resume(batch(1));
    let stats = index.stats();
    assert_eq!((stats.ready, stats.delayed, stats.parked), (4, 1, 0));
    assert_eq!(drain(&mut index), [ids[1], ids[2], ids[4], ids[0]]);
}

#[test]
fn a_task_past_its_deadline_does_not_start_but_is_overdue() {
    let ids = ids(2);
    let mut index = Index::default();
    let dead = Live {
        deadline: NOW,
        ..live(batch(1), Priority::Normal, NOW)
    };
    index.queue(ids[0], dead, Seat::Tail, NOW);
    queued(&mut index, ids[1], Priority::Normal);
    assert_eq!(drain(&mut index), [ids[1]]);
    assert_eq!(index.overdue(NOW, 10), [ids[0]]);
    index.remove(ids[0]);
    assert_eq!(index.overdue(NOW, 10), []);
}

#[test]
fn a_lease_runs_out_unless_it_is_extended() {
    let ids = ids(1);
    let mut index = Index::default();
    queued(&mut index, ids[0], Priority::Normal);
    let id = take(&mut index).unwrap();
    index.hold(id, fence(), NOW);
    assert_eq!(index.stats().processing, 1);
    assert_eq!(index.overdue(NOW, 10), [id]);
    index.hold(id, fence(), LATER);
    assert_eq!(index.overdue(NOW, 10), []);
    assert_eq!(index.overdue(LATER, 10), [id]);
    index.remove(id);
    assert_eq!(index.stats(), Stats::default());
}

#[test]
fn ten_thousand_batches_of_one_task_start_in_order() {
    let ids = ids(10_000);
    let mut index = Index::default();
    for (number, id) in (0..).zip(&ids) {
        let live = live(batch(number), Priority::Normal, NOW);
        index.queue(*id, live, Seat::Tail, NOW);
    }
    assert_eq!(drain(&mut index), ids);
}

#[test]
fn a_batch_of_which_nothing_is_queued_costs_nothing() {
    let ids = ids(6);
    let mut index = Index::default();
    queued(&mut index, ids[0], Priority::High);
    queued(&mut index, ids[1], Priority::Normal);
    let late = live(batch(1), Priority::Normal, LATER);
    index.queue(ids[2], late, Seat::Tail, NOW);
    queued(&mut index, ids[3], Priority::Low);
    for id in &ids[..2] {
        assert_eq!(take(&mut index), Some(*id));
        index.hold(*id, fence(), LATER);
    }
    index.promote(LATER);
    index.remove(ids[2]);
    index.remove(ids[3]);
    assert_eq!(take(&mut index), None);
    assert!(index.lines.is_empty() && !index.has_ready());
    index.park(batch(1));
    queued(&mut index, ids[4], Priority::Normal);
    index.remove(ids[4]);
    index.forget(batch(1));
    assert!(index.lines.is_empty() && index.parked.is_empty());
    queued(&mut index, ids[5], Priority::Normal);
    assert_eq!(take(&mut index), Some(ids[5]));
}

#[test]
fn an_entry_is_small() {
    assert!(size_of::<(TaskId, Live)>() <= 120);
    assert!(size_of::<(BatchId, Line)>() <= 128);
}
