//! Addresses that are wrong, or only partly right.

use tidings::store::{
    Store,
    redis::{ConnectError, RedisStore},
};

use crate::support::{
    cluster::Cluster, false_sentinel::FalseSentinel, port, redis::RedisServer, redis::config,
};

use super::{open, submit};

async fn refusal(url: &str) -> ConnectError {
    RedisStore::connect(config(url)).await.unwrap_err()
}

#[tokio::test]
async fn a_plain_server_and_a_replica_are_told_from_what_was_asked_for() {
    let server = RedisServer::start(&[]).await;
    let url = server.url().replace("redis://", "redis+cluster://");
    let error = refusal(url.trim_end_matches('/')).await;
    assert!(matches!(error, ConnectError::Topology(_)), "{error:?}");
    assert!(
        error.to_string().contains("name it with redis://"),
        "{error}"
    );

    let of = server.port().to_string();
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &of]).await;
    let error = refusal(&replica.url()).await;
    assert!(matches!(error, ConnectError::Replica), "{error:?}");
    assert!(error.to_string().contains("name its primary"), "{error}");
}

#[tokio::test]
async fn a_node_of_a_cluster_is_told_from_a_server_and_one_seed_that_answers_will_do() {
    let cluster = Cluster::start(&[]).await;
    let node = cluster.ports()[0];
    let error = refusal(&format!("redis://127.0.0.1:{node}")).await;
    assert!(error.to_string().contains("redis+cluster://"), "{error}");

    let dead = port::free();
    let url = format!("redis+cluster://127.0.0.1:{dead},127.0.0.1:{node}");
    let store = open(&url, 6).await;
    for partition in 0..6 {
        submit(&store, partition, 1).await;
    }
}

#[tokio::test]
async fn a_wrong_name_of_a_master_is_named() {
    let nodes = crate::support::sentinel::SentinelSet::start(&[]).await;
    let url = nodes.url().replace("/tidings", "/nobody");
    let error = refusal(&url).await.to_string();
    assert!(error.contains("called nobody"), "{error}");
    assert!(error.contains("check the name"), "{error}");
}

#[tokio::test]
async fn the_sentinel_with_the_latest_failover_is_believed() {
    let [old, new] = [RedisServer::start(&[]).await, RedisServer::start(&[]).await];
    let stale = FalseSentinel::naming(old.port(), 3).await;
    let fresh = FalseSentinel::naming(new.port(), 4).await;
    let dead = port::free();
    for ports in [
        [stale.port(), fresh.port(), dead],
        [dead, fresh.port(), stale.port()],
        [fresh.port(), dead, stale.port()],
    ] {
        let hosts = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
        let store = open(&format!("redis+sentinel://{hosts}/any"), 1).await;
        submit(&store, 0, 1).await;
        assert_eq!(store.info().epoch, 1);
    }
    let keys = async |server: &RedisServer| server.info("keyspace").await.contains("db0:");
    assert!(
        keys(&new).await && !keys(&old).await,
        "all went to the new one"
    );
}
