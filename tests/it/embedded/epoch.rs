//! The way out of a loss: an operator accepts it, and what is left goes on in the next epoch.

use std::fs;

use tidings::{
    clock::Clock,
    model::{Event, Task},
    store::{Commit, Renewal, Store, Verdict, embedded::OpenError},
};

use super::{Home, LEASE, answered, moved, open, open_with};

/// A store of which the last commits are lost: what was there before them is `kept`.
async fn with_loss() -> (Home, Vec<Task>) {
    let mut home = Home::new();
    let (_, ids) = home.submit(3).await;
    let done = home.acquire(1).await.remove(0);
    assert_eq!(home.move_on(&done, answered()).await, Verdict::Applied);
    home.store.take().unwrap().close();
    let before = fs::read(home.path().join("db/0.jnl")).unwrap();
    home.reopen();
    let mut kept = Vec::new();
    for id in ids {
        kept.push(home.found(id).await);
    }
    for _ in 0..4 {
        home.submit(1).await;
    }
    home.store.take().unwrap().close();
    fs::write(home.path().join("db/0.jnl"), before).unwrap();
    (home, kept)
}

#[tokio::test]
async fn a_loss_is_refused_with_its_size_and_the_way_out() {
    let (home, _) = with_loss().await;
    for _ in 0..2 {
        let error = open(home.path(), home.clock.clone()).unwrap_err();
        assert!(
            matches!(error, OpenError::Lost { missing: 4, .. }),
            "{error:?}"
        );
        let message = error.to_string();
        assert!(
            message.contains("4 acknowledged commits are missing"),
            "{message}"
        );
        assert!(message.contains("--accept-data-loss"), "{message}");
    }
}

#[tokio::test]
async fn an_accepted_loss_begins_an_epoch_that_everything_carries() {
    let (mut home, kept) = with_loss().await;
    let store = open_with(home.path(), home.clock.clone(), true).unwrap();
    assert_eq!(store.info().epoch, 2);
    store.close();
    // It is accepted once: the next start needs no flag, and the flag begins nothing without a loss.
    drop(open_with(home.path(), home.clock.clone(), true).unwrap());
    assert_eq!(home.reopen().info().epoch, 2);
    for before in &kept {
        let after = home.found(before.id).await;
        assert_eq!(after.epoch, 2);
        assert_eq!(Task { epoch: 1, ..after }, *before);
    }
    let (_, ids) = home.submit(1).await;
    assert_eq!(home.found(ids[0]).await.epoch, 2);
    home.reopen();
    assert_eq!(home.found(ids[0]).await.epoch, 2);
}

#[tokio::test]
async fn a_fence_of_either_epoch_holds_until_somebody_has_moved_the_task() {
    let (mut home, kept) = with_loss().await;
    drop(open_with(home.path(), home.clock.clone(), true).unwrap());
    home.reopen();
    let (first, second) = (&kept[1], &kept[2]);
    // Read before the loss, and still true.
    assert_eq!((first.epoch, second.epoch), (1, 1));
    let commit = |task: &Task, event: Event| moved(task, event, home.clock.now());
    let cancel = commit(first, Event::CancelRequested);
    assert_eq!(verdict(&home, cancel.clone()).await, Verdict::Applied);
    assert_eq!(
        verdict(&home, cancel).await,
        Verdict::Applied,
        "the same again"
    );
    assert_eq!(home.found(first.id).await.epoch, 2);
    let again = home.found(second.id).await;
    let held = home.acquire(1).await.remove(0);
    assert_eq!((held.id, held.epoch), (second.id, 2));
    let late = commit(second, Event::CancelRequested);
    assert_eq!(verdict(&home, late).await, Verdict::Conflict);
    let late = commit(&again, Event::CancelRequested);
    assert_eq!(verdict(&home, late).await, Verdict::Conflict);
    let mut renewal = Renewal {
        id: held.id,
        fence: held.fence(),
        progress: 0,
        sent: false,
        aside: false,
    };
    assert_eq!(home.store().renew(&[renewal], LEASE).await.unwrap(), [true]);
    renewal.fence.epoch = 1;
    assert_eq!(
        home.store().renew(&[renewal], LEASE).await.unwrap(),
        [false]
    );
    let mut earlier = held.clone();
    earlier.epoch = 1;
    let late = commit(&earlier, answered());
    assert_eq!(verdict(&home, late).await, Verdict::Conflict);
    assert_eq!(home.move_on(&held, answered()).await, Verdict::Applied);
}

async fn verdict(home: &Home, commit: Commit) -> Verdict {
    home.store().commit(vec![commit]).await.unwrap()[0]
}

#[tokio::test]
async fn a_store_without_its_promise_is_refused_until_that_is_accepted() {
    for is_cut in [false, true] {
        let mut home = Home::new();
        let (_, ids) = home.submit(2).await;
        home.store.take().unwrap().close();
        let promise = home.path().join("acked");
        match is_cut {
            true => fs::write(promise, "").unwrap(),
            false => fs::remove_file(promise).unwrap(),
        }
        let error = open(home.path(), home.clock.clone()).unwrap_err();
        assert!(matches!(error, OpenError::Unproven { .. }), "{error:?}");
        assert!(error.to_string().contains("`acked`"), "{error}");
        assert!(error.to_string().contains("--accept-data-loss"), "{error}");
        drop(open_with(home.path(), home.clock.clone(), true).unwrap());
        assert_eq!(home.reopen().info().epoch, 2);
        assert_eq!(home.found(ids[1]).await.epoch, 2);
    }
}
