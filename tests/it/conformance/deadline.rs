//! Promise 6 again: what a passed deadline stops, and how it comes to light.

use std::time::Duration;

use tidings::model::{Event, Spec, Status, Task};

use super::harness::{Harness, LONG, SHORT, answer, ids};

/// Past the deadline of [`soon`], and past the instant it names.
const PASSED: Duration = Duration::from_millis(601);

fn soon(h: &Harness) -> Spec {
    Spec {
        deadline: h.after(SHORT),
        ..h.spec("soon")
    }
}

/// Finds the one overdue task, ends it as the reaper does, and sees that it stays ended.
async fn expect_overdue(h: &Harness, expected: &Task) {
    let overdue = h.store.overdue(10).await.unwrap();
    assert_eq!(overdue, std::slice::from_ref(expected));
    let event = Event::DeadlinePassed(expected.deadline_failure());
    let ended = h.must(expected, event).await;
    assert_eq!(ended.status(), Status::Error);
    assert_eq!(h.task(expected.id).await, ended);
    assert!(h.store.overdue(10).await.unwrap().is_empty());
    assert!(!h.take_ids(10).await.contains(&expected.id));
    assert_eq!(h.batch(expected.batch_id).await.counts.error, 1);
}

pub(super) async fn a_task_past_its_deadline_does_not_start(h: Harness) {
    let first = h.submit(vec![soon(&h), soon(&h)]).await;
    let second = h.submit(h.specs(1)).await;
    h.advance(PASSED).await;
    assert_eq!(h.take_ids(10).await, second.ids);
    for id in first.ids {
        assert_eq!(h.task(id).await.revision(), 1);
    }
}

pub(super) async fn a_queued_task_past_its_deadline_is_overdue(h: Harness) {
    let id = h.submit(vec![soon(&h), h.spec("fine")]).await.ids[0];
    assert!(h.store.overdue(10).await.unwrap().is_empty());
    h.advance(PASSED).await;
    let task = h.task(id).await;
    expect_overdue(&h, &task).await;
}

pub(super) async fn a_delayed_task_past_its_deadline_is_overdue(h: Harness) {
    let delayed = Spec {
        not_before: Some(h.after(LONG)),
        ..soon(&h)
    };
    let id = h.submit(vec![delayed]).await.ids[0];
    h.advance(PASSED).await;
    let task = h.task(id).await;
    expect_overdue(&h, &task).await;
}

pub(super) async fn a_running_task_past_its_deadline_is_overdue_under_a_fresh_lease(h: Harness) {
    h.submit(vec![soon(&h)]).await;
    let task = h.take(1).await.remove(0);
    h.advance(PASSED).await;
    expect_overdue(&h, &task).await;
    assert_eq!(
        h.apply(&task, answer("late")).await,
        tidings::store::Verdict::Conflict
    );
}

pub(super) async fn a_parked_task_past_its_deadline_is_overdue(h: Harness) {
    let ids = h.submit(vec![h.spec("first"), soon(&h)]).await.ids;
    let first = h.take(1).await.remove(0);
    let park = h.park();
    h.must(&first, park).await;
    assert!(h.take(5).await.is_empty());
    h.advance(PASSED).await;
    let task = h.task(ids[1]).await;
    expect_overdue(&h, &task).await;
}

pub(super) async fn overdue_names_no_more_than_asked_and_nothing_finished(h: Harness) {
    let mut expected = h
        .submit(vec![soon(&h), soon(&h), soon(&h), soon(&h)])
        .await
        .ids;
    let done = h.take(1).await.remove(0);
    h.must(&done, answer("")).await;
    expected.remove(0);
    h.advance(PASSED).await;
    assert_eq!(h.store.overdue(2).await.unwrap().len(), 2);
    let mut overdue = ids(&h.store.overdue(10).await.unwrap());
    overdue.sort_unstable();
    assert_eq!(overdue, expected);
}
