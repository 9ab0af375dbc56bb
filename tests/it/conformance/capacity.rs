//! A store that is full refuses whole what it has no room for, goes on with what it has, and has room again when that
//! ends. Every store here holds [`SMALL`] in the partition that cases keep to.

use std::sync::Arc;

use tidings::{
    model::{Event, Spec, TaskId},
    store::{Append, Error, Load, Lookup, Submission},
};
use tokio::task::JoinSet;

use super::{
    harness::{Harness, LONG, Placed, answer, failure, key},
    stores::SMALL,
};

/// Tasks of one byte.
fn light(h: &Harness, count: u64) -> Vec<Spec> {
    (0..count).map(|_| h.spec("x")).collect()
}

/// One task of so many bytes.
fn heavy(h: &Harness, bytes: u64) -> Vec<Spec> {
    vec![h.spec(&"x".repeat(bytes as usize))]
}

async fn fill(h: &Harness) -> Placed {
    h.submit(light(h, SMALL.tasks)).await
}

/// Why a submit is refused, which must be that the store is full.
async fn refused(h: &Harness, submission: Submission) -> String {
    match h.store.submit(submission).await {
        Err(Error::Full(cause)) => cause,
        other => panic!("{other:?}"),
    }
}

async fn assert_full_of_tasks(h: &Harness) {
    let cause = refused(h, h.submission(light(h, 1))).await;
    assert!(cause.contains("limits.queue_tasks"), "{cause}");
    let limit = format!("limit of {} ", SMALL.tasks);
    assert!(cause.contains(&limit), "{cause}");
}

async fn assert_full_of_bytes(h: &Harness) {
    let cause = refused(h, h.submission(heavy(h, 1))).await;
    assert!(cause.contains("limits.queue_bytes"), "{cause}");
    let limit = format!("limit of {} ", SMALL.bytes);
    assert!(cause.contains(&limit), "{cause}");
}

async fn held(h: &Harness) -> Load {
    let stats = h.store.stats().await.unwrap();
    Load {
        tasks: stats.ready + stats.delayed + stats.parked + stats.processing,
        bytes: stats.bytes,
    }
}

pub(super) async fn a_store_takes_tasks_up_to_its_limit_and_no_more(h: Harness) {
    let cause = refused(&h, h.submission(light(&h, SMALL.tasks + 1))).await;
    assert!(cause.contains("limits.queue_tasks"), "{cause}");
    h.submit(light(&h, SMALL.tasks - 1)).await;
    refused(&h, h.submission(light(&h, 2))).await;
    h.submit(light(&h, 1)).await;
    assert_full_of_tasks(&h).await;
    assert_eq!(held(&h).await.tasks, SMALL.tasks);
}

pub(super) async fn a_store_takes_bytes_up_to_its_limit_and_no_more(h: Harness) {
    let cause = refused(&h, h.submission(heavy(&h, SMALL.bytes + 1))).await;
    assert!(cause.contains("limits.queue_bytes"), "{cause}");
    h.submit(heavy(&h, SMALL.bytes - 7)).await;
    refused(&h, h.submission(heavy(&h, 8))).await;
    h.submit(heavy(&h, 7)).await;
    assert_full_of_bytes(&h).await;
    let nothing = vec![h.spec("")];
    h.submit(nothing).await;
    assert_eq!(held(&h).await.bytes, SMALL.bytes);
}

pub(super) async fn of_many_submits_at_once_no_more_than_fit_are_accepted(h: Harness) {
    let mut calls = JoinSet::new();
    for _ in 0..40 {
        let submission = h.submission(light(&h, 3));
        let store = Arc::clone(&h.store);
        calls.spawn(async move { store.submit(submission).await });
    }
    let answers = calls.join_all().await;
    let accepted = answers.iter().filter(|it| it.is_ok()).count() as u64;
    assert_eq!(accepted, SMALL.tasks / 3, "{answers:?}");
    assert_eq!(held(&h).await.tasks, accepted * 3);
}

pub(super) async fn a_task_that_ends_in_any_way_makes_room(h: Harness) {
    let each = SMALL.bytes / 5;
    let mut placed = Vec::new();
    for _ in 0..5 {
        placed.extend(h.submit(heavy(&h, each)).await.ids);
    }
    assert_full_of_bytes(&h).await;
    let running = h.take(4).await;
    let queued = h.task(placed[4]).await;
    let ends = [
        (&running[0], answer("a much longer answer than room was")),
        (&running[1], Event::Failed(failure("no"))),
        (&running[2], Event::CancelRequested),
        (
            &running[3],
            Event::DeadlinePassed(running[3].deadline_failure()),
        ),
        (&queued, Event::CancelRequested),
    ];
    for (task, event) in ends {
        assert_full_of_bytes(&h).await;
        h.must(task, event).await;
        // As much as the task weighed, not more.
        h.submit(heavy(&h, each)).await;
    }
    assert_full_of_bytes(&h).await;
}

pub(super) async fn a_task_that_ends_makes_room_for_one(h: Harness) {
    fill(&h).await;
    let running = h.take(3).await;
    assert_full_of_tasks(&h).await;
    h.must(&running[0], answer("done")).await;
    let again = h.moved(&running[1], answer("done"));
    h.commit(vec![again.clone()]).await;
    h.commit(vec![again]).await;
    h.submit(light(&h, 2)).await;
    assert_full_of_tasks(&h).await;
}

pub(super) async fn tasks_that_wait_take_room_until_they_end(h: Harness) {
    let later = Spec {
        not_before: Some(h.after(LONG)),
        ..h.spec("later")
    };
    h.submit(vec![later]).await;
    let batch = h.submit(light(&h, SMALL.tasks - 1)).await.batch;
    let running = h.take(5).await;
    let full = held(&h).await;
    let wait = h.retry(&running[0], LONG);
    let moves = [(&running[0], wait), (&running[1], Event::Released)];
    for (task, event) in moves {
        h.must(task, event).await;
        assert_full_of_tasks(&h).await;
    }
    h.must(&running[2], h.park()).await;
    assert!(h.batch(batch).await.parked.is_some());
    assert_full_of_tasks(&h).await;
    assert_eq!(held(&h).await.bytes, full.bytes);
    h.must(&running[3], answer("done")).await;
    h.submit(light(&h, 1)).await;
    assert_full_of_tasks(&h).await;
}

pub(super) async fn what_a_full_store_holds_goes_on(h: Harness) {
    let placed = fill(&h).await;
    // Another batch would take its turns.
    let later = Spec {
        not_before: Some(h.after(LONG)),
        ..h.spec("later")
    };
    for id in &placed.ids {
        assert_full_of_tasks(&h).await;
        let task = h.take(1).await.remove(0);
        assert_eq!(task.id, *id);
        let task = h
            .must(&task, h.retry(&task, std::time::Duration::ZERO))
            .await;
        h.must(&task, Event::CancelRequested).await;
        h.submit(vec![later.clone()]).await;
    }
    assert!(h.batch(placed.batch).await.is_done());
}

pub(super) async fn a_full_store_answers_what_it_accepted_before(h: Harness) {
    let first = Submission {
        idempotency: key("first", 1),
        ..h.submission(light(&h, 4))
    };
    let accepted = h.store.submit(first.clone()).await.unwrap();
    let plain = h.submission(light(&h, SMALL.tasks - 4));
    h.place(plain.clone()).await;
    assert_full_of_tasks(&h).await;
    let anew = Submission {
        idempotency: key("first", 1),
        ..h.submission(light(&h, 4))
    };
    for repeat in [first, anew] {
        assert_eq!(h.store.submit(repeat).await.unwrap(), accepted);
    }
    // The answer to a call without a key was lost.
    assert_eq!(h.store.submit(plain.clone()).await.unwrap().ids, plain.ids);
    let other = Submission {
        idempotency: key("first", 2),
        ..h.submission(light(&h, 4))
    };
    let error = h.store.submit(other).await.unwrap_err();
    assert!(matches!(error, Error::KeyReused), "{error}");
    assert_eq!(held(&h).await.tasks, SMALL.tasks);
}

pub(super) async fn a_full_store_takes_no_append_and_no_retry(h: Harness) {
    let open = Submission {
        keep_open: true,
        ..h.submission(light(&h, 1))
    };
    let open = h.place(open).await;
    let failed = h.submit(light(&h, 1)).await;
    let running = h.take(2).await;
    let task = running.iter().find(|it| it.id == failed.ids[0]).unwrap();
    h.must(task, Event::Failed(failure("no"))).await;
    h.submit(light(&h, SMALL.tasks - 1)).await;
    let again = Spec {
        retry_of: Some(failed.ids[0]),
        ..h.spec("x")
    };
    let retry = h.submission_to(failed.batch, Append::Retry, vec![again]);
    let append = h.submission_to(open.batch, Append::Open, light(&h, 1));
    for submission in [&retry, &append] {
        let cause = refused(&h, submission.clone()).await;
        assert!(cause.contains("limits.queue_tasks"), "{cause}");
    }
    let (batch, log) = (h.batch(open.batch).await, h.log(failed.batch).await);
    assert!(batch.open, "a refused append closes nothing");
    assert_eq!((batch.counts.total(), log.end), (1, 3));
    // What would be refused with room as well is told so, not to come again.
    let late = h.submission_to(failed.batch, Append::Open, light(&h, 1));
    let error = h.store.submit(late).await.unwrap_err();
    assert!(matches!(error, Error::BatchClosed(_)), "{error}");
    for submission in [retry, append] {
        let task = h.take(1).await.remove(0);
        h.must(&task, answer("")).await;
        h.place(submission).await;
    }
}

pub(super) async fn a_refusal_leaves_nothing_behind(h: Harness) {
    let placed = fill(&h).await;
    let before = held(&h).await;
    // Keys have homes all over the partitions.
    let calls = (0..16).map(|number| Submission {
        idempotency: key(&format!("key {number}"), 1),
        ..h.submission(light(&h, 2))
    });
    let calls: Vec<Submission> = calls.collect();
    for call in &calls {
        refused(&h, call.clone()).await;
        let ids: Vec<TaskId> = call.ids.iter().collect();
        assert_eq!(
            h.store.tasks(&ids).await.unwrap(),
            [Lookup::Missing, Lookup::Missing]
        );
        assert_eq!(h.store.batch(call.batch_id).await.unwrap(), None);
    }
    assert_eq!(held(&h).await, before);
    let listed = h.store.list(None, None, 100).await.unwrap();
    assert_eq!(listed.ids, placed.ids);
    let running = h.take(SMALL.tasks as usize).await;
    let ends = running.iter().map(|task| h.moved(task, answer("")));
    h.commit(ends.collect()).await;
    for (number, call) in calls.into_iter().enumerate() {
        let call = if number % 2 == 0 {
            call
        } else {
            // The key was not used up, not even for other content.
            Submission {
                idempotency: key(&format!("key {number}"), 2),
                ..h.submission(light(&h, 1))
            }
        };
        let made = h.place(call.clone()).await;
        assert_eq!(made.batch, call.batch_id);
        let again = Submission {
            idempotency: call.idempotency,
            ..h.submission(light(&h, made.ids.len() as u64))
        };
        assert_eq!(h.place(again).await.ids, made.ids);
        for task in h.take(2).await {
            h.must(&task, answer("")).await;
        }
    }
}

pub(super) async fn a_reopened_store_knows_how_full_it_is(h: Harness) {
    h.submit(heavy(&h, SMALL.bytes / 2)).await;
    h.submit(heavy(&h, SMALL.bytes / 4)).await;
    let ended = h.take(1).await.remove(0);
    h.must(&ended, answer("done")).await;
    let before = held(&h).await;
    let h = h.reopen().await;
    assert_eq!(held(&h).await, before);
    refused(&h, h.submission(heavy(&h, SMALL.bytes * 3 / 4 + 1))).await;
    h.submit(heavy(&h, SMALL.bytes * 3 / 4)).await;
    assert_full_of_bytes(&h).await;
}
