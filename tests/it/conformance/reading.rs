//! Promise 4, and what a reader is told: lookups, listings, figures, and all of it again after a restart.

use std::time::Duration;

use tidings::{
    model::{BatchId, Cause, Event, IdRange, Priority, Spec, Status, TaskId},
    store::{Append, Lookup, Stats, Submission, Verdict},
};

use super::harness::{Harness, LONG, SHORT, answer, failure, ids, key};

pub(super) async fn lookups_answer_in_order_and_unknown_ids_are_missing(h: Harness) {
    let known = h.submit(h.specs(2)).await.ids;
    let unknown = IdRange::new(h.store.now(), h.partition(), h.draw(), 1).first;
    let wanted = [known[1], unknown, known[0], known[1]];
    let found = h.store.tasks(&wanted).await.unwrap();
    assert_eq!(found.len(), wanted.len());
    for (id, lookup) in wanted.iter().zip(found) {
        match lookup {
            Lookup::Found(task) => assert_eq!(task.id, *id),
            other => assert_eq!((other, *id), (Lookup::Missing, unknown)),
        }
    }
    assert_eq!(h.store.tasks(&[]).await.unwrap(), []);
}

pub(super) async fn writes_are_read_at_once_a_thousand_times(h: Harness) {
    for round in 0..1_000 {
        let placed = h.submit(vec![h.spec("now")]).await;
        let id = placed.ids[0];
        let reader = if round % 2 == 0 { &h.peer } else { &h.store };
        let lookup = reader.tasks(&[id]).await.unwrap().remove(0);
        assert!(
            matches!(lookup, Lookup::Found(_)),
            "round {round}: {lookup:?}"
        );
        let log = reader.log(placed.batch, 0, 10).await.unwrap();
        assert_eq!(log.map(|log| log.end), Some(1), "round {round}");
    }
}

async fn pages(h: &Harness, batch: Option<BatchId>, max: usize) -> Vec<TaskId> {
    let (mut all, mut cursor) = (Vec::new(), None);
    for _ in 0..1_000 {
        let page = h.store.list(batch, cursor, max).await.unwrap();
        assert!(page.ids.len() <= max);
        all.extend(page.ids);
        if page.next.is_none() {
            return all;
        }
        cursor = page.next;
    }
    panic!("the listing has no end");
}

pub(super) async fn a_batch_is_listed_in_order_of_submission_page_by_page(h: Harness) {
    let open = Submission {
        keep_open: true,
        ..h.submission(h.specs(4))
    };
    let mut placed = h.place(open).await;
    h.submit(h.specs(2)).await;
    let more = h.submission_to(placed.batch, Append::Open, h.specs(3));
    placed.ids.extend(h.place(more).await.ids);
    for task in h.take(3).await {
        h.must(&task, answer("")).await;
    }
    for max in [1, 2, 3, 7, 100] {
        assert_eq!(
            pages(&h, Some(placed.batch), max).await,
            placed.ids,
            "{max}"
        );
    }
}

pub(super) async fn all_batches_are_listed_newest_first_page_by_page(h: Harness) {
    let mut expected = Vec::new();
    for count in [2, 3, 1, 4] {
        // Newer by at least a millisecond, which is what ids can tell apart.
        h.advance(Duration::from_millis(2)).await;
        let partition = count as u16 % h.store.info().partitions;
        let batch = BatchId::new(h.store.now(), partition, h.draw());
        let placed = h
            .place(h.submission_to(batch, Append::New, h.specs(count)))
            .await;
        expected.splice(0..0, placed.ids);
    }
    for max in [1, 2, 3, 10, 100] {
        assert_eq!(pages(&h, None, max).await, expected, "{max}");
    }
}

pub(super) async fn stats_count_what_is_there(h: Harness) {
    assert_eq!(h.store.stats().await.unwrap(), Stats::default());
    h.submit(h.specs(3)).await;
    let parked = h.take(1).await.remove(0);
    let event = h.park();
    h.must(&parked, event).await;
    // Lets the store come across the other two.
    assert!(h.take(10).await.is_empty());
    h.submit(h.specs(4)).await;
    let later = Spec {
        not_before: Some(h.after(LONG)),
        ..h.spec("later")
    };
    h.submit(vec![later]).await;
    let taken = h.take(2).await;
    h.must(&taken[0], answer("")).await;
    let expected = Stats {
        ready: 2,
        delayed: 1,
        parked: 3,
        processing: 1,
        // Six tasks of six bytes, and "later".
        bytes: 41,
    };
    assert_eq!(h.store.stats().await.unwrap(), expected);
}

pub(super) async fn a_reopened_store_has_forgotten_nothing(h: Harness) {
    let keyed = Submission {
        idempotency: key("k", 1),
        ..h.submission(h.specs(6))
    };
    let placed = h.place(keyed).await;
    let taken = h.take(4).await;
    h.must(&taken[0], answer("kept")).await;
    h.must(&taken[1], Event::Failed(failure("kept"))).await;
    let event = h.retry(&taken[2], LONG);
    h.must(&taken[2], event).await;
    let parked = h.submit(h.specs(2)).await;
    let [rest @ .., last] = &h.take(3).await[..] else {
        panic!("three are left")
    };
    assert_eq!(last.id, parked.ids[0]);
    // Nothing runs while the store is away: what becomes of that is another case.
    for task in rest.iter().chain(&taken[3..]) {
        h.must(task, Event::CancelRequested).await;
    }
    let event = h.park();
    h.must(last, event).await;
    let all = [placed.ids.clone(), parked.ids.clone()].concat();
    let (tasks, log) = (
        h.store.tasks(&all).await.unwrap(),
        h.log(placed.batch).await,
    );
    let (batch, info) = (h.batch(parked.batch).await, h.store.info());

    let h = h.reopen().await;
    assert_eq!(h.store.info(), info);
    assert_eq!(h.store.tasks(&all).await.unwrap(), tasks);
    assert_eq!(h.log(placed.batch).await, log);
    assert_eq!(h.batch(parked.batch).await, batch);
    assert_eq!(pages(&h, Some(placed.batch), 4).await, placed.ids);
    let again = Submission {
        idempotency: key("k", 1),
        ..h.submission(h.specs(6))
    };
    assert_eq!(h.place(again).await.ids, placed.ids);
    assert!(h.take(10).await.is_empty());
}

pub(super) async fn a_reopened_store_hands_out_in_the_same_order(h: Harness) {
    let normal = h.submit(h.specs(4)).await.ids;
    let high = Spec {
        priority: Priority::High,
        ..h.spec("high")
    };
    let high = h.submit(vec![high.clone(), high]).await.ids;
    let later = Spec {
        not_before: Some(h.after(SHORT)),
        ..h.spec("later")
    };
    let later = h.submit(vec![later]).await.ids;
    let h = h.reopen().await;
    assert_eq!(h.take_ids(3).await, [high[0], high[1], normal[0]]);
    h.advance(SHORT).await;
    assert_eq!(h.take_ids(9).await, [&normal[1..], &later].concat());
}

pub(super) async fn a_task_that_ran_while_the_store_was_reopened_is_held_or_given_back(h: Harness) {
    h.submit(h.specs(2)).await;
    let ran = h.take_for(2, SHORT).await;
    let h = h.reopen().await;
    for task in &ran {
        let now = h.task(task.id).await;
        let is_held = now == *task;
        let is_given_back =
            (now.revision(), now.last().cause, now.charges.crashes) == (3, Cause::LeaseExpired, 1);
        assert!(is_held || is_given_back, "{now:?}");
    }
    let is_held = h.task(ran[0].id).await.status() == Status::Processing;
    let verdict = h.apply(&ran[0], answer("")).await;
    assert_eq!(verdict == Verdict::Applied, is_held);
    h.advance(SHORT).await;
    h.reap().await;
    let again = h.take(5).await;
    let expected = if is_held { &ran[1..] } else { &ran };
    assert_eq!(ids(&again), ids(expected));
    assert!(again.iter().all(|task| task.attempt() == 2));
}
