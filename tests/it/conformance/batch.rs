//! Promise 3 seen from the batch: counters, sums and log move with the tasks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tidings::{
    model::{Counts, Event, Status, TaskId, Usage},
    store::{Amendment, Append, Error, Log, Moved, Submission},
};

use super::harness::{Harness, answer, failure};

/// The counters that a log adds up to.
fn counted(entries: &[Moved]) -> Counts {
    let mut counts = Counts::default();
    let mut last: BTreeMap<TaskId, Status> = BTreeMap::new();
    for entry in entries {
        counts.shift(last.insert(entry.task, entry.status), entry.status);
    }
    counts
}

pub(super) async fn counts_follow_every_transition(h: Harness) {
    let placed = h.submit(h.specs(6)).await;
    let expect = async |queued, processing, completed, error, cancelled| {
        let log = h.log(placed.batch).await;
        let expected = Counts {
            queued,
            processing,
            completed,
            error,
            cancelled,
        };
        assert_eq!(log.batch.counts, expected);
        assert_eq!(counted(&log.entries), expected);
    };
    expect(6, 0, 0, 0, 0).await;
    let taken = h.take(5).await;
    expect(1, 5, 0, 0, 0).await;
    h.must(&taken[0], answer("")).await;
    h.must(&taken[1], Event::Failed(failure("no"))).await;
    h.must(&taken[2], Event::CancelRequested).await;
    expect(1, 2, 1, 1, 1).await;
    let released = h.must(&taken[3], Event::Released).await;
    let event = h.retry(&taken[4], Duration::from_secs(1_000));
    h.must(&taken[4], event).await;
    expect(3, 0, 1, 1, 1).await;
    h.must(&released, Event::CancelRequested).await;
    expect(2, 0, 1, 1, 2).await;
}

pub(super) async fn usage_sums_every_answer_once(h: Harness) {
    let placed = h.submit(h.specs(4)).await;
    let taken = h.take(4).await;
    h.must(&taken[0], answer("")).await;
    h.must(&taken[1], Event::Failed(failure("no"))).await;
    h.must(&taken[2], answer("")).await;
    let expected = Usage {
        input_tokens: 6,
        output_tokens: 10,
        cost_nanos: 14_000_000_002,
        ..Usage::default()
    };
    assert_eq!(h.batch(placed.batch).await.usage, expected);
}

pub(super) async fn a_batch_is_done_when_closed_and_all_its_tasks_are_terminal(h: Harness) {
    let placed = h.submit(h.specs(2)).await;
    let taken = h.take(2).await;
    let first = h.must(&taken[0], answer("")).await;
    let half = h.batch(placed.batch).await;
    assert_eq!((half.is_done(), half.end_time()), (false, None));
    assert_eq!(half.last_end_time, first.end_time());
    h.advance(Duration::from_millis(5)).await;
    let last = h.must(&taken[1], Event::CancelRequested).await;
    let done = h.batch(placed.batch).await;
    assert!(done.is_done());
    assert_eq!(done.end_time(), last.end_time());
    assert_eq!(done.create_time, last.spec.create_time);
}

pub(super) async fn closing_ends_an_open_batch(h: Harness) {
    assert_eq!(
        h.store.amend(h.batch_id(), Amendment::Close).await.unwrap(),
        None
    );
    let open = Submission {
        keep_open: true,
        ..h.submission(h.specs(1))
    };
    let placed = h.place(open).await;
    let task = h.take(1).await.remove(0);
    let ended = h.must(&task, answer("")).await;
    assert!(!h.batch(placed.batch).await.is_done());
    for _ in 0..2 {
        let closed = h
            .store
            .amend(placed.batch, Amendment::Close)
            .await
            .unwrap()
            .unwrap();
        assert!(closed.is_done());
        assert_eq!(closed.end_time(), ended.end_time());
        assert_eq!(h.batch(placed.batch).await, closed);
    }
    let late = h.submission_to(placed.batch, Append::Open, h.specs(1));
    assert!(matches!(
        h.store.submit(late).await,
        Err(Error::BatchClosed(_))
    ));
}

pub(super) async fn the_log_holds_every_transition_in_order(h: Harness) {
    let placed = h.submit(h.specs(2)).await;
    let other = h.submit(h.specs(1)).await;
    let taken = h.take(3).await;
    let released = h.must(&taken[1], Event::Released).await;
    h.must(&taken[0], answer("")).await;
    h.must(&released, Event::CancelRequested).await;
    let log = h.log(placed.batch).await;
    let told: Vec<_> = log
        .entries
        .iter()
        .map(|entry| {
            assert_eq!(entry.batch, placed.batch);
            let number = placed.ids.iter().position(|id| *id == entry.task).unwrap();
            (number, entry.revision, entry.status)
        })
        .collect();
    let expected = [
        (0, 1, Status::Queued),
        (1, 1, Status::Queued),
        (0, 2, Status::Processing),
        (1, 2, Status::Processing),
        (1, 3, Status::Queued),
        (0, 3, Status::Completed),
        (1, 4, Status::Cancelled),
    ];
    assert_eq!(told, expected);
    assert_eq!(h.log(other.batch).await.end, 2);
}

pub(super) async fn the_log_is_read_in_pages(h: Harness) {
    let placed = h.submit(h.specs(5)).await;
    let taken = h.take(5).await;
    let commits = taken.iter().map(|task| h.moved(task, answer(""))).collect();
    h.commit(commits).await;
    let whole = h.log(placed.batch).await;
    assert_eq!((whole.end, whole.entries.len()), (15, 15));
    let mut pages = Vec::new();
    while (pages.len() as u64) < whole.end {
        let from = pages.len() as u64;
        let page = h.store.log(placed.batch, from, 4).await.unwrap().unwrap();
        assert!((1..=4).contains(&page.entries.len()));
        assert_eq!((page.end, &page.batch), (15, &whole.batch));
        pages.extend(page.entries);
    }
    assert_eq!(pages, whole.entries);
    for (from, max) in [(15, 4), (99, 4), (3, 0)] {
        let page = h.store.log(placed.batch, from, max).await.unwrap();
        assert_eq!(
            page,
            Some(Log {
                entries: Vec::new(),
                ..whole.clone()
            })
        );
    }
}

pub(super) async fn a_log_and_its_batch_are_of_one_instant(h: Harness) {
    let placed = h.submit(h.specs(200)).await;
    let store = Arc::clone(&h.store);
    let batch = placed.batch;
    let taken = h.take(200).await;
    let commits: Vec<_> = taken.iter().map(|task| h.moved(task, answer(""))).collect();
    let writing = tokio::spawn(async move {
        for chunk in commits.chunks(3) {
            store.commit(chunk.to_vec()).await.unwrap();
        }
    });
    loop {
        let is_written = writing.is_finished();
        let log = h.peer.log(batch, 0, 1_000).await.unwrap().unwrap();
        assert_eq!(log.entries.len() as u64, log.end);
        assert_eq!(log.batch.counts, counted(&log.entries));
        assert_eq!(
            log.batch.usage.output_tokens,
            5 * log.batch.counts.completed
        );
        if is_written {
            assert_eq!(log.end, 600);
            break;
        }
    }
    writing.await.unwrap();
}

pub(super) async fn an_unknown_batch_is_nothing(h: Harness) {
    let id = h.batch_id();
    assert_eq!(h.store.batch(id).await.unwrap(), None);
    assert_eq!(h.store.log(id, 0, 10).await.unwrap(), None);
    assert_eq!(h.store.list(Some(id), None, 10).await.unwrap().ids, []);
}
