//! A cluster does what a test of failovers and moving slots expects of it.

use ::redis::{FromRedisValue, RedisResult, cmd};

use crate::support::cluster::{Cluster, Failover};

/// Both keys are in the slot of the tag.
const TAG: &str = "{td:0}";
const KEYS: [&str; 2] = ["{td:0}:one", "{td:0}:two"];

/// Says it to one node, as a client would that follows no redirection.
async fn say<T: FromRedisValue>(cluster: &Cluster, port: u16, words: &[&str]) -> RedisResult<T> {
    let server = cluster.server(port);
    let mut connection = server.connect().await.expect("the node is up");
    cmd(words[0])
        .arg(&words[1..])
        .query_async(&mut connection)
        .await
}

async fn refusal(cluster: &Cluster, port: u16, words: &[&str]) -> String {
    let error = say::<()>(cluster, port, words).await.unwrap_err();
    error.code().unwrap_or_default().to_string()
}

/// What a client is told that was sent on to a node.
async fn asking(cluster: &Cluster, port: u16, words: &[&str]) -> String {
    let server = cluster.server(port);
    let mut connection = server.connect().await.expect("the node is up");
    let asked: RedisResult<()> = ::redis::pipe()
        .cmd("ASKING")
        .ignore()
        .cmd(words[0])
        .arg(&words[1..])
        .query_async(&mut connection)
        .await;
    asked.unwrap_err().code().unwrap_or_default().to_string()
}

#[tokio::test]
async fn a_killed_primary_is_replaced_and_comes_back_as_a_replica() {
    let mut cluster = Cluster::start(&[]).await;
    assert_eq!(cluster.url().split(',').count(), 6);
    let slot = cluster.slot_of(TAG).await;
    let first = cluster.primary_of(TAG).await;
    let replica = cluster.replica_of(first).await;
    cluster.kill(first);
    let second = cluster.wait_for_new_primary(slot, first).await;
    assert_eq!(second, replica);
    cluster.wait_ok().await;
    let code = refusal(&cluster, cluster.ports()[1], &["GET", KEYS[0]]).await;
    assert_eq!(code, "MOVED");

    cluster.restart(first).await;
    cluster.wait_ok().await;
    assert_eq!(cluster.primary_of(TAG).await, second);
    assert_eq!(cluster.replica_of(second).await, first);
}

#[tokio::test]
async fn a_paused_primary_is_replaced_and_follows_when_it_goes_on() {
    let mut cluster = Cluster::start(&[]).await;
    let slot = cluster.slot_of(TAG).await;
    let first = cluster.primary_of(TAG).await;
    cluster.pause(first);
    let second = cluster.wait_for_new_primary(slot, first).await;
    cluster.resume(first);
    cluster.wait_ok().await;
    assert_eq!(cluster.primary_of(TAG).await, second);
    assert_eq!(cluster.replica_of(second).await, first);
}

#[tokio::test]
async fn a_replica_takes_over_with_its_primary_by_vote_and_by_itself() {
    let mut cluster = Cluster::start(&["--cluster-require-full-coverage", "no"]).await;
    let slot = cluster.slot_of(TAG).await;
    let first = cluster.primary_of(TAG).await;
    let second = cluster.replica_of(first).await;

    cluster.failover(second, Failover::Plain).await;
    assert_eq!(cluster.wait_for_new_primary(slot, first).await, second);
    cluster.wait_ok().await;

    cluster.failover(first, Failover::Force).await;
    assert_eq!(cluster.wait_for_new_primary(slot, second).await, first);
    cluster.wait_ok().await;

    // With two of three primaries away nobody can be voted for.
    for port in cluster.ports().into_iter().take(3).filter(|p| *p != first) {
        cluster.kill(port);
    }
    cluster.failover(second, Failover::Takeover).await;
    assert_eq!(cluster.wait_for_new_primary(slot, first).await, second);
}

#[tokio::test]
async fn a_slot_half_way_is_asked_for_at_both_nodes_and_then_moves() {
    let cluster = Cluster::start(&[]).await;
    let slot = cluster.slot_of(TAG).await;
    let from = cluster.primary_of(TAG).await;
    let to = *cluster.ports()[..3].iter().find(|p| **p != from).unwrap();
    for key in KEYS {
        say::<()>(&cluster, from, &["SET", key, "x"]).await.unwrap();
    }

    let migration = cluster.begin_migration(slot, to).await;
    assert_eq!((migration.from, migration.to), (from, to));
    assert_eq!(cluster.move_keys(migration, 1).await, 1);
    let mut codes = Vec::new();
    for key in KEYS {
        match say::<String>(&cluster, from, &["GET", key]).await {
            Ok(value) => assert_eq!(value, "x"),
            Err(error) => codes.push(error.code().unwrap().to_string()),
        }
    }
    assert_eq!(codes, ["ASK"], "one key is there, one is not any more");
    let both = ["MGET", KEYS[0], KEYS[1]];
    // Before Redis 7 the old node sends on whoever asks for several keys, and only the new one says it.
    let code = refusal(&cluster, from, &both).await;
    assert!(["TRYAGAIN", "ASK"].contains(&code.as_str()), "{code}");
    assert_eq!(asking(&cluster, to, &both).await, "TRYAGAIN");
    assert_eq!(refusal(&cluster, to, &both).await, "MOVED");

    cluster.finish_migration(migration).await;
    cluster.wait_ok().await;
    assert_eq!(cluster.node_of_slot(slot).await, to);
    assert_eq!(refusal(&cluster, from, &both).await, "MOVED");
    let found: Vec<String> = say(&cluster, to, &both).await.unwrap();
    assert_eq!(found, ["x", "x"]);

    cluster.migrate_slot(slot, from).await;
    cluster.wait_ok().await;
    assert_eq!(cluster.primary_of(TAG).await, from);
    let found: Vec<String> = say(&cluster, from, &both).await.unwrap();
    assert_eq!(found, ["x", "x"]);
}
