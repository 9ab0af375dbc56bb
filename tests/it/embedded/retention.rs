//! What is removed, and when, by a clock that the test moves.

use std::time::Duration;

use tidings::{
    model::Event,
    store::{Append, Error, Idempotency, Lookup, Store, TOMBSTONE_RETENTION, Verdict},
};

use super::{HOUR, Home, answered, batch_of};

#[tokio::test]
async fn a_finished_task_is_found_then_expired_then_missing() {
    let mut home = Home::new();
    let (batch, ids) = home.submit(1).await;
    let task = home.acquire(1).await.remove(0);
    assert_eq!(home.move_on(&task, answered()).await, Verdict::Applied);
    home.clock.advance(2 * HOUR - Duration::from_millis(1));
    assert_eq!(home.store().sweep().await.unwrap(), 0);
    home.found(ids[0]).await;
    home.clock.advance(Duration::from_millis(1));
    assert_eq!(home.lookup(ids[0]).await, Lookup::Expired, "not swept yet");
    assert_eq!(home.store().sweep().await.unwrap(), 1);
    assert_eq!(home.lookup(ids[0]).await, Lookup::Expired, "swept");
    home.reopen();
    assert_eq!(home.lookup(ids[0]).await, Lookup::Expired, "restarted");
    assert_eq!(batch_of(&home, batch).await.counts.completed, 1);
    home.clock.advance(TOMBSTONE_RETENTION);
    assert_eq!(home.lookup(ids[0]).await, Lookup::Missing);
    assert_eq!(home.store().batch(batch).await.unwrap(), None);
    assert!(home.store().sweep().await.unwrap() >= 2);
    assert_eq!(home.store().sweep().await.unwrap(), 0);
    assert_eq!(home.lookup(ids[0]).await, Lookup::Missing);
    assert_eq!(home.store().log(batch, 0, 9).await.unwrap(), None);
    let all = home.store().list(None, None, 9).await.unwrap();
    assert_eq!(all.ids, []);
}

#[tokio::test]
async fn an_idempotency_key_is_free_again_after_its_window() {
    let home = Home::new();
    let mut first = home.submission(1);
    let mut second = home.submission(1);
    for (submission, hash) in [(&mut first, 1), (&mut second, 2)] {
        submission.idempotency = Some(Idempotency {
            key: "tenant/again".into(),
            hash: [hash; 32],
        });
    }
    home.store().submit(first).await.unwrap();
    let reused = home.store().submit(second.clone()).await;
    assert!(matches!(reused, Err(Error::KeyReused)));
    home.clock.advance(24 * HOUR);
    let (swept, made) = tokio::join!(async { home.store().sweep().await.unwrap() }, async {
        home.store().submit(second.clone()).await.unwrap()
    });
    assert!(swept > 0);
    assert_eq!(made.ids, second.ids);
    assert_eq!(home.store().submit(second).await.unwrap(), made);
}

#[tokio::test]
async fn a_done_batch_that_is_retried_is_kept_for_its_new_task() {
    let home = Home::new();
    let (batch, ids) = home.submit(1).await;
    let task = home.found(ids[0]).await;
    let cancelled = home.move_on(&task, Event::CancelRequested).await;
    assert_eq!(cancelled, Verdict::Applied);
    assert!(batch_of(&home, batch).await.is_done());
    home.clock.advance(25 * HOUR);
    let mut retry = home.submission(1);
    (retry.batch_id, retry.append) = (batch, Append::Retry);
    home.store().submit(retry).await.unwrap();
    home.clock.advance(2 * HOUR);
    while home.store().sweep().await.unwrap() > 0 {}
    let kept = batch_of(&home, batch).await;
    assert_eq!((kept.open, kept.counts.queued), (false, 1));
    assert_eq!(home.acquire(9).await.len(), 1);
}
