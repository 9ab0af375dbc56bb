//! A set under Sentinels does what a failover test expects of it.

use ::redis::{aio::MultiplexedConnection, cmd};

use crate::support::{redis::RedisServer, sentinel::SentinelSet};

async fn set(server: &RedisServer, key: &str) {
    let mut connection = connect(server).await;
    let mut set = cmd("SET");
    set.arg(key).arg("here");
    set.query_async::<()>(&mut connection).await.unwrap();
}

async fn has(server: &RedisServer, key: &str) -> bool {
    let mut connection = connect(server).await;
    let mut exists = cmd("EXISTS");
    exists.arg(key).query_async(&mut connection).await.unwrap()
}

async fn connect(server: &RedisServer) -> MultiplexedConnection {
    server.connect().await.expect("the server is up")
}

#[tokio::test]
async fn a_killed_primary_is_replaced_with_all_that_was_replicated_and_comes_back_as_a_replica() {
    let mut nodes = SentinelSet::start(&[]).await;
    let first = nodes.primary().await;
    assert_eq!(nodes.ports()[0], first);
    set(nodes.server(first), "before").await;
    nodes.wait_settled().await;

    assert_eq!(nodes.kill_primary().await, first);
    let second = nodes.wait_for_new_primary(first).await;
    assert!(has(nodes.server(second), "before").await);

    set(nodes.server(second), "after").await;
    nodes.restart_dead().await;
    assert_eq!(nodes.wait_settled().await, second);
    assert!(has(nodes.server(first), "after").await);
}

#[tokio::test]
async fn a_cut_replication_loses_acknowledged_writes_at_the_failover() {
    let mut nodes = SentinelSet::start(&[]).await;
    let first = nodes.primary().await;
    set(nodes.server(first), "kept").await;
    nodes.wait_settled().await;

    nodes.cut_replication().await;
    set(nodes.server(first), "lost").await;
    assert!(has(nodes.server(first), "lost").await);
    nodes.kill_primary().await;
    let second = nodes.wait_for_new_primary(first).await;
    assert!(has(nodes.server(second), "kept").await);
    assert!(!has(nodes.server(second), "lost").await);

    nodes.restart_dead().await;
    nodes.wait_settled().await;
    assert!(!has(nodes.server(first), "lost").await);
}

#[tokio::test]
async fn a_paused_primary_is_replaced_and_gives_up_what_it_took_meanwhile() {
    let nodes = SentinelSet::start(&[]).await;
    nodes.cut_replication().await;
    let first = nodes.primary().await;
    set(nodes.server(first), "lost").await;

    assert_eq!(nodes.pause_primary().await, first);
    let second = nodes.wait_for_new_primary(first).await;
    assert!(!has(nodes.server(second), "lost").await);

    nodes.resume(first);
    nodes.mend_replication(first).await;
    assert_eq!(nodes.wait_settled().await, second);
    assert!(!has(nodes.server(first), "lost").await);
}

#[tokio::test]
async fn a_replication_that_was_mended_loses_nothing() {
    let mut nodes = SentinelSet::start(&[]).await;
    let first = nodes.primary().await;
    nodes.cut_replication().await;
    set(nodes.server(first), "kept").await;
    nodes.mend_replication(first).await;
    nodes.wait_settled().await;

    nodes.kill_primary().await;
    let second = nodes.wait_for_new_primary(first).await;
    assert!(has(nodes.server(second), "kept").await);
}

#[tokio::test]
async fn two_of_three_sentinels_replace_a_primary_that_is_well() {
    let mut nodes = SentinelSet::start(&["--appendonly", "yes"]).await;
    let first = nodes.primary().await;
    nodes.kill_sentinel(0);
    nodes.failover().await;
    let second = nodes.wait_for_new_primary(first).await;
    nodes.restart_sentinel(0).await;
    assert_eq!(nodes.wait_settled().await, second);

    let url = nodes.url();
    let hosts = url.strip_prefix("redis+sentinel://").unwrap();
    let hosts = hosts.strip_suffix("/tidings").unwrap();
    assert_eq!(hosts.split(',').count(), 3);
}
