//! Promise 5: in which order tasks start.

use std::time::Duration;

use tidings::{
    model::{Event, Priority, Spec, Task, TaskId},
    store::{AGING_INTERVAL, Commit},
};

use super::harness::{Harness, LONG, SHORT, ids};

fn of(h: &Harness, priority: Priority, count: usize) -> Vec<Spec> {
    let mut specs = h.specs(count);
    specs.iter_mut().for_each(|spec| spec.priority = priority);
    specs
}

pub(super) async fn urgent_tasks_start_first(h: Harness) {
    let low = h.submit(of(&h, Priority::Low, 2)).await.ids;
    let normal = h.submit(of(&h, Priority::Normal, 2)).await.ids;
    let high = h.submit(of(&h, Priority::High, 2)).await.ids;
    assert_eq!(h.take_ids(6).await, [high, normal, low].concat());
}

pub(super) async fn tasks_of_one_priority_start_in_order_of_submission(h: Harness) {
    let mut submitted = Vec::new();
    for count in [3, 1, 4] {
        submitted.extend(h.submit(h.specs(count)).await.ids);
    }
    let mut taken = Vec::new();
    for max in [1, 2, 5] {
        taken.extend(h.take_ids(max).await);
    }
    assert_eq!(taken, submitted);
}

/// Submits more urgent tasks than can start, and tells which starts went to the others.
async fn aged_starts(h: &Harness, chunk: usize) -> Vec<u64> {
    let low = h.submit(of(h, Priority::Low, 4)).await.ids;
    h.submit(of(h, Priority::Normal, 4)).await;
    h.submit(of(h, Priority::High, 60)).await;
    let mut taken: Vec<Task> = Vec::new();
    while taken.len() < 50 {
        taken.extend(h.take(chunk.min(50 - taken.len())).await);
    }
    let starts = (1..).zip(&taken);
    let aged: Vec<(u64, TaskId)> = starts
        .filter(|(_, task)| task.spec.priority != Priority::High)
        .map(|(start, task)| (start, task.id))
        .collect();
    assert_eq!(
        aged.iter().map(|(_, id)| *id).collect::<Vec<_>>(),
        low[..aged.len()]
    );
    aged.into_iter().map(|(start, _)| start).collect()
}

pub(super) async fn every_sixteenth_start_goes_to_the_least_urgent(h: Harness) {
    let expected: Vec<u64> = (1..=3).map(|round| round * AGING_INTERVAL).collect();
    assert_eq!(aged_starts(&h, 1).await, expected);
}

pub(super) async fn a_large_acquire_ages_like_many_small_ones(h: Harness) {
    let expected: Vec<u64> = (1..=3).map(|round| round * AGING_INTERVAL).collect();
    assert_eq!(aged_starts(&h, 50).await, expected);
}

pub(super) async fn delayed_tasks_start_in_the_order_in_which_they_become_due(h: Harness) {
    let delayed = |parts: u32| Spec {
        not_before: Some(h.after(SHORT * parts / 3)),
        ..h.spec("later")
    };
    let [third, first, second] = h.submit(vec![delayed(3), delayed(1), delayed(2)]).await.ids[..]
    else {
        panic!("three were submitted")
    };
    let waiting = h.submit(h.specs(2)).await.ids;
    h.advance(SHORT).await;
    let expected = [waiting, vec![first, second, third]].concat();
    assert_eq!(h.take_ids(9).await, expected);
}

async fn commit_all(h: &Harness, tasks: &[Task], event: impl Fn() -> Event) {
    let commits: Vec<Commit> = tasks.iter().map(|task| h.moved(task, event())).collect();
    h.commit(commits).await;
}

pub(super) async fn released_tasks_return_to_the_head_in_their_order(h: Harness) {
    let submitted = h.submit(h.specs(6)).await.ids;
    let taken = h.take(4).await;
    commit_all(&h, &taken[1..], || Event::Released).await;
    let expected = [&submitted[1..4], &submitted[4..]].concat();
    let again = h.take(9).await;
    assert_eq!(ids(&again), expected);
    assert_eq!(again[0].attempt(), 2);
}

pub(super) async fn tasks_of_a_lost_worker_return_to_the_head_in_their_order(h: Harness) {
    let submitted = h.submit(h.specs(3)).await.ids;
    let lost = h.take_for(2, SHORT).await;
    h.advance(SHORT).await;
    let mut commits: Vec<Commit> = Vec::new();
    for task in &lost {
        commits.push(h.moved(task, Event::LeaseExpired(super::harness::failure("lost"))));
    }
    h.commit(commits).await;
    assert_eq!(
        h.take_for(9, LONG)
            .await
            .iter()
            .map(|task| task.id)
            .collect::<Vec<_>>(),
        submitted
    );
}

pub(super) async fn a_task_retried_without_a_wait_joins_the_tail(h: Harness) {
    let submitted = h.submit(h.specs(3)).await.ids;
    let first = h.take(1).await.remove(0);
    let event = h.retry(&first, Duration::ZERO);
    h.must(&first, event).await;
    let expected = [submitted[1], submitted[2], submitted[0]];
    assert_eq!(h.take_ids(9).await, expected);
}
