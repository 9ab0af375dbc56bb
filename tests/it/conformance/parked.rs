//! A batch that is held back, and how it goes on: as the next, with the task that parked it as the first.

use tidings::{
    model::{Event, Spec, Task, TaskId},
    store::{Amendment, Append, Submission, Verdict},
};

use super::harness::{Harness, Placed, SHORT, ids};

/// Parks a batch by its first task, which must be the next to start.
async fn park(h: &Harness, placed: &Placed) {
    let first = h.take(1).await.remove(0);
    assert_eq!(first.id, placed.ids[0]);
    let event = h.park();
    h.must(&first, event).await;
}

/// Resumes a batch and acquires all there is: tells what follows the task that parked the batch.
async fn resume(h: &Harness, placed: &Placed) -> Vec<TaskId> {
    let amended = h
        .store
        .amend(placed.batch, Amendment::Resume { budget: None })
        .await;
    let batch = amended.unwrap().unwrap();
    assert_eq!(batch.parked, None);
    assert_eq!(h.batch(placed.batch).await, batch);
    let mut taken = h.take(100).await;
    let is_first = |task: &Task| task.id == placed.ids[0];
    let first = taken.remove(taken.iter().position(is_first).expect("it was given back"));
    assert_eq!(first.attempt(), 2);
    ids(&taken)
}

pub(super) async fn a_parked_batch_is_held_back_and_others_go_on(h: Harness) {
    let parked = h.submit(h.specs(3)).await;
    let other = h.submit(h.specs(2)).await;
    park(&h, &parked).await;
    let batch = h.batch(parked.batch).await;
    assert_eq!(batch.parked.unwrap().message, "top up");
    assert_eq!(batch.counts.queued, 3);
    assert_eq!(h.take_ids(100).await, other.ids);
    assert!(h.acquire(100, SHORT).await.tasks.is_empty());
}

pub(super) async fn a_resumed_batch_has_the_next_turn_in_its_order(h: Harness) {
    let parked = h.submit(h.specs(4)).await;
    park(&h, &parked).await;
    assert!(h.take(100).await.is_empty());
    let other = h.submit(h.specs(2)).await;
    let expected = [&parked.ids[1..], &other.ids].concat();
    assert_eq!(resume(&h, &parked).await, expected);
}

pub(super) async fn a_parked_batch_takes_no_turns_and_joins_again_as_the_first(h: Harness) {
    let mut batches = Vec::new();
    for _ in 0..3 {
        batches.push(h.submit(h.specs(20)).await);
    }
    let [first, second, third] = [0, 1, 2].map(|place: usize| &batches[place].ids);
    park(&h, &batches[0]).await;
    let expected = [second[0], third[0], second[1], third[1]];
    assert_eq!(h.take_ids(4).await, expected);
    let stats = h.store.stats().await.unwrap();
    assert_eq!((stats.ready, stats.parked), (36, 20));
    let resumed = h
        .store
        .amend(batches[0].batch, Amendment::Resume { budget: None })
        .await;
    resumed.unwrap();
    let expected = [first[0], second[2], third[2], first[1]];
    assert_eq!(h.take_ids(4).await, expected);
}

pub(super) async fn a_conflict_parks_nothing(h: Harness) {
    let placed = h.submit(h.specs(2)).await;
    let task = h.take(1).await.remove(0);
    h.must(&task, Event::Released).await;
    assert_eq!(h.apply(&task, h.park()).await, Verdict::Conflict);
    assert_eq!(h.batch(placed.batch).await.parked, None);
    assert_eq!(h.take_ids(5).await, placed.ids);
}

pub(super) async fn tasks_added_to_a_parked_batch_are_held_too(h: Harness) {
    let open = Submission {
        keep_open: true,
        ..h.submission(h.specs(2))
    };
    let mut placed = h.place(open).await;
    park(&h, &placed).await;
    let more = h.submission_to(placed.batch, Append::Open, h.specs(2));
    placed.ids.extend(h.place(more).await.ids);
    assert!(h.take(100).await.is_empty());
    assert_eq!(resume(&h, &placed).await, placed.ids[1..]);
}

pub(super) async fn a_delayed_task_that_comes_due_in_a_parked_batch_is_held(h: Harness) {
    let later = Spec {
        not_before: Some(h.after(SHORT)),
        ..h.spec("later")
    };
    let placed = h.submit(vec![h.spec("first"), later]).await;
    park(&h, &placed).await;
    h.advance(SHORT).await;
    assert!(h.take(100).await.is_empty());
    assert_eq!(resume(&h, &placed).await, [placed.ids[1]]);
}

pub(super) async fn a_task_held_back_can_be_cancelled(h: Harness) {
    let placed = h.submit(h.specs(3)).await;
    park(&h, &placed).await;
    assert!(h.take(100).await.is_empty());
    let held = h.task(placed.ids[1]).await;
    h.must(&held, Event::CancelRequested).await;
    assert_eq!(resume(&h, &placed).await, [placed.ids[2]]);
}

pub(super) async fn resuming_what_is_not_parked_changes_nothing(h: Harness) {
    assert_eq!(
        h.store
            .amend(h.batch_id(), Amendment::Resume { budget: None })
            .await
            .unwrap(),
        None
    );
    let first = h.submit(h.specs(2)).await;
    let second = h.submit(h.specs(2)).await;
    let before = h.batch(second.batch).await;
    let after = h
        .store
        .amend(second.batch, Amendment::Resume { budget: None })
        .await
        .unwrap();
    assert_eq!(after, Some(before));
    assert_eq!(h.take_ids(5).await, [first.ids, second.ids].concat());
}
