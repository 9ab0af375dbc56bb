//! Promises 2 and 7: who holds a task, for how long, and what a worker without its lease can do.

use tidings::{
    model::{Event, Fence, Status},
    store::{Commit, Guard, Renewal, Verdict},
};

use super::harness::{Harness, LONG, SHORT, answer, failure, ids};

fn renewal(task: &tidings::model::Task, progress: u8) -> Renewal {
    Renewal {
        id: task.id,
        fence: task.fence(),
        progress,
        sent: false,
        aside: false,
    }
}

pub(super) async fn an_expired_lease_is_overdue_and_a_fresh_one_is_not(h: Harness) {
    h.submit(h.specs(3)).await;
    let short = h.take_for(1, SHORT).await;
    h.take_for(1, LONG).await;
    assert!(h.store.overdue(10).await.unwrap().is_empty());
    h.advance(SHORT).await;
    assert_eq!(h.store.overdue(10).await.unwrap(), short);
}

pub(super) async fn a_renewed_lease_is_not_overdue(h: Harness) {
    h.submit(h.specs(2)).await;
    let taken = h.take_for(2, SHORT).await;
    let held = h.store.renew(&[renewal(&taken[0], 0)], LONG).await.unwrap();
    assert_eq!(held, [true]);
    h.advance(SHORT).await;
    assert_eq!(ids(&h.store.overdue(10).await.unwrap()), [taken[1].id]);
}

pub(super) async fn renewing_a_lost_lease_says_so_in_order(h: Harness) {
    h.submit(h.specs(3)).await;
    let lost = h.take_for(1, SHORT).await.remove(0);
    h.advance(SHORT).await;
    assert_eq!(h.reap().await.len(), 1);
    // The same task again, under a newer fence.
    let current = h.take(1).await.remove(0);
    assert_eq!(current.id, lost.id);
    let finished = h.take(1).await.remove(0);
    h.must(&finished, answer("")).await;
    let held = h.take(1).await.remove(0);
    let queued = h.task(h.submit(h.specs(1)).await.ids[0]).await;
    let unknown = tidings::model::IdRange::new(h.store.now(), h.partition(), h.draw(), 1).first;
    let earlier_epoch = Fence {
        epoch: held.epoch - 1,
        ..held.fence()
    };
    let renewals = [
        renewal(&lost, 1),
        renewal(&held, 2),
        renewal(&finished, 3),
        Renewal {
            id: unknown,
            ..renewal(&held, 4)
        },
        Renewal {
            fence: earlier_epoch,
            ..renewal(&held, 5)
        },
        renewal(&queued, 6),
        renewal(&current, 6),
    ];
    let answers = h.store.renew(&renewals, LONG).await.unwrap();
    assert_eq!(answers, [false, true, false, false, false, false, true]);
    assert_eq!(h.task(lost.id).await.progress, 6);
    assert_eq!(h.task(held.id).await.progress, 2);
    assert_eq!(h.task(finished.id).await.progress, 100);
}

pub(super) async fn a_call_once_marked_as_sent_stays_so_until_the_task_moves(h: Harness) {
    h.submit(h.specs(1)).await;
    let task = h.take(1).await.remove(0);
    assert!(!task.sent);
    let sent = Renewal {
        sent: true,
        aside: false,
        ..renewal(&task, 0)
    };
    let answers = h.store.renew(&[sent, renewal(&task, 1)], SHORT).await;
    assert_eq!(answers.unwrap(), [true, true]);
    assert!(h.task(task.id).await.sent);
    h.advance(SHORT).await;
    let lost = h.store.overdue(1).await.unwrap().remove(0);
    assert!(lost.sent);
    assert_eq!(h.reap().await.len(), 1);
    assert!(!h.task(task.id).await.sent);
    assert!(!h.take(1).await.remove(0).sent);
    assert!(!h.task(task.id).await.sent);
}

pub(super) async fn a_lease_renewed_since_it_was_read_is_not_reaped(h: Harness) {
    h.submit(h.specs(1)).await;
    let task = h.take_for(1, SHORT).await.remove(0);
    h.advance(SHORT).await;
    let read = h.store.overdue(1).await.unwrap().remove(0);
    assert_eq!(
        h.store.renew(&[renewal(&task, 9)], LONG).await.unwrap(),
        [true]
    );
    let reaping = Commit {
        guard: Guard::LeaseExpired,
        ..h.moved(&read, Event::LeaseExpired(failure("lost")))
    };
    assert_eq!(h.commit(vec![reaping]).await, [Verdict::Conflict]);
    assert_eq!(h.task(task.id).await.status(), Status::Processing);
    h.must(&task, answer("in time")).await;
}

pub(super) async fn a_live_lease_is_not_reaped(h: Harness) {
    h.submit(h.specs(1)).await;
    let task = h.take(1).await.remove(0);
    let reaping = Commit {
        guard: Guard::LeaseExpired,
        ..h.moved(&task, Event::LeaseExpired(failure("lost")))
    };
    assert_eq!(h.commit(vec![reaping]).await, [Verdict::Conflict]);
    assert_eq!(h.task(task.id).await, task);
}

pub(super) async fn a_late_worker_is_fenced_off(h: Harness) {
    let id = h.submit(h.specs(1)).await.ids[0];
    let late = h.take_for(1, SHORT).await.remove(0);
    h.advance(SHORT).await;
    h.reap().await;
    assert_eq!(
        h.apply(&late, answer("late, while queued")).await,
        Verdict::Conflict
    );
    let second = h.take(1).await.remove(0);
    assert_eq!(
        h.apply(&late, answer("late, while running")).await,
        Verdict::Conflict
    );
    let done = h.must(&second, answer("second")).await;
    assert_eq!(
        h.apply(&late, answer("late, when done")).await,
        Verdict::Conflict
    );
    assert_eq!(h.task(id).await, done);
    assert_eq!(done.charges.crashes, 1);
}

pub(super) async fn progress_is_read_back_and_is_no_revision(h: Harness) {
    let placed = h.submit(h.specs(1)).await;
    let mut task = h.take(1).await.remove(0);
    for progress in [0, 40, 40, 100] {
        let held = h
            .store
            .renew(&[renewal(&task, progress)], LONG)
            .await
            .unwrap();
        assert_eq!(held, [true]);
        task.progress = progress;
        assert_eq!(h.task(task.id).await, task);
    }
    assert_eq!(h.log(placed.batch).await.end, 2);
    let released = h.must(&task, Event::Released).await;
    assert_eq!(released.progress, 0);
    assert_eq!(h.task(task.id).await, released);
}
