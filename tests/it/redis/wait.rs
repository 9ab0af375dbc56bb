//! Submits that wait for replicas, and say how far they came.

use std::time::Duration;

use futures::future::join_all;
use tidings::store::{
    Durability, Store,
    redis::{Config, ConnectError, RedisStore, Wait},
};

use super::submission;
use crate::support::{
    redis::{RedisServer, config},
    sentinel::SentinelSet,
};

/// Long for a replica that has just begun to follow.
const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(200);

fn waiting(url: &str, replicas: u32, fsync: bool, timeout: Duration) -> Config {
    let wait = Wait {
        replicas,
        fsync,
        timeout,
    };
    Config {
        wait: Some(wait),
        ..config(url)
    }
}

#[tokio::test]
async fn a_submit_says_how_many_replicas_have_it() {
    let set = SentinelSet::start(&[]).await;
    let store = RedisStore::connect(waiting(&set.url(), 2, false, LONG))
        .await
        .unwrap();
    let many = join_all((0..200).map(|_| store.submit(submission(0, 1)))).await;
    for accepted in many {
        assert_eq!(accepted.unwrap().durability, Durability::Replicated(2));
    }
    set.cut_replication().await;
    let store = RedisStore::connect(waiting(&set.url(), 2, false, SHORT))
        .await
        .unwrap();
    let accepted = store.submit(submission(0, 1)).await.unwrap();
    assert_eq!(accepted.durability, Durability::Memory);
}

#[tokio::test]
async fn one_server_says_that_no_replica_has_it_and_accepts_all_the_same() {
    let server = RedisServer::start(&["--appendonly", "yes"]).await;
    let store = RedisStore::connect(waiting(&server.url(), 1, false, SHORT))
        .await
        .unwrap();
    let accepted = store.submit(submission(0, 3)).await.unwrap();
    assert_eq!(accepted.durability, Durability::FsyncEverySecond);
    assert_eq!(store.stats().await.unwrap().ready, 3);
}

#[tokio::test]
async fn a_server_that_cannot_wait_for_disks_is_refused() {
    let server = RedisServer::start(&[]).await;
    let error = RedisStore::connect(waiting(&server.url(), 0, true, SHORT))
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::NoDiskWait), "{error}");
}
