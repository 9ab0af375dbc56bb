//! Promises 2 and 3: a commit compares, and writes everything or nothing.

use std::{sync::Arc, time::Duration};

use tidings::{
    model::{Batch, Event, Fence, Outcome, Status, Task},
    store::{Append, Commit, Lookup, Moved, Stats, Verdict},
};

use super::harness::{Harness, LONG, answer, failure};

pub(super) async fn every_event_is_stored_as_it_was_applied(h: Harness) {
    let retry = |task: &Task| h.retry(task, Duration::ZERO);
    let running: [&(dyn Fn(&Task) -> Event + Sync); 9] = [
        &|_| answer("yes"),
        &|_| Event::Failed(failure("no")),
        &retry,
        &|_| Event::Released,
        &|_| Event::LeaseExpired(failure("lost")),
        &|_| Event::Poisoned(failure("lost again")),
        &|_| h.park(),
        &|_| Event::CancelRequested,
        &|task| Event::DeadlinePassed(task.deadline_failure()),
    ];
    for event in running {
        h.submit(h.specs(1)).await;
        let task = h.take(1).await.remove(0);
        let moved = h.must(&task, event(&task)).await;
        assert_eq!(h.task(task.id).await, moved);
        if !moved.status().is_terminal() {
            let ended = h.must(&moved, Event::CancelRequested).await;
            assert_eq!(h.task(task.id).await, ended);
        }
    }
    let waiting = h.task(h.submit(h.specs(1)).await.ids[0]).await;
    let event = Event::DeadlinePassed(waiting.deadline_failure());
    let moved = h.must(&waiting, event).await;
    assert_eq!(h.task(waiting.id).await, moved);
}

/// Everything a commit could touch.
async fn everything(h: &Harness, task: &Task) -> (Lookup, Vec<Moved>, Batch, Stats) {
    let log = h.log(task.batch_id).await;
    let stats = h.store.stats().await.unwrap();
    (h.lookup(task.id).await, log.entries, log.batch, stats)
}

pub(super) async fn a_conflict_changes_nothing(h: Harness) {
    h.submit(h.specs(2)).await;
    let held = h.take(1).await.remove(0);
    let released = h.must(&held, Event::Released).await;
    let before = everything(&h, &held).await;
    let late = [
        answer("late"),
        Event::Failed(failure("late")),
        h.retry(&held, Duration::ZERO),
        Event::LeaseExpired(failure("late")),
        h.park(),
        Event::CancelRequested,
    ];
    for event in late {
        assert_eq!(h.apply(&held, event).await, Verdict::Conflict);
        assert_eq!(everything(&h, &held).await, before);
    }
    assert_eq!(h.take(1).await.remove(0).id, released.id);
}

pub(super) async fn a_repeated_commit_is_applied_and_counts_once(h: Harness) {
    let placed = h.submit(h.specs(2)).await;
    let taken = h.take(2).await;
    let commits = vec![
        h.moved(&taken[0], answer("once")),
        h.moved(&taken[1], Event::Released),
    ];
    for _ in 0..3 {
        assert_eq!(h.commit(commits.clone()).await, [Verdict::Applied; 2]);
    }
    let log = h.log(placed.batch).await;
    assert_eq!(log.end, 6);
    assert_eq!(
        (log.batch.counts.completed, log.batch.counts.queued),
        (1, 1)
    );
    assert_eq!(log.batch.usage.output_tokens, 5);
    assert_eq!(h.take_ids(5).await, [placed.ids[1]]);
}

pub(super) async fn a_fence_of_an_earlier_epoch_than_the_task_is_a_conflict(h: Harness) {
    h.submit(h.specs(1)).await;
    let task = h.take(1).await.remove(0);
    let commit = Commit {
        fence: Fence {
            epoch: task.epoch - 1,
            ..task.fence()
        },
        ..h.moved(&task, answer("of an earlier epoch"))
    };
    assert_eq!(h.commit(vec![commit]).await, [Verdict::Conflict]);
    assert_eq!(h.task(task.id).await, task);
}

pub(super) async fn a_fence_read_in_a_later_epoch_holds_for_a_task_that_was_not_lost(h: Harness) {
    h.submit(h.specs(1)).await;
    let mut task = h.take(1).await.remove(0);
    // As it is read once the store has begun another epoch.
    task.epoch += 1;
    h.must(&task, answer("after the loss")).await;
    assert_eq!(h.task(task.id).await.status(), Status::Completed);
}

pub(super) async fn a_commit_of_an_unknown_task_is_a_conflict(h: Harness) {
    let submission = h.submission_to(h.batch_id(), Append::New, h.specs(1));
    let spec = Arc::clone(&submission.specs[0]);
    let epoch = h.store.info().epoch;
    let task = Task::new(submission.ids.first, submission.batch_id, spec, epoch);
    assert_eq!(
        h.apply(&task, Event::CancelRequested).await,
        Verdict::Conflict
    );
    assert_eq!(h.lookup(task.id).await, Lookup::Missing);
    assert_eq!(h.store.batch(task.batch_id).await.unwrap(), None);
}

pub(super) async fn verdicts_come_in_order_and_a_conflict_spoils_no_other(h: Harness) {
    let placed = h.submit(h.specs(5)).await;
    let taken = h.take(5).await;
    h.must(&taken[1], Event::CancelRequested).await;
    h.must(&taken[3], Event::Failed(failure("no"))).await;
    let commits = taken
        .iter()
        .map(|task| h.moved(task, answer("yes")))
        .collect();
    let (applied, conflict) = (Verdict::Applied, Verdict::Conflict);
    assert_eq!(
        h.commit(commits).await,
        [applied, conflict, applied, conflict, applied]
    );
    let counts = h.batch(placed.batch).await.counts;
    assert_eq!(
        (counts.completed, counts.cancelled, counts.error),
        (3, 1, 1)
    );
    assert_eq!(h.commit(Vec::new()).await, []);
}

pub(super) async fn of_many_commits_at_once_one_wins(h: Harness) {
    for _ in 0..20 {
        let placed = h.submit(h.specs(1)).await;
        let task = h.take(1).await.remove(0);
        let rivals = (0..6).map(|number: u8| {
            let commit = h.moved(&task, answer(&format!("of {number}")));
            let store = Arc::clone(if number.is_multiple_of(2) {
                &h.store
            } else {
                &h.peer
            });
            tokio::spawn(async move {
                let verdict = store.commit(vec![commit.clone()]).await.unwrap()[0];
                (verdict, commit.task)
            })
        });
        let rivals: Vec<_> = rivals.collect();
        let mut winners = Vec::new();
        for rival in rivals {
            let (verdict, task) = rival.await.unwrap();
            winners.extend((verdict == Verdict::Applied).then_some(task));
        }
        assert_eq!(winners, [h.task(task.id).await]);
        let batch = h.batch(placed.batch).await;
        assert_eq!((batch.counts.completed, batch.usage.output_tokens), (1, 5));
    }
}

pub(super) async fn a_running_task_that_is_cancelled_fences_its_worker(h: Harness) {
    h.submit(h.specs(1)).await;
    let task = h.take(1).await.remove(0);
    let cancelled = h.must(&task, Event::CancelRequested).await;
    let renewal = tidings::store::Renewal {
        id: task.id,
        fence: task.fence(),
        progress: 50,
        sent: false,
        aside: false,
    };
    assert_eq!(h.store.renew(&[renewal], LONG).await.unwrap(), [false]);
    assert_eq!(h.apply(&task, answer("late")).await, Verdict::Conflict);
    assert_eq!(h.task(task.id).await, cancelled);
    assert_eq!(cancelled.status(), Status::Cancelled);
}

pub(super) async fn a_large_outcome_is_kept_whole(h: Harness) {
    h.submit(h.specs(1)).await;
    let task = h.take(1).await.remove(0);
    let outcome = Outcome {
        text: "\u{1f980}".repeat(1 << 17),
        body: "\0\n".repeat(1 << 19),
        ..Outcome::default()
    };
    let done = h.must(&task, Event::Succeeded(Box::new(outcome))).await;
    assert_eq!(h.task(task.id).await, done);
}

pub(super) async fn a_task_keeps_its_past_through_many_attempts(h: Harness) {
    let placed = h.submit(h.specs(1)).await;
    for attempt in 1..=30 {
        let task = h.take(1).await.remove(0);
        assert_eq!(task.attempt(), attempt);
        let event = h.retry(&task, Duration::ZERO);
        let queued = h.must(&task, event).await;
        assert_eq!(h.task(task.id).await, queued);
    }
    let task = h.take(1).await.remove(0);
    let done = h.must(&task, answer("at last")).await;
    assert_eq!((done.revision(), done.failures.len()), (63, 30));
    assert_eq!(h.task(placed.ids[0]).await, done);
    assert_eq!(h.log(placed.batch).await.end, 63);
}
