//! How long finished work is kept, and what is known of it afterwards.

use std::time::Duration;

use tidings::{
    model::{Spec, Task},
    store::{Lookup, Submission, TOMBSTONE_RETENTION},
};

use super::harness::{Harness, SHORT, answer};

const MOMENT: Duration = Duration::from_millis(50);

fn brief(h: &Harness) -> Spec {
    let retention = SHORT.as_millis() as u64;
    Spec {
        status_retention_ms: retention,
        result_retention_ms: retention,
        ..h.spec("brief")
    }
}

async fn finish_one(h: &Harness, spec: Spec) -> Task {
    h.submit(vec![spec]).await;
    let task = h.take(1).await.remove(0);
    h.must(&task, answer("")).await
}

/// Sweeps until nothing is left to remove.
async fn sweep(h: &Harness) {
    for _ in 0..100 {
        if h.store.sweep().await.unwrap() == 0 {
            return;
        }
    }
    panic!("sweeping has no end");
}

pub(super) async fn a_finished_task_is_expired_after_its_retention(h: Harness) {
    let spec = brief(&h);
    let done = finish_one(&h, spec).await;
    assert_eq!(h.task(done.id).await, done);
    h.advance(SHORT + MOMENT).await;
    assert_eq!(h.lookup(done.id).await, Lookup::Expired);
    sweep(&h).await;
    assert_eq!(h.lookup(done.id).await, Lookup::Expired);
    let batch = h.batch(done.batch_id).await;
    assert_eq!((batch.counts.completed, batch.is_done()), (1, true));
}

pub(super) async fn sweeping_spares_what_is_alive(h: Harness) {
    let placed = h.submit(vec![brief(&h), brief(&h), brief(&h)]).await;
    let taken = h.take(2).await;
    let spec = Spec {
        result_retention_ms: 3_600_000,
        ..brief(&h)
    };
    h.submit(vec![spec]).await;
    h.must(&taken[1], answer("")).await;
    let kept = h.take(2).await.pop().unwrap();
    let kept = h.must(&kept, answer("kept")).await;
    h.advance(SHORT + MOMENT).await;
    sweep(&h).await;
    let lookups = h.store.tasks(&placed.ids).await.unwrap();
    assert!(matches!(lookups[0], Lookup::Found(_)), "{lookups:?}");
    assert_eq!(lookups[1], Lookup::Expired);
    assert!(matches!(lookups[2], Lookup::Found(_)), "{lookups:?}");
    assert_eq!(h.task(kept.id).await, kept);
}

pub(super) async fn an_expired_task_is_missing_after_another_day(h: Harness) {
    let spec = brief(&h);
    let done = finish_one(&h, spec).await;
    h.advance(SHORT).await;
    assert_eq!(h.lookup(done.id).await, Lookup::Expired);
    h.advance(TOMBSTONE_RETENTION - MOMENT).await;
    sweep(&h).await;
    assert_eq!(h.lookup(done.id).await, Lookup::Expired);
    h.advance(MOMENT).await;
    sweep(&h).await;
    assert_eq!(h.lookup(done.id).await, Lookup::Missing);
}

pub(super) async fn a_finished_batch_is_swept_a_day_after_its_last_task(h: Harness) {
    let spec = brief(&h);
    let done = finish_one(&h, spec).await;
    h.advance(SHORT + TOMBSTONE_RETENTION - MOMENT).await;
    sweep(&h).await;
    assert!(h.batch(done.batch_id).await.is_done());
    h.advance(MOMENT).await;
    sweep(&h).await;
    assert_eq!(h.store.batch(done.batch_id).await.unwrap(), None);
    assert_eq!(h.store.log(done.batch_id, 0, 9).await.unwrap(), None);
    assert_eq!(h.store.list(None, None, 9).await.unwrap().ids, []);
}

pub(super) async fn an_open_batch_is_never_swept(h: Harness) {
    let open = Submission {
        keep_open: true,
        ..h.submission(vec![brief(&h)])
    };
    let placed = h.place(open).await;
    let task = h.take(1).await.remove(0);
    h.must(&task, answer("")).await;
    h.advance(SHORT + TOMBSTONE_RETENTION * 2).await;
    sweep(&h).await;
    assert_eq!(h.lookup(task.id).await, Lookup::Missing);
    assert!(h.batch(placed.batch).await.open);
}
