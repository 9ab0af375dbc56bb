//! What happens when the server or the way to it fails.

use std::time::{Duration, Instant};

use futures::future::join_all;
use tidings::{
    model::{Status, WorkerId},
    store::{Change, Error, Lookup, Store, redis::RedisStore},
};
use tokio::sync::broadcast;

use crate::support::{
    eventually,
    proxy::Proxy,
    redis::{RedisServer, config},
};

use super::{LEASE, WORKER, connect, submission, submit, succeeded};

const SOON: Duration = Duration::from_secs(10);

/// A gap is told whenever a subscription stands again.
async fn heard_gap(changes: &mut broadcast::Receiver<Change>) {
    eventually("a gap is told", SOON, async || {
        matches!(changes.recv().await, Ok(Change::Gap)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_restarted_server_is_unavailable_meanwhile_and_then_has_everything() {
    let mut server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let store = connect(&server, 1).await;
    let mut changes = store.changes();
    let ids = submit(&store, 0, 20).await;
    server.kill();
    for _ in 0..3 {
        let error = store.submit(submission(0, 1)).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
        assert!(store.stats().await.is_err());
    }
    server.restart().await;
    let lookups = eventually("the store is back", SOON, async || {
        store.tasks(&ids).await.ok()
    })
    .await;
    for lookup in lookups {
        assert!(matches!(lookup, Lookup::Found(task) if task.status() == Status::Queued));
    }
    heard_gap(&mut changes).await;
    // Hints flow again.
    let acquired = store.acquire(WORKER, 20, LEASE).await.unwrap();
    assert_eq!(acquired.tasks.len(), 20);
    eventually("changes are heard", SOON, async || {
        match changes.recv().await {
            Ok(Change::Moved(moved)) => (moved.len() == 20).then_some(()),
            _ => None,
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_went_silent_is_replaced() {
    let server = RedisServer::start(&[]).await;
    let proxy = Proxy::before(server.port()).await;
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    let store = RedisStore::connect(config(&url)).await.unwrap();
    submit(&store, 0, 1).await;
    proxy.swallow();
    let silent = Instant::now();
    let mut changes = store.changes();
    eventually("a call is answered", SOON, async || {
        store.submit(submission(0, 1)).await.ok()
    })
    .await;
    println!("the connection was replaced after {:?}", silent.elapsed());
    // So is that of the subscription.
    eventually("a change is heard", SOON, async || {
        store.submit(submission(0, 3)).await.unwrap();
        match tokio::time::timeout(Duration::from_millis(200), changes.recv()).await {
            Ok(Ok(Change::Moved(moved))) => (moved.len() == 3).then_some(()),
            _ => None,
        }
    })
    .await;
}

#[tokio::test]
async fn messages_that_nobody_passed_on_are_noticed_within_seconds() {
    let server = RedisServer::start(&[]).await;
    let store = connect(&server, 4).await;
    let mut changes = store.changes();
    // As if three messages had been lost on their way.
    let mut connection = server.connect().await.unwrap();
    let mut lose = ::redis::cmd("HINCRBY");
    lose.arg("{td:2}:m").arg("seq").arg(3);
    lose.exec_async(&mut connection).await.unwrap();
    let lost = Instant::now();
    let heard = tokio::time::timeout(SOON, changes.recv()).await.unwrap();
    assert!(matches!(heard, Ok(Change::Gap)), "{heard:?}");
    println!("the loss was noticed after {:?}", lost.elapsed());
}

#[tokio::test]
async fn the_number_of_connections_does_not_grow_with_calls_or_listeners() {
    let server = RedisServer::start(&[]).await;
    let store = connect(&server, 4).await;
    // One for commands, one for the subscription, and the one that asks.
    let expected = "connected_clients:3";
    let settled = async || {
        server
            .info("clients")
            .await
            .contains(expected)
            .then_some(())
    };
    eventually("the store is connected", SOON, settled).await;
    let listeners: Vec<_> = (0..1_000).map(|_| store.changes()).collect();
    let calls = (0..300).map(|number| {
        let store = &store;
        async move {
            submit(store, number % 4, 2).await;
            let tasks = store.acquire(WORKER, 2, LEASE).await.unwrap().tasks;
            let commits = tasks.into_iter().map(succeeded).collect();
            store.commit(commits).await.unwrap();
        }
    });
    let (_, clients) = tokio::join!(join_all(calls), server.info("clients"));
    assert!(clients.contains(expected), "{clients}");
    eventually("nothing is left open", SOON, settled).await;
    drop(listeners);
}

#[tokio::test]
async fn an_acquire_whose_answer_was_lost_gives_the_same_tasks_again() {
    let server = RedisServer::start(&[]).await;
    let direct = connect(&server, 1).await;
    let proxy = Proxy::before(server.port()).await;
    let through = config(&format!("redis://127.0.0.1:{}/", proxy.port()));
    let store = RedisStore::connect(through).await.unwrap();
    // Else the answer that is lost says that the server does not know the script yet.
    store.acquire(WORKER, 1, LEASE).await.unwrap();
    let ids = submit(&direct, 0, 5).await;
    proxy.mute();
    store.acquire(WORKER, 20, LEASE).await.unwrap_err();
    let stats = direct.stats().await.unwrap();
    assert_eq!(stats.processing, 5, "it was carried out");

    let taken = eventually("the store is reached again", SOON, async || {
        store.acquire(WORKER, 20, LEASE).await.ok()
    })
    .await;

    assert_eq!(taken.tasks.len(), ids.len());
    for task in taken.tasks {
        assert_eq!((task.status(), task.attempt()), (Status::Processing, 1));
        let stored = direct.tasks(&[task.id]).await.unwrap().remove(0);
        assert_eq!(stored, Lookup::Found(Box::new(task)));
    }
    let other = WorkerId(WORKER.0 + 1);
    let left = direct.acquire(other, 20, LEASE).await.unwrap();
    assert!(left.tasks.is_empty(), "no task is handed out twice");
}
