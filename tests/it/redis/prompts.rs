//! What prompts an acquire: a submit as soon as it is sent, what others queue as soon as it is heard, and neither twice.

use std::time::Duration;

use futures::FutureExt as _;
use tidings::{
    model::{Event, Status, WorkerId},
    store::{Change, Prompts, Store, Verdict},
};
use tokio::{sync::broadcast::Receiver, time::timeout};

use crate::support::redis::RedisServer;

use super::{LEASE, WORKER, connect, moved, submit};

/// Longer than any of this takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until this process was told of tasks that came to this.
async fn told(changes: &mut Receiver<Change>, status: Status) {
    let told = async {
        loop {
            if let Ok(Change::Moved(moved)) = changes.recv().await
                && moved.iter().any(|it| it.status == status)
            {
                return;
            }
        }
    };
    timeout(PATIENCE, told).await.unwrap();
}

async fn prompted(prompts: &Prompts) {
    timeout(PATIENCE, prompts.next()).await.unwrap();
}

fn is_quiet(prompts: &Prompts) -> bool {
    prompts.next().now_or_never().is_none()
}

#[tokio::test]
async fn an_acquire_that_left_nothing_is_not_prompted_again_by_what_it_saw() {
    let server = RedisServer::start(&[]).await;
    let store = connect(&server, 1).await;
    let mut changes = store.changes();
    let prompts = store.prompts().unwrap();
    for _ in 0..5 {
        submit(&store, 0, 2).await;
        prompted(prompts).await;
        let acquired = store.acquire(WORKER, 10, LEASE).await.unwrap();
        assert_eq!((acquired.tasks.len(), acquired.more), (2, false));
        told(&mut changes, Status::Queued).await;
        told(&mut changes, Status::Processing).await;
    }
    // That its subscription stands is told as a gap, which the first rounds may still have seen.
    assert!(is_quiet(prompts));
}

#[tokio::test]
async fn whatever_an_acquire_has_not_seen_prompts_another() {
    let server = RedisServer::start(&[]).await;
    let (store, other) = (connect(&server, 1).await, connect(&server, 1).await);
    let prompts = store.prompts().unwrap();
    // Others' tasks.
    for _ in 0..3 {
        submit(&other, 0, 1).await;
        prompted(prompts).await;
        let acquired = store.acquire(WORKER, 10, LEASE).await.unwrap();
        assert_eq!(acquired.tasks.len(), 1);
    }
    // What is left over.
    submit(&other, 0, 3).await;
    prompted(prompts).await;
    let acquired = store.acquire(WORKER, 1, LEASE).await.unwrap();
    assert!(acquired.more);
    assert!(!is_quiet(prompts));
    while store.acquire(WORKER, 10, LEASE).await.unwrap().more {}
    // Tasks that others give back.
    submit(&other, 0, 1).await;
    let worker = WorkerId(2);
    let mut taken = other.acquire(worker, 10, LEASE).await.unwrap().tasks;
    prompted(prompts).await;
    while store.acquire(WORKER, 10, LEASE).await.unwrap().more {}
    let commit = moved(taken.remove(0), Event::Released);
    assert_eq!(
        other.commit(vec![commit]).await.unwrap(),
        [Verdict::Applied]
    );
    prompted(prompts).await;
    let again = store.acquire(WORKER, 10, LEASE).await.unwrap();
    assert_eq!(again.tasks.len(), 1);
}

#[tokio::test]
async fn of_many_partitions_changes_prompt_acquires() {
    let server = RedisServer::start(&[]).await;
    assert!(connect(&server, 2).await.prompts().is_none());
}
