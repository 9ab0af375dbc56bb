//! How calls share writes, and what they answer.

use tidings::{
    clock::Clock,
    model::{Event, retry},
    store::{Amendment, Append, Change, Cursor, Error, Guard, Lookup, Renewal, Store, Verdict},
};

use super::{HOUR, Home, LEASE, answered, moved};

#[tokio::test]
async fn a_record_that_cannot_be_read_is_told_and_hurts_no_other_task() {
    let mut home = Home::new();
    let (_, ids) = home.submit(2).await;
    home.store().close();
    {
        let database = fjall::Database::builder(home.path().join("db"))
            .open()
            .unwrap();
        let specs = database.keyspace("spec", Default::default).unwrap();
        specs.insert(ids[0].as_bytes(), "nonsense").unwrap();
        database.persist(fjall::PersistMode::SyncAll).unwrap();
    }
    home.reopen();
    let Lookup::Fault(fault) = home.lookup(ids[0]).await else {
        panic!("the record is damaged");
    };
    assert!(!fault.contains("nonsense"));
    let tasks = home.acquire(9).await;
    assert_eq!((tasks.len(), tasks[0].id), (1, ids[1]));
    home.clock.advance(48 * HOUR);
    let overdue = home.store().overdue(9).await.unwrap();
    assert_eq!((overdue.len(), overdue[0].id), (1, ids[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_submits_at_once_share_their_writes() {
    let home = Home::new();
    let store = home.store();
    let before = store.commits();
    let submits: Vec<_> = (0..1_000).map(|_| home.submission(1)).collect();
    let calls: Vec<_> = submits
        .into_iter()
        .map(|submission| {
            let store = store.clone();
            tokio::spawn(async move { store.submit(submission).await.unwrap() })
        })
        .collect();
    for call in calls {
        let made = call.await.unwrap();
        home.found(made.ids.first).await;
    }
    let commits = store.commits() - before;
    assert!(commits < 500, "{commits} writes for 1,000 submits");
    assert_eq!(store.stats().await.unwrap().ready, 1_000);
}

#[tokio::test]
async fn a_call_that_changes_nothing_writes_nothing() {
    let home = Home::new();
    let (batch, _) = home.submit(1).await;
    let task = home.acquire(1).await.remove(0);
    let before = home.store().commits();
    let renewal = Renewal {
        id: task.id,
        fence: task.fence(),
        progress: 50,
        sent: false,
        aside: false,
    };
    assert_eq!(home.store().renew(&[renewal], LEASE).await.unwrap(), [true]);
    assert_eq!(home.found(task.id).await.progress, 50);
    home.store().overdue(9).await.unwrap();
    home.store().sweep().await.unwrap();
    home.store()
        .amend(batch, Amendment::Resume { budget: None })
        .await
        .unwrap();
    assert_eq!(home.acquire(9).await, []);
    assert_eq!(home.store().commits(), before);
}

#[tokio::test]
async fn a_lease_that_runs_out_is_overdue_and_one_that_was_renewed_is_not_taken_away() {
    let home = Home::new();
    home.submit(1).await;
    let task = home.acquire(1).await.remove(0);
    home.clock.advance(LEASE);
    let overdue = home.store().overdue(9).await.unwrap();
    assert_eq!(overdue, std::slice::from_ref(&task));
    let mut lost = moved(&task, retry::after_lost_worker(&task), home.clock.now());
    lost.guard = Guard::LeaseExpired;
    let renewal = Renewal {
        id: task.id,
        fence: task.fence(),
        progress: 0,
        sent: false,
        aside: false,
    };
    assert_eq!(home.store().renew(&[renewal], LEASE).await.unwrap(), [true]);
    let verdicts = home.store().commit(vec![lost.clone()]).await.unwrap();
    assert_eq!(verdicts, [Verdict::Conflict]);
    home.clock.advance(LEASE);
    for _ in 0..2 {
        let verdicts = home.store().commit(vec![lost.clone()]).await.unwrap();
        assert_eq!(verdicts, [Verdict::Applied], "also when it is repeated");
    }
    assert_eq!(
        home.store().renew(&[renewal], LEASE).await.unwrap(),
        [false]
    );
}

#[tokio::test]
async fn a_log_and_a_listing_can_be_read_in_pieces() {
    let home = Home::new();
    let mut submission = home.submission(3);
    submission.keep_open = true;
    let batch = submission.batch_id;
    home.store().submit(submission).await.unwrap();
    let mut more = home.submission(4);
    (more.batch_id, more.append) = (batch, Append::Open);
    home.store().submit(more.clone()).await.unwrap();
    more.ids = home.submission(1).ids;
    more.specs.truncate(1);
    let closed = home.store().submit(more).await;
    assert!(matches!(closed, Err(Error::BatchClosed(id)) if id == batch));
    home.clock.advance(HOUR);
    let (newer, newer_ids) = home.submit(1).await;
    home.acquire(5).await;

    let whole = home.store().log(batch, 0, 100).await.unwrap().unwrap();
    assert_eq!((whole.end, whole.entries.len()), (12, 12));
    assert_eq!(whole.batch.counts.processing, 5);
    let mut pieces = Vec::new();
    while pieces.len() < 12 {
        let piece = home.store().log(batch, pieces.len() as u64, 5).await;
        pieces.extend(piece.unwrap().unwrap().entries);
    }
    assert_eq!(pieces, whole.entries);

    let (mut ids, mut cursor) = (Vec::new(), None);
    loop {
        let page = home.store().list(None, cursor, 3).await.unwrap();
        ids.extend(page.ids);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((ids.len(), ids[0]), (8, newer_ids[0]));
    let from = Cursor { batch, offset: 2 };
    let page = home.store().list(Some(batch), Some(from), 9).await.unwrap();
    assert_eq!((page.ids.as_slice(), page.next), (&ids[3..], None));
    let page = home.store().list(Some(newer), None, 1).await.unwrap();
    assert_eq!((page.ids.as_slice(), page.next), (&newer_ids[..], None));
}

#[tokio::test]
async fn changes_are_announced_after_they_can_be_read() {
    let home = Home::new();
    let mut changes = home.store().changes();
    let (batch, ids) = home.submit(2).await;
    let Change::Moved(moved) = changes.recv().await.unwrap() else {
        panic!("a submit moves tasks");
    };
    let told: Vec<_> = moved.iter().map(|it| (it.task, it.revision)).collect();
    assert_eq!(told, [(ids[0], 1), (ids[1], 1)]);
    assert!(moved.iter().all(|it| it.batch == batch));
    home.found(ids[1]).await;
}

#[tokio::test]
async fn a_closed_store_answers_that_it_is_away() {
    let home = Home::new();
    let store = home.store();
    store.close();
    assert!(matches!(store.stats().await, Err(Error::Unavailable(_))));
    let read = store.tasks(&[home.submission(1).ids.first]).await;
    assert!(matches!(read, Err(Error::Unavailable(_))));
}

/// Tasks that were written last come from memory, the log from disk: whatever is read meanwhile, it fits together.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_never_older_than_the_log_that_was_read_before_it() {
    let home = Home::new();
    let (batch, ids) = home.submit(40).await;
    let store = home.store();
    let reader = tokio::spawn(async move {
        let mut seen = 0;
        loop {
            let log = store.log(batch, seen, 500).await.unwrap().unwrap();
            let told: Vec<_> = log.entries.iter().map(|entry| entry.task).collect();
            let lookups = store.tasks(&told).await.unwrap();
            for (entry, lookup) in log.entries.iter().zip(lookups) {
                let Lookup::Found(task) = lookup else {
                    panic!("{lookup:?}");
                };
                assert!(task.revision() >= entry.revision, "{entry:?} {task:?}");
            }
            seen += log.entries.len() as u64;
            if log.batch.is_done() && seen == log.end {
                return seen;
            }
        }
    });
    for _ in 0..20 {
        for task in home.acquire(ids.len()).await {
            home.move_on(&task, Event::Released).await;
        }
    }
    let tasks = home.acquire(ids.len()).await;
    for task in &tasks {
        home.move_on(task, answered()).await;
    }
    assert_eq!(reader.await.unwrap(), 40 * (1 + 2 * 20 + 2));
}
