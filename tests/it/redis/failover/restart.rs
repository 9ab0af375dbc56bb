//! One server that comes back with all, less or nothing.

use std::{sync::Arc, time::Duration};

use ::redis::cmd;
use tidings::store::{Error, Store};
use tokio::task::{JoinSet, yield_now};

use crate::support::{eventually, redis::RedisServer};

use super::{
    SOON, all_queued, comes_to_epoch, hears_changes, hears_gap, open, serves, submission, submit,
};

#[tokio::test]
async fn a_server_that_comes_back_empty_begins_an_epoch_each_time_and_an_empty_one_does_not() {
    let mut server = RedisServer::start(&[]).await;
    let stores = [open(&server.url(), 2).await, open(&server.url(), 2).await];
    server.restart().await;
    for store in &stores {
        serves(store, 0).await;
        assert_eq!(store.info().epoch, 1, "nothing was there to be lost");
    }
    for epoch in [2, 3] {
        let mut changes = stores[1].changes();
        submit(&stores[0], 0, 3).await;
        submit(&stores[1], 0, 3).await;
        server.restart().await;
        for store in &stores {
            comes_to_epoch(store, epoch).await;
            serves(store, 0).await;
        }
        hears_gap(&mut changes).await;
    }
    // Who never saw what was lost may be there first.
    submit(&stores[0], 0, 9).await;
    drop(stores);
    let witness = open(&server.url(), 2).await;
    submit(&witness, 0, 9).await;
    server.restart().await;
    let newcomer = open(&server.url(), 2).await;
    serves(&newcomer, 0).await;
    comes_to_epoch(&witness, 4).await;
    comes_to_epoch(&newcomer, 4).await;
}

#[tokio::test]
async fn a_server_that_kept_everything_stays_in_its_epoch() {
    for fsync in ["everysec", "always"] {
        let args = ["--appendonly", "yes", "--appendfsync", fsync];
        let mut server = RedisServer::start(&args).await;
        let stores = [open(&server.url(), 1).await, open(&server.url(), 1).await];
        let mut ids = Vec::new();
        for store in &stores {
            ids.extend(submit(store, 0, 20).await);
        }
        server.restart().await;
        // The other hears of this before it asks how the partition stands.
        ids.extend(serves(&stores[0], 0).await);
        let since = stores[0].now();
        eventually("both have asked", SOON, async || {
            ids.extend(submit(&stores[0], 0, 1).await);
            (stores[0].now() > since + Duration::from_millis(2_500)).then_some(())
        })
        .await;
        for store in &stores {
            serves(store, 0).await;
            all_queued(store, &ids).await;
            hears_changes(store, 0).await;
            assert_eq!(store.info().epoch, 1, "{fsync}");
        }
    }
}

#[tokio::test]
async fn data_that_is_flushed_under_a_live_connection_is_missed_within_seconds() {
    let server = RedisServer::start(&[]).await;
    let store = open(&server.url(), 2).await;
    for epoch in [2, 3] {
        submit(&store, 1, 3).await;
        let mut changes = store.changes();
        let mut connection = server.connect().await.unwrap();
        cmd("FLUSHALL").exec_async(&mut connection).await.unwrap();
        let since = std::time::Instant::now();
        comes_to_epoch(&store, epoch).await;
        println!("the loss was found after {:?}", since.elapsed());
        hears_gap(&mut changes).await;
        serves(&store, 0).await;
        hears_changes(&store, 1).await;
    }
}

/// Numbers alone would hide the loss from whoever looks a second later.
#[tokio::test(flavor = "multi_thread")]
async fn a_loss_is_found_before_anything_is_written_over_it() {
    let mut server = RedisServer::start(&[]).await;
    let store = Arc::new(open(&server.url(), 1).await);
    for epoch in 2..=4 {
        submit(&store, 0, 1).await;
        let mut writing = JoinSet::new();
        for _ in 0..4 {
            let store = store.clone();
            writing.spawn(async move {
                loop {
                    let _ = store.submit(submission(0, 1)).await;
                    yield_now().await;
                }
            });
        }
        server.restart().await;
        eventually("much is written", SOON, async || {
            (store.stats().await.ok()?.ready > 100).then_some(())
        })
        .await;
        writing.shutdown().await;
        comes_to_epoch(&store, epoch).await;
    }
}

/// A primary whose last replica has been away for long calls its history by another name.
#[tokio::test]
async fn a_reign_that_is_renamed_is_no_loss() {
    let args = ["--repl-backlog-ttl", "1", "--repl-diskless-sync-delay", "0"];
    let server = RedisServer::start(&args).await;
    let stores = [open(&server.url(), 1).await, open(&server.url(), 1).await];
    let reign = async || {
        let info = server.info("replication").await;
        let line = info.lines().find(|line| line.starts_with("master_replid:"));
        line.map(str::to_owned)
    };
    let replica =
        RedisServer::start(&["--replicaof", "127.0.0.1", &server.port().to_string()]).await;
    eventually("the replica follows", SOON, async || {
        let info = replica.info("replication").await;
        info.contains("master_link_status:up").then_some(())
    })
    .await;
    let before = reign().await;
    drop(replica);
    eventually("the reign is renamed", SOON, async || {
        for store in &stores {
            submit(store, 0, 1).await;
        }
        (reign().await != before).then_some(())
    })
    .await;
    // Each asks about it at its own time, and both go on meanwhile.
    let since = stores[0].now();
    eventually("both have asked", SOON, async || {
        for store in &stores {
            submit(store, 0, 1).await;
        }
        (stores[0].now() > since + Duration::from_millis(2_500)).then_some(())
    })
    .await;
    for store in &stores {
        assert_eq!(store.info().epoch, 1);
    }
    // A loss after that is still one.
    let mut connection = server.connect().await.unwrap();
    cmd("FLUSHALL").exec_async(&mut connection).await.unwrap();
    for store in &stores {
        comes_to_epoch(store, 2).await;
    }
}

#[tokio::test]
async fn data_that_another_version_made_meanwhile_is_not_touched() {
    let server = RedisServer::start(&[]).await;
    let store = open(&server.url(), 2).await;
    submit(&store, 0, 3).await;
    let mut connection = server.connect().await.unwrap();
    for (field, other) in [("schema", "99"), ("partitions", "7")] {
        let mut ask = cmd("HGET");
        ask.arg("{td:1}:m").arg(field);
        let own: String = ask.query_async(&mut connection).await.unwrap();
        let mut set = cmd("HSET");
        set.arg("{td:1}:m").arg(field).arg(other);
        set.exec_async(&mut connection).await.unwrap();
        eventually("the store serves no more", SOON, async || {
            store.stats().await.is_err().then_some(())
        })
        .await;
        let error = store.submit(submission(1, 1)).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
        let mut set = cmd("HSET");
        set.arg("{td:1}:m").arg(field).arg(own);
        set.exec_async(&mut connection).await.unwrap();
        serves(&store, 1).await;
        hears_changes(&store, 1).await;
    }
}
