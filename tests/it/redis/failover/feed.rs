//! What is announced does not arrive, or its subscription ends.

use ::redis::cmd;
use tidings::store::Store;

use crate::support::{deaf::DeafProxy, eventually, redis::RedisServer};

use super::{
    LEASE, SOON, WORKER, hears_changes, hears_gap, open, submission, submit, traffic::Traffic,
};

#[tokio::test]
async fn messages_that_were_eaten_are_missed_within_seconds() {
    let server = RedisServer::start(&[]).await;
    let proxy = DeafProxy::before(server.port()).await;
    let store = open(&format!("redis://127.0.0.1:{}", proxy.port()), 2).await;
    hears_changes(&store, 1).await;
    proxy.shut();
    let mut changes = store.changes();
    submit(&store, 1, 1).await;
    let since = std::time::Instant::now();
    hears_gap(&mut changes).await;
    println!("missed after {:?}", since.elapsed());
    assert!(proxy.lost() > 0);
    assert_eq!(store.info().epoch, 1);
}

#[tokio::test]
async fn a_subscriber_that_is_thrown_out_comes_back_once() {
    let server = RedisServer::start(&[]).await;
    let store = open(&server.url(), 2).await;
    for _ in 0..3 {
        let mut changes = store.changes();
        let mut connection = server.connect().await.unwrap();
        let mut kill = cmd("CLIENT");
        kill.arg("KILL").arg("TYPE").arg("pubsub");
        kill.exec_async(&mut connection).await.unwrap();
        hears_gap(&mut changes).await;
        hears_changes(&store, 1).await;
    }
    eventually("there is one subscriber", SOON, async || {
        let mut connection = server.connect().await?;
        let mut count = cmd("PUBSUB");
        count.arg("NUMSUB").arg("{td:0}:ev").arg("{td:1}:ev");
        let counts: Vec<(String, u64)> = count.query_async(&mut connection).await.ok()?;
        counts.iter().all(|(_, count)| *count == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_are_flushed_again_and_again_fail_no_call() {
    let server = RedisServer::start(&[]).await;
    let store = open(&server.url(), 2).await;
    let flushing = async {
        let mut connection = server.connect().await.unwrap();
        for _ in 0..50 {
            let mut flush = cmd("SCRIPT");
            flush.arg("FLUSH");
            flush.exec_async(&mut connection).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let calls = async {
        for round in 0..50 {
            store.submit(submission(round % 2, 2)).await.unwrap();
            store.acquire(WORKER, 2, LEASE).await.unwrap();
        }
    };
    tokio::join!(flushing, calls);
    let traffic = Traffic::start(store);
    traffic.goes_on(&[0, 1]).await;
    assert_eq!(traffic.store.info().epoch, 1);
}
