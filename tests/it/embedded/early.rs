//! Workers begin before it is on disk that they did: nobody else is told before it is.

use tidings::{
    model::{Cause, Status},
    store::{Change, Store},
};

use super::{Home, answered, moved};
use crate::embedded::open;

/// Copies the store as a crash would leave it.
fn crashed(home: &Home) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let from = format!("{}/.", home.path().display());
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(copy.path())
        .status();
    assert!(copied.unwrap().success());
    copy
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_told_outlives_a_crash() {
    let home = Home::new();
    let (_, ids) = home.submit(1).await;
    let mut changes = home.store().changes();
    let task = home.acquire_only(1).await.remove(0);
    let known = home.found(ids[0]).await;
    assert!(known == task || known.revision() == 1, "{known:?}");
    changes.recv().await.unwrap();
    let told = home.found(ids[0]).await;
    assert_eq!(told, task);
    let copy = crashed(&home);
    // Not from the notes, which the death of the machine takes along.
    std::fs::remove_file(copy.path().join("begun")).unwrap();
    let after = open(copy.path(), home.clock.clone()).unwrap();
    let found = after.tasks(&ids).await.unwrap().remove(0);
    let tidings::store::Lookup::Found(found) = found else {
        panic!("{found:?}");
    };
    assert_eq!(found.history[..2], told.history[..]);
    assert_eq!(found.last().cause, Cause::LeaseExpired);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_nobody_asks_about_is_announced_and_in_the_log_all_the_same() {
    let home = Home::new();
    let (batch, _) = home.submit(1).await;
    let mut changes = home.store().changes();
    home.acquire_only(1).await;
    let Change::Moved(moved) = changes.recv().await.unwrap() else {
        panic!("a task has moved");
    };
    assert_eq!(moved[0].status, Status::Processing);
    let log = home.store().log(batch, 0, 9).await.unwrap().unwrap();
    assert_eq!(log.entries[1..], moved[..]);
    assert_eq!(log.batch.counts.processing, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_ends_at_once_is_written_together_with_its_end() {
    let home = Home::new();
    let store = home.store();
    let mut together = 0;
    for _ in 0..50 {
        home.submit(1).await;
        let before = store.commits();
        let task = home.acquire_only(1).await.remove(0);
        let commit = moved(&task, answered(), task.last().at);
        store.commit(vec![commit]).await.unwrap();
        together += usize::from(store.commits() - before == 1);
    }
    assert!(together > 0);
}

#[tokio::test]
async fn an_attempt_begun_last_is_there_after_the_store_was_closed() {
    let mut home = Home::new();
    let (_, ids) = home.submit(1).await;
    let task = home.acquire_only(1).await.remove(0);
    home.reopen();
    let found = home.found(ids[0]).await;
    assert_eq!(found.history[..2], task.history[..]);
    assert_eq!(found.last().cause, Cause::LeaseExpired);
}

/// A task that takes its process down with it as soon as it begins.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_begun_is_counted_although_the_process_died_before_it_was_written() {
    let mut home = Home::new();
    let (_, ids) = home.submit(3).await;
    let before = crashed(&home);
    let begun = home.acquire_only(2).await;
    // The process dies now: what it had told the system to write is there, the group is not.
    std::fs::copy(home.path().join("begun"), before.path().join("begun")).unwrap();
    home.store.take().unwrap().close();
    let store = open(before.path(), home.clock.clone()).unwrap();
    let lookups = store.tasks(&ids).await.unwrap();
    let found = lookups.into_iter().map(|lookup| match lookup {
        tidings::store::Lookup::Found(task) => *task,
        other => panic!("{other:?}"),
    });
    let found: Vec<_> = found.collect();
    for (task, begun) in found.iter().zip(&begun) {
        assert_eq!((task.revision(), task.charges.crashes), (3, 1));
        assert_eq!(task.history[1].worker, begun.history[1].worker);
        assert_eq!(task.last().cause, Cause::LeaseExpired);
    }
    assert_eq!(found[2].revision(), 1, "nobody had begun it");
    // Once they are written down the notes are old.
    store.close();
    let store = open(before.path(), home.clock.clone()).unwrap();
    let again = store.tasks(&ids[..1]).await.unwrap().remove(0);
    assert_eq!(
        again,
        tidings::store::Lookup::Found(Box::new(found[0].clone()))
    );
    let order = store.acquire(super::WORKER, 9, super::LEASE).await.unwrap();
    let order: Vec<_> = order.tasks.iter().map(|task| task.id).collect();
    assert_eq!(order, ids);
}
