//! Promise 6: who gets what, and what waits.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tidings::{
    model::{Cause, Event, Spec, Status, WorkerId},
    store::Verdict,
};

use super::harness::{Harness, LONG, SHORT, WORKER};

pub(super) async fn an_acquired_task_is_processing_under_its_worker(h: Harness) {
    let id = h.submit(h.specs(1)).await.ids[0];
    let taken = h.take(1).await.remove(0);
    assert_eq!((taken.id, taken.status()), (id, Status::Processing));
    assert_eq!((taken.revision(), taken.attempt()), (2, 1));
    assert_eq!(
        (taken.last().cause, taken.last().worker),
        (Cause::Acquired, Some(WORKER))
    );
    assert!(taken.last().at >= taken.spec.create_time);
    assert_eq!(h.task(id).await, taken);
    assert!(h.take(1).await.is_empty());
}

pub(super) async fn acquire_takes_no_more_than_asked_and_says_whether_there_may_be_more(
    h: Harness,
) {
    assert!(!h.acquire(5, LONG).await.more);
    h.submit(h.specs(7)).await;
    let mut left = 7;
    while left > 0 {
        let acquired = h.acquire(3, LONG).await;
        assert!(acquired.tasks.len() <= 3);
        left -= acquired.tasks.len();
        assert!(acquired.more || left == 0, "{left} are left");
    }
    assert!(h.take(3).await.is_empty());
}

pub(super) async fn workers_that_acquire_at_once_never_share_a_task(h: Harness) {
    let mut submitted = BTreeSet::new();
    for _ in 0..4 {
        submitted.extend(h.submit(h.specs(100)).await.ids);
    }
    let workers = (1..=8).map(|number| {
        let store = Arc::clone(if number % 2 == 0 { &h.store } else { &h.peer });
        tokio::spawn(async move {
            let mut taken = Vec::new();
            loop {
                let acquired = store.acquire(WorkerId(number), 7, LONG).await.unwrap();
                taken.extend(acquired.tasks);
                if !acquired.more {
                    return taken;
                }
            }
        })
    });
    let workers: Vec<_> = workers.collect();
    let mut taken = Vec::new();
    for worker in workers {
        taken.extend(worker.await.unwrap());
    }
    assert_eq!(taken.len(), 400);
    let distinct: BTreeSet<_> = taken.iter().map(|task| task.id).collect();
    assert_eq!(distinct, submitted);
}

pub(super) async fn a_task_waits_for_its_not_before_and_the_store_says_how_long(h: Harness) {
    let not_before = h.after(SHORT);
    let spec = Spec {
        not_before: Some(not_before),
        ..h.spec("later")
    };
    let id = h.submit(vec![spec]).await.ids[0];
    let acquired = h.acquire(1, LONG).await;
    assert!(acquired.tasks.is_empty() && !acquired.more);
    assert_eq!(acquired.next_due, Some(not_before));
    h.advance(SHORT).await;
    let taken = h.take(1).await.remove(0);
    assert_eq!(taken.id, id);
    assert!(taken.last().at >= not_before);
}

pub(super) async fn a_retried_task_waits_until_it_is_due(h: Harness) {
    let id = h.submit(h.specs(1)).await.ids[0];
    let task = h.take(1).await.remove(0);
    let event = h.retry(&task, SHORT);
    let queued = h.must(&task, event).await;
    assert!(h.take(1).await.is_empty());
    assert_eq!(h.task(id).await, queued);
    h.advance(SHORT).await;
    let again = h.take(1).await.remove(0);
    assert_eq!((again.id, again.attempt(), again.revision()), (id, 2, 4));
    assert_eq!(again.failures, queued.failures);
    assert_eq!(again.charges, queued.charges);
}

pub(super) async fn a_cancelled_task_never_starts(h: Harness) {
    let ids = h.submit(h.specs(3)).await.ids;
    let middle = h.task(ids[1]).await;
    let cancelled = h.must(&middle, Event::CancelRequested).await;
    assert_eq!(cancelled.status(), Status::Cancelled);
    assert_eq!(h.take_ids(5).await, [ids[0], ids[2]]);
    assert_eq!(h.task(ids[1]).await, cancelled);
}

pub(super) async fn a_cancelled_delayed_task_never_starts(h: Harness) {
    let not_before = Some(h.after(SHORT));
    let spec = Spec {
        not_before,
        ..h.spec("later")
    };
    let ids = h.submit(vec![spec.clone(), spec]).await.ids;
    let first = h.task(ids[0]).await;
    assert_eq!(
        h.apply(&first, Event::CancelRequested).await,
        Verdict::Applied
    );
    h.advance(SHORT + Duration::from_millis(1)).await;
    assert_eq!(h.take_ids(5).await, [ids[1]]);
}
