//! Promise 1 and idempotency: a submit happens whole, or not at all, and once.

use std::{sync::Arc, time::Duration};

use tidings::{
    model::{Cause, Counts, Priority, Spec, Status, Task, Work},
    store::{Append, Error, IDEMPOTENCY_WINDOW, Lookup, Submission},
};

use super::harness::{Harness, answer, key};

pub(super) async fn a_refused_submit_leaves_nothing_behind(h: Harness) {
    let placed = h.submit(h.specs(2)).await;
    let mut late = h.submission_to(placed.batch, Append::Open, h.specs(3));
    late.idempotency = key("late", 1);
    let ids: Vec<_> = late.ids.iter().collect();
    let error = h.store.submit(late).await.unwrap_err();
    assert!(
        matches!(error, Error::BatchClosed(id) if id == placed.batch),
        "{error}"
    );
    assert_eq!(h.store.tasks(&ids).await.unwrap(), vec![Lookup::Missing; 3]);
    let log = h.log(placed.batch).await;
    assert_eq!((log.end, log.batch.counts.total()), (2, 2));
    assert_eq!(h.take_ids(10).await, placed.ids);
    let again = Submission {
        idempotency: key("late", 2),
        ..h.submission(h.specs(1))
    };
    h.store
        .submit(again)
        .await
        .expect("a refused submit does not use up its key");
}

pub(super) async fn a_reader_sees_all_of_a_submit_or_nothing(h: Harness) {
    for _ in 0..20 {
        let submission = h.submission(h.specs(100));
        let batch = submission.batch_id;
        let store = Arc::clone(&h.store);
        let writing = tokio::spawn(async move { store.submit(submission).await.unwrap() });
        loop {
            let is_written = writing.is_finished();
            let seen = h.peer.log(batch, 0, 1_000).await.unwrap();
            let count = seen.map_or(0, |log| {
                assert_eq!(log.entries.len() as u64, log.end);
                log.batch.counts.queued
            });
            assert!(count == 0 || count == 100, "{count} of 100");
            if is_written {
                assert_eq!(count, 100);
                break;
            }
        }
        writing.await.unwrap();
    }
}

pub(super) async fn a_task_is_found_as_it_was_given(h: Harness) {
    let first = h.submit(h.specs(1)).await.ids[0];
    let full = Spec {
        work: Work::Request {
            path: "/chat/completions".into(),
            body: "{ \"a\" : 1 }".into(),
        },
        custom_id: "mine".into(),
        priority: Priority::High,
        not_before: Some(h.after(Duration::from_secs(9))),
        labels: [("team".into(), "red".into()), ("".into(), "".into())].into(),
        retry_of: Some(first),
        ..h.spec("")
    };
    let function = Spec {
        work: Work::Function {
            name: "debug.echo".into(),
            arguments: "[1]".into(),
        },
        priority: Priority::Low,
        ..h.spec("")
    };
    let specs = vec![full, function, h.spec("")];
    let placed = h.submit(specs.clone()).await;
    let epoch = h.store.info().epoch;
    for (id, spec) in placed.ids.iter().zip(specs) {
        let task = h.task(*id).await;
        assert_eq!(task, Task::new(*id, placed.batch, Arc::new(spec), epoch));
        assert_eq!((task.status(), task.revision()), (Status::Queued, 1));
        assert_eq!((task.last().cause, task.attempt()), (Cause::Submitted, 0));
    }
}

pub(super) async fn a_thousand_tasks_are_accepted_in_one_call(h: Harness) {
    let placed = h.submit(h.specs(1_000)).await;
    assert_eq!(placed.ids.len(), 1_000);
    assert_eq!(h.batch(placed.batch).await.counts.queued, 1_000);
    let found = h.store.tasks(&placed.ids).await.unwrap();
    for (number, lookup) in found.into_iter().enumerate() {
        let Lookup::Found(task) = lookup else {
            panic!("task {number} is {lookup:?}")
        };
        assert_eq!(
            task.spec.work,
            Work::Prompt {
                text: format!("task {number}")
            }
        );
    }
    let taken = h.take(1_000).await;
    assert_eq!(taken.len(), 1_000);
    let commits = taken
        .iter()
        .map(|task| h.moved(task, answer("42")))
        .collect();
    h.commit(commits).await;
    assert_eq!(h.batch(placed.batch).await.counts.completed, 1_000);
}

pub(super) async fn hostile_text_comes_back_byte_for_byte(h: Harness) {
    let texts = [
        "",
        " \t\r\n ",
        "a\0b\0",
        "line\nline\r\n",
        "\u{1f9d1}\u{200d}\u{1f680} \u{202e}right to left",
        "\u{feff}{}[]:|,;'\"\\%s$1 KEYS[1]",
        &"\u{e9}\0".repeat(1 << 19),
    ];
    let specs: Vec<Spec> = texts
        .iter()
        .map(|text| {
            let short: String = text.chars().take(64).collect();
            Spec {
                custom_id: short.clone(),
                model: short.clone(),
                labels: [(short.clone(), short)].into(),
                ..h.spec(text)
            }
        })
        .collect();
    let placed = h.submit(specs.clone()).await;
    let taken = h.take(specs.len()).await;
    for ((task, spec), text) in taken.iter().zip(&specs).zip(texts) {
        assert_eq!(*task.spec, *spec);
        let done = h.must(task, answer(text)).await;
        assert_eq!(h.task(task.id).await, done);
    }
    assert_eq!(
        h.batch(placed.batch).await.counts.completed,
        texts.len() as u64
    );
}

pub(super) async fn a_repeated_key_answers_what_it_first_made(h: Harness) {
    let first = Submission {
        idempotency: key("k", 1),
        ..h.submission(h.specs(3))
    };
    let made = h.store.submit(first.clone()).await.unwrap();
    assert_eq!((made.batch_id, made.ids), (first.batch_id, first.ids));
    let other_ids = Submission {
        idempotency: key("k", 1),
        ..h.submission(h.specs(3))
    };
    for repeated in [first, other_ids.clone()] {
        assert_eq!(h.store.submit(repeated).await.unwrap(), made);
    }
    assert_eq!(h.store.batch(other_ids.batch_id).await.unwrap(), None);
    assert_eq!(h.log(made.batch_id).await.end, 3);
    assert_eq!(h.take(10).await.len(), 3);
}

pub(super) async fn a_key_reused_for_other_content_is_refused(h: Harness) {
    let first = Submission {
        idempotency: key("k", 1),
        ..h.submission(h.specs(1))
    };
    h.place(first).await;
    let other = Submission {
        idempotency: key("k", 2),
        ..h.submission(h.specs(1))
    };
    let batch = other.batch_id;
    assert!(matches!(h.store.submit(other).await, Err(Error::KeyReused)));
    assert_eq!(h.store.batch(batch).await.unwrap(), None);
    let another_key = Submission {
        idempotency: key("K", 2),
        ..h.submission(h.specs(1))
    };
    h.place(another_key).await;
}

pub(super) async fn a_repeated_key_is_answered_after_its_batch_has_closed(h: Harness) {
    let open = Submission {
        keep_open: true,
        ..h.submission(h.specs(1))
    };
    let batch = h.place(open).await.batch;
    let last = Submission {
        idempotency: key("last", 1),
        ..h.submission_to(batch, Append::Open, h.specs(2))
    };
    let made = h.store.submit(last.clone()).await.unwrap();
    assert!(!h.batch(batch).await.open);
    assert_eq!(h.store.submit(last).await.unwrap(), made);
    assert_eq!(h.batch(batch).await.counts.queued, 3);
}

pub(super) async fn many_submits_at_once_with_one_key_make_one_batch(h: Harness) {
    let calls = (0..16).map(|_| {
        let submission = Submission {
            idempotency: key("k", 1),
            ..h.submission(h.specs(5))
        };
        let store = Arc::clone(&h.store);
        tokio::spawn(async move { store.submit(submission).await.unwrap() })
    });
    let calls: Vec<_> = calls.collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    assert!(answers.iter().all(|it| *it == answers[0]), "{answers:?}");
    assert_eq!(h.take(100).await.len(), 5);
}

pub(super) async fn an_open_batch_takes_more_until_it_is_closed(h: Harness) {
    let open = Submission {
        keep_open: true,
        ..h.submission(h.specs(1))
    };
    let mut placed = h.place(open).await;
    for keep_open in [true, false] {
        let more = h.submission_to(placed.batch, Append::Open, h.specs(2));
        placed
            .ids
            .extend(h.place(Submission { keep_open, ..more }).await.ids);
        assert_eq!(h.batch(placed.batch).await.open, keep_open);
    }
    let late = h.submission_to(placed.batch, Append::Open, h.specs(1));
    assert!(matches!(
        h.store.submit(late).await,
        Err(Error::BatchClosed(_))
    ));
    assert_eq!(
        h.batch(placed.batch).await.counts,
        Counts {
            queued: 5,
            ..Counts::default()
        }
    );
    assert_eq!(h.take_ids(10).await, placed.ids);
}

pub(super) async fn an_unknown_batch_takes_nothing(h: Harness) {
    for append in [Append::Open, Append::Retry] {
        let submission = h.submission_to(h.batch_id(), append, h.specs(1));
        let (batch, id) = (submission.batch_id, submission.ids.first);
        let error = h.store.submit(submission).await.unwrap_err();
        assert!(
            matches!(error, Error::NoSuchBatch(id) if id == batch),
            "{error}"
        );
        assert_eq!(h.lookup(id).await, Lookup::Missing);
        assert_eq!(h.store.batch(batch).await.unwrap(), None);
    }
}

pub(super) async fn a_retry_joins_a_closed_batch_and_leaves_it_closed(h: Harness) {
    let placed = h.submit(h.specs(1)).await;
    let task = h.take(1).await.remove(0);
    h.must(
        &task,
        tidings::model::Event::Failed(super::harness::failure("no")),
    )
    .await;
    assert!(h.batch(placed.batch).await.is_done());
    let retry = Spec {
        retry_of: Some(task.id),
        ..h.spec("again")
    };
    let submission = Submission {
        keep_open: true,
        ..h.submission_to(placed.batch, Append::Retry, vec![retry])
    };
    let again = h.place(submission).await;
    assert_eq!(again.batch, placed.batch);
    let batch = h.batch(placed.batch).await;
    assert!(!batch.open && !batch.is_done());
    assert_eq!((batch.counts.error, batch.counts.queued), (1, 1));
    assert_eq!(h.take_ids(5).await, again.ids);
}

pub(super) async fn a_key_is_forgotten_after_its_window(h: Harness) {
    let first = Submission {
        idempotency: key("k", 1),
        ..h.submission(h.specs(1))
    };
    let made = h.store.submit(first).await.unwrap();
    let again = || Submission {
        idempotency: key("k", 1),
        ..h.submission(h.specs(1))
    };
    h.advance(IDEMPOTENCY_WINDOW - Duration::from_secs(1)).await;
    assert_eq!(h.store.submit(again()).await.unwrap(), made);
    h.advance(Duration::from_secs(2)).await;
    assert_ne!(h.store.submit(again()).await.unwrap(), made);
}
