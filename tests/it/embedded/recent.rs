//! What the store has written its own process need not read: it is known before it is announced, and it is what a read
//! would say.

use futures::future::join_all;
use rand::RngExt as _;
use tidings::{
    clock::Clock as _,
    model::{BatchId, Event, Status, Task, TaskId},
    store::{Amendment, Append, Change, Lookup, Renewal, Store, Submission},
};
use tokio::sync::broadcast::Receiver;

use super::{HOUR, Home, LEASE, answered, moved, parked};

/// What is known of a log, from each of its positions on, is what a read says. Answers whether all of it is known.
async fn assert_known(home: &Home, batch: BatchId) -> bool {
    let store = home.store();
    let recent = store.recent().unwrap();
    let read = store.log(batch, 0, 1_000).await.unwrap().unwrap();
    let mut is_whole = true;
    for from in 0..=read.end {
        let Some(part) = recent.part(batch, from, 1_000) else {
            is_whole = false;
            continue;
        };
        let first = from as usize;
        let after = first + part.log.entries.len();
        assert_eq!(part.log.entries, read.entries[first..after]);
        assert_eq!(part.log.epoch, read.epoch);
        is_whole &= part.is_last;
        if part.is_last {
            assert_eq!((part.log.end, &part.log.batch), (read.end, &read.batch));
        }
        let entries = &part.log.entries;
        let known = recent.recall(entries, read.epoch, home.clock.now());
        for (entry, task) in entries.iter().zip(known) {
            let task = task.expect("all of them are small");
            assert_eq!(*task, home.found(entry.task).await);
        }
    }
    is_whole
}

/// Waits until everything that happened has been announced.
async fn announced(home: &Home, changes: &mut Receiver<Change>) {
    home.store().renew(&[], LEASE).await.unwrap();
    while !changes.is_empty() {
        changes.recv().await.unwrap();
    }
}

fn more(home: &Home, batch_id: BatchId, append: Append, count: u32) -> Submission {
    Submission {
        batch_id,
        append,
        keep_open: true,
        ..home.submission(count)
    }
}

#[tokio::test]
async fn what_is_written_is_known_when_it_is_announced() {
    let home = Home::new();
    let store = home.store();
    let mut changes = store.changes();
    let submission = home.submission(3);
    let batch = submission.batch_id;
    store.submit(submission).await.unwrap();
    store.recent().unwrap().follow(batch);
    let tasks = home.acquire_only(3).await;
    while !matches!(changes.recv().await.unwrap(), Change::Moved(moved) if moved[0].status == Status::Processing)
    {
    }
    assert!(assert_known(&home, batch).await);
    home.move_on(&tasks[0], answered()).await;
    assert!(assert_known(&home, batch).await);
    home.move_on(&tasks[1], Event::Released).await;
    assert!(assert_known(&home, batch).await);
    home.move_on(&tasks[2], parked()).await;
    assert_known(&home, batch).await;
    let resume = Amendment::Resume { budget: None };
    store.amend(batch, resume).await.unwrap();
    assert_known(&home, batch).await;
    home.acquire(1).await;
    assert_known(&home, batch).await;
}

#[tokio::test]
async fn an_attempt_is_not_known_of_before_it_is_on_disk() {
    let home = Home::new();
    let store = home.store();
    for _ in 0..50 {
        let (batch, ids) = home.submit(1).await;
        store.recent().unwrap().follow(batch);
        let task = home.acquire_only(1).await.remove(0);
        let known = store
            .recent()
            .unwrap()
            .task(ids[0], 2, task.epoch, task.last().at);
        if known.is_some() {
            let log = store.log(batch, 0, 9).await.unwrap().unwrap();
            assert_eq!(log.end, 2);
        }
    }
}

#[tokio::test]
async fn progress_is_read_and_not_remembered() {
    let home = Home::new();
    let store = home.store();
    let (_, ids) = home.submit(1).await;
    let task = home.acquire(1).await.remove(0);
    let known = || {
        let recent = store.recent().unwrap();
        recent.task(ids[0], 2, task.epoch, home.clock.now())
    };
    assert!(known().is_some());
    let renewal = Renewal {
        id: task.id,
        fence: task.fence(),
        progress: 40,
        sent: false,
        aside: false,
    };
    store.renew(&[renewal], LEASE).await.unwrap();
    assert_eq!(known(), None);
    assert_eq!(home.found(ids[0]).await.progress, 40);
}

#[tokio::test]
async fn nothing_is_known_of_a_batch_that_was_swept() {
    let home = Home::new();
    let store = home.store();
    let recent = store.recent().unwrap();
    let (batch, _) = home.submit(1).await;
    recent.follow(batch);
    let task = home.acquire(1).await.remove(0);
    home.move_on(&task, answered()).await;
    assert!(recent.part(batch, 0, 9).is_some());
    home.clock.advance(40 * HOUR);
    while store.sweep().await.unwrap() > 0 {}
    assert_eq!(store.log(batch, 0, 9).await.unwrap(), None);
    assert_eq!(recent.part(batch, 0, 9), None);
}

#[tokio::test]
async fn however_batches_and_calls_mix_what_is_known_is_what_a_read_says() {
    let home = Home::new();
    let store = home.store();
    let mut changes = store.changes();
    let batches: Vec<BatchId> = (0..24).map(|_| home.submission(1).batch_id).collect();
    let made = batches.iter().map(|batch| {
        if rand::random() {
            store.recent().unwrap().follow(*batch);
        }
        store.submit(more(&home, *batch, Append::New, 3))
    });
    // More than one group tells of.
    assert!(join_all(made).await.iter().all(Result::is_ok));
    for batch in &batches {
        store.recent().unwrap().follow(*batch);
    }
    let mut held: Vec<Task> = Vec::new();
    for round in 0..40 {
        let grown: Vec<BatchId> = batches
            .iter()
            .copied()
            .filter(|_| rand::rng().random_bool(0.2))
            .collect();
        let grown = grown
            .into_iter()
            .map(|batch| store.submit(more(&home, batch, Append::Open, 2)));
        let taken = home.acquire_only(rand::rng().random_range(1..30));
        let (_, taken) = futures::join!(join_all(grown), taken);
        held.extend(taken);
        let ended = held.drain(..held.len() / 2).map(|task| {
            let event = match rand::rng().random_range(0..3) {
                0 => Event::Released,
                _ => answered(),
            };
            moved(&task, event, home.clock.now())
        });
        let ended: Vec<_> = ended.collect();
        store.commit(ended).await.unwrap();
        if round % 8 == 0 {
            let batch = batches[round % batches.len()];
            let resume = Amendment::Resume { budget: None };
            store.amend(batch, resume).await.unwrap();
        }
        announced(&home, &mut changes).await;
        for batch in &batches {
            assert_known(&home, *batch).await;
        }
    }
}

/// A task that is looked up by nobody but readers, and one that is too large to be kept.
#[tokio::test]
async fn a_large_input_is_not_kept_in_mind() {
    let home = Home::new();
    let store = home.store();
    let recent = store.recent().unwrap();
    let large = |bytes: usize| {
        let mut submission = home.submission(1);
        let text = "x".repeat(bytes);
        let mut spec = (*submission.specs[0]).clone();
        spec.work = tidings::model::Work::Prompt { text };
        submission.specs[0] = spec.into();
        submission
    };
    let weight = |id: TaskId| {
        let known = recent.task(id, 1, 1, home.clock.now());
        known.map(|task| task.spec.weight())
    };
    let (middling, huge) = (large(1_000), large(100_000));
    let ids = [middling.ids.first, huge.ids.first];
    store.submit(middling).await.unwrap();
    store.submit(huge).await.unwrap();
    assert!(weight(ids[0]).is_some_and(|it| it < 100));
    assert_eq!(weight(ids[1]), None);
    for id in ids {
        let Lookup::Found(task) = home.lookup(id).await else {
            panic!("it is there");
        };
        assert!(task.spec.weight() >= 1_000);
    }
}
