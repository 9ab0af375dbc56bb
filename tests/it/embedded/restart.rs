//! A restart loses nothing but leases.

use std::sync::Arc;

use tidings::{
    model::{Cause, Event, Spec, Status, TaskId},
    store::{Amendment, Append, Error, Idempotency, Store, Verdict},
};

use super::{HOUR, Home, START, answered, batch_of, parked, spec};

#[tokio::test]
async fn everything_is_back_after_a_restart() {
    let mut home = Home::new();
    let (first, ids) = home.submit(2).await;
    let task = home.acquire(1).await.remove(0);
    assert_eq!(home.move_on(&task, answered()).await, Verdict::Applied);

    let mut later = home.submission(1);
    later.specs = vec![Arc::new(Spec {
        not_before: Some(START + HOUR),
        ..spec(START)
    })];
    later.idempotency = Some(Idempotency {
        key: "tenant/once".into(),
        hash: [7; 32],
    });
    let made = home.store().submit(later.clone()).await.unwrap();

    let before = [home.found(ids[0]).await, home.found(ids[1]).await];
    let log = home.store().log(first, 0, 100).await.unwrap();
    home.reopen();
    assert_eq!(home.found(ids[0]).await, before[0]);
    assert_eq!(before[0].outcome.as_ref().unwrap().text, "42");
    assert_eq!(home.found(ids[1]).await, before[1]);
    assert_eq!(home.store().log(first, 0, 100).await.unwrap(), log);
    let stats = home.store().stats().await.unwrap();
    assert_eq!((stats.ready, stats.delayed, stats.processing), (1, 1, 0));
    assert_eq!(home.store().submit(later.clone()).await.unwrap(), made);
    later.idempotency.as_mut().unwrap().hash = [8; 32];
    let reused = home.store().submit(later).await;
    assert!(matches!(reused, Err(Error::KeyReused)));
    assert_eq!(home.acquire(9).await[0].id, ids[1]);
    home.clock.advance(HOUR);
    assert_eq!(home.acquire(9).await[0].id, made.ids.first);
}

#[tokio::test]
async fn a_parked_batch_stays_parked_over_a_restart_until_it_is_resumed() {
    let mut home = Home::new();
    let (batch, ids) = home.submit(3).await;
    let (_, other) = home.submit(1).await;
    let task = home.acquire(1).await.remove(0);
    assert_eq!(home.move_on(&task, parked()).await, Verdict::Applied);
    for _ in 0..2 {
        let stats = home.store().stats().await.unwrap();
        assert_eq!((stats.ready, stats.parked), (1, 3));
        assert!(batch_of(&home, batch).await.parked.is_some());
        home.reopen();
    }
    let amended = home
        .store()
        .amend(batch, Amendment::Resume { budget: None })
        .await
        .unwrap();
    assert_eq!(amended.unwrap().parked, None);
    let order: Vec<TaskId> = home.acquire(9).await.iter().map(|task| task.id).collect();
    assert_eq!(order, [ids[0], ids[1], ids[2], other[0]]);
}

#[tokio::test]
async fn what_is_added_to_a_batch_that_ended_parked_is_held_back_over_a_restart_too() {
    let mut home = Home::new();
    let (batch, _) = home.submit(1).await;
    let task = home.acquire(1).await.remove(0);
    assert_eq!(home.move_on(&task, parked()).await, Verdict::Applied);
    let queued = home.found(task.id).await;
    let ended = home.move_on(&queued, Event::CancelRequested).await;
    assert_eq!(ended, Verdict::Applied);
    assert!(batch_of(&home, batch).await.is_done());
    home.reopen();

    let mut retry = home.submission(1);
    retry.batch_id = batch;
    retry.append = Append::Retry;
    home.store().submit(retry).await.unwrap();

    assert!(batch_of(&home, batch).await.parked.is_some());
    assert!(home.acquire(9).await.is_empty());
    home.store()
        .amend(batch, Amendment::Resume { budget: None })
        .await
        .unwrap();
    assert_eq!(home.acquire(9).await.len(), 1);
}

#[tokio::test]
async fn a_task_whose_process_died_goes_to_the_head_and_the_third_time_is_poison() {
    let mut home = Home::new();
    let (batch, ids) = home.submit(3).await;
    for crash in 1..=2 {
        let held = home.acquire(1).await.remove(0);
        assert_eq!(held.id, ids[0]);
        home.reopen();
        let task = home.found(ids[0]).await;
        assert_eq!(
            (task.status(), task.charges.crashes),
            (Status::Queued, crash)
        );
        assert_eq!(task.last().cause, Cause::LeaseExpired);
        let late = home.move_on(&held, answered()).await;
        assert_eq!(late, Verdict::Conflict);
    }
    home.acquire(2).await;
    home.reopen();
    let task = home.found(ids[0]).await;
    assert_eq!(task.last().cause, Cause::Poisoned);
    assert_eq!(home.found(ids[1]).await.charges.crashes, 1);
    let batch = batch_of(&home, batch).await;
    assert_eq!((batch.counts.error, batch.counts.queued), (1, 2));
    let order: Vec<TaskId> = home.acquire(9).await.iter().map(|task| task.id).collect();
    assert_eq!(order, ids[1..]);
}
