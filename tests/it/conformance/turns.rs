//! Promise 5, between batches: nobody waits for all that somebody else has queued.

use std::time::Duration;

use tidings::{
    model::{Event, Priority, Spec, TaskId},
    store::{Append, Commit, LAST_TURN, Submission},
};

use super::harness::{Harness, SHORT, ids};

/// More tasks than a batch may start in one turn.
const LARGE: usize = LAST_TURN as usize + 4;

fn of(h: &Harness, priority: Priority, count: usize) -> Vec<Spec> {
    let mut specs = h.specs(count);
    specs.iter_mut().for_each(|spec| spec.priority = priority);
    specs
}

async fn submit<const N: usize>(h: &Harness, counts: [usize; N]) -> [Vec<TaskId>; N] {
    let mut batches = [const { Vec::new() }; N];
    for (batch, count) in batches.iter_mut().zip(counts) {
        *batch = h.submit(h.specs(count)).await.ids;
    }
    batches
}

/// Acquires `count` tasks, no more than `chunk` at a time.
async fn take_in_chunks(h: &Harness, count: usize, chunk: usize) -> Vec<TaskId> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let more = h.take_ids(chunk.min(count - taken.len())).await;
        assert!(!more.is_empty(), "only {} of {count}", taken.len());
        taken.extend(more);
    }
    taken
}

pub(super) async fn a_small_batch_does_not_wait_for_a_large_one(h: Harness) {
    let large = h.submit(h.specs(1_000)).await.ids;
    let mut started = 0;
    for chunk in [1, 3, 11, 200] {
        let small = h.submit(h.specs(10)).await.ids;
        let taken = take_in_chunks(&h, chunk.max(11), chunk).await;
        let before = std::slice::from_ref(&large[started]);
        assert_eq!(taken[..11], [before, &small].concat(), "{chunk} at a time");
        let rest = taken.len() - 11;
        assert_eq!(taken[11..], large[started + 1..started + 1 + rest]);
        started += rest + 1;
    }
}

pub(super) async fn batches_take_turns_however_many_are_asked_for(h: Harness) {
    for chunk in [1, 2, 5, 7, 64, 200] {
        let [small, first, second, third] = submit(&h, [2, LARGE, LARGE + 1, LARGE + 30]).await;
        let mut expected = small;
        for place in 0..4 {
            expected.extend([&first, &second, &third].map(|batch| batch[place]));
        }
        expected.extend(&first[4..]);
        expected.extend([second[4], third[4]]);
        expected.extend(&second[5..]);
        expected.extend(&third[5..]);
        let taken = take_in_chunks(&h, expected.len(), chunk).await;
        assert_eq!(taken, expected, "{chunk} at a time");
        assert!(h.take(chunk).await.is_empty());
    }
}

pub(super) async fn a_thousand_batches_of_one_task_start_in_order_of_submission(h: Harness) {
    let mut submitted = Vec::new();
    for _ in 0..1_000 {
        submitted.extend(h.submit(h.specs(1)).await.ids);
    }
    let mut taken = Vec::new();
    for chunk in [1, 10, 100, 389, 500] {
        taken.extend(h.take_ids(chunk).await);
    }
    assert_eq!(taken, submitted);
    assert!(h.take(1).await.is_empty());
}

pub(super) async fn a_batch_with_new_tasks_joins_behind_the_others(h: Harness) {
    let open = Submission {
        keep_open: true,
        ..h.submission(h.specs(1))
    };
    let first = h.place(open).await;
    let [second] = submit(&h, [LARGE]).await;
    assert_eq!(h.take_ids(2).await, [first.ids[0], second[0]]);
    let [third] = submit(&h, [1]).await;
    let more = h.submission_to(first.batch, Append::Open, h.specs(2));
    let more = h.place(more).await.ids;
    let expected = [second[1], third[0], more[0], more[1], second[2]];
    assert_eq!(h.take_ids(5).await, expected);
}

async fn release(h: &Harness, tasks: &[tidings::model::Task]) {
    let commits: Vec<Commit> = tasks
        .iter()
        .map(|task| h.moved(task, Event::Released))
        .collect();
    h.commit(commits).await;
}

pub(super) async fn tasks_given_back_go_to_the_head_of_their_batch(h: Harness) {
    let [first, second] = submit(&h, [LARGE + 9, LARGE + 9]).await;
    let taken = h.take(5).await;
    let expected = [first[0], second[0], first[1], second[1], first[2]];
    assert_eq!(ids(&taken), expected);
    let firsts = [taken[0].clone(), taken[2].clone(), taken[4].clone()];
    release(&h, &firsts).await;
    let expected = [
        second[2], first[0], second[3], first[1], second[4], first[2], second[5], first[3],
    ];
    assert_eq!(h.take_ids(8).await, expected);
}

pub(super) async fn tasks_given_back_of_batches_without_others_start_next(h: Harness) {
    let batches = submit(&h, [1, 2, 1, 1]).await.concat();
    let taken = h.take(3).await;
    release(&h, &taken).await;
    assert_eq!(h.take_ids(9).await, batches);
}

pub(super) async fn a_delayed_task_comes_first_in_its_batch_and_not_before_other_batches(
    h: Harness,
) {
    let delayed = |parts: u32| Spec {
        not_before: Some(h.after(SHORT * parts / 2)),
        ..h.spec("later")
    };
    let alone = h.submit(vec![delayed(2), delayed(1)]).await.ids;
    let [first, second] = submit(&h, [1, 2]).await;
    let mixed = h.submit(vec![delayed(1), h.spec("now")]).await.ids;
    h.advance(SHORT).await;
    let expected = [&first[..], &second, &mixed, &[alone[1], alone[0]]].concat();
    assert_eq!(h.take_ids(9).await, expected);
}

pub(super) async fn a_task_retried_without_a_wait_goes_to_the_tail_of_its_batch(h: Harness) {
    let [first, second] = submit(&h, [3, 2]).await;
    let task = h.take(1).await.remove(0);
    let event = h.retry(&task, Duration::ZERO);
    h.must(&task, event).await;
    let expected = [&first[1..], &first[..1], &second].concat();
    assert_eq!(h.take_ids(9).await, expected);
}

pub(super) async fn a_task_that_cannot_start_uses_up_no_turn(h: Harness) {
    let [first, second, third] = submit(&h, [LARGE + 9, 5, LARGE + 9]).await;
    for id in [&first[..2], &first[3..4], &second[..4], &third[1..2]].concat() {
        let task = h.task(id).await;
        h.must(&task, Event::CancelRequested).await;
    }
    let expected = [
        first[2], second[4], third[0], first[4], third[2], first[5], third[3],
    ];
    assert_eq!(take_in_chunks(&h, 1, 1).await, expected[..1]);
    assert_eq!(h.take_ids(6).await, expected[1..]);
}

pub(super) async fn turns_are_taken_within_a_priority(h: Harness) {
    let normal = h.submit(of(&h, Priority::Normal, LARGE)).await.ids;
    let mixed = [of(&h, Priority::Normal, 2), of(&h, Priority::High, 3)].concat();
    let mixed = h.submit(mixed).await.ids;
    let high = h.submit(of(&h, Priority::High, 2)).await.ids;
    let expected = [&mixed[2..], &high, &normal[..1], &mixed[..2], &normal[1..3]];
    assert_eq!(h.take_ids(10).await, expected.concat());
}

pub(super) async fn aged_starts_take_turns_too(h: Harness) {
    let first = h.submit(of(&h, Priority::Low, LARGE)).await.ids;
    let second = h.submit(of(&h, Priority::Low, LARGE)).await.ids;
    h.submit(of(&h, Priority::High, 100)).await;
    let taken = h.take_ids(80).await;
    let aged: Vec<TaskId> = taken.into_iter().skip(15).step_by(16).collect();
    assert_eq!(aged, [first[0], second[0], first[1], second[1], first[2]]);
}
