//! A partition moves from node to node, key by key, while it is used.

use std::{sync::Arc, time::Duration};

use ::redis::cmd;
use tidings::store::{Error, Store, redis::RedisStore};
use tokio::time::Instant;

use crate::support::{cluster::Cluster, eventually};

use super::{
    LEASE, SOON, WORKER, consistency::assert_consistent, hears_changes, open, submission, submit,
    traffic::Traffic,
};

const PARTITIONS: u16 = 12;
/// Its slot is what moves.
const MOVING: u16 = 0;
const TAG: &str = "{td:0}";

/// What is far beyond the two seconds that a call waits, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Another partition of the same node.
async fn neighbour(cluster: &Cluster, node: u16) -> u16 {
    for partition in 1..PARTITIONS {
        if cluster.primary_of(&format!("{{td:{partition}}}")).await == node {
            return partition;
        }
    }
    panic!("no other partition lives there");
}

async fn refused(store: &Arc<RedisStore>) {
    let since = Instant::now();
    let error = store.submit(submission(MOVING, 2)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    println!("gave up after {:?}", since.elapsed());
    assert!(
        since.elapsed() >= Duration::from_secs(1),
        "it may be over soon"
    );
    assert!(since.elapsed() < PATIENCE, "{:?}", since.elapsed());
}

async fn drop_connections(cluster: &Cluster, node: u16) {
    let mut connection = cluster.server(node).connect().await.unwrap();
    for kind in ["normal", "pubsub"] {
        let mut kill = cmd("CLIENT");
        kill.arg("KILL")
            .arg("TYPE")
            .arg(kind)
            .arg("SKIPME")
            .arg("yes");
        kill.exec_async(&mut connection).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_on_its_way_waits_whole_and_goes_on_where_it_arrives() {
    let cluster = Cluster::start(&[]).await;
    let slot = cluster.slot_of(TAG).await;
    let from = cluster.primary_of(TAG).await;
    let to = *cluster.ports()[..3].iter().find(|it| **it != from).unwrap();
    let neighbour = neighbour(&cluster, from).await;
    let traffic = Traffic::start(open(&cluster.url(), PARTITIONS).await);
    let store = traffic.store.clone();
    traffic.goes_on(&[MOVING, neighbour]).await;

    let migration = cluster.begin_migration(slot, to).await;
    assert_eq!(cluster.move_keys(migration, 5).await, 5);
    refused(&store).await;
    traffic.goes_on(&[neighbour]).await;
    // Not even who connects anew is kept from the others.
    drop_connections(&cluster, from).await;
    traffic.goes_on(&[neighbour]).await;
    hears_changes(&store, neighbour).await;
    refused(&store).await;
    let newcomer = Arc::new(open(&cluster.url(), PARTITIONS).await);
    submit(&newcomer, neighbour, 1).await;
    refused(&newcomer).await;
    // What is asked of all partitions does not wait for it.
    let since = Instant::now();
    for _ in 0..10 {
        store.acquire(WORKER, 1, LEASE).await.unwrap();
    }
    println!("ten acquires took {:?}", since.elapsed());
    assert!(since.elapsed() < PATIENCE, "{:?}", since.elapsed());

    cluster.finish_migration(migration).await;
    let since = Instant::now();
    traffic.goes_on(&[MOVING]).await;
    println!("went on after {:?}", since.elapsed());
    for store in [&store, &newcomer] {
        hears_changes(store, MOVING).await;
        assert_eq!(store.info().epoch, 1);
    }
    // And back, at once.
    cluster.migrate_slot(slot, from).await;
    traffic.goes_on(&[MOVING]).await;
    hears_changes(&store, MOVING).await;
    let (_, missing) = traffic.end().await;
    assert_eq!(missing, []);
    assert_eq!(store.info().epoch, 1);
    assert!(assert_consistent(cluster.server(from), MOVING).await > 0);
}

/// A script that began on what is left of a partition would write half of it anew.
#[tokio::test]
async fn a_script_touches_nothing_of_a_partition_that_is_on_its_way() {
    let cluster = Cluster::start(&[]).await;
    let slot = cluster.slot_of(TAG).await;
    let from = cluster.primary_of(TAG).await;
    let to = *cluster.ports()[..3].iter().find(|it| **it != from).unwrap();
    let store = open(&cluster.url(), PARTITIONS).await;
    for _ in 0..3 {
        submit(&store, MOVING, 4).await;
    }
    let held = store.acquire(WORKER, 4, LEASE).await.unwrap().tasks;
    assert_eq!(held.len(), 4);
    let digest = async || {
        let mut keys = Vec::new();
        for node in [from, to] {
            let mut connection = cluster.server(node).connect().await.unwrap();
            let mut list = cmd("CLUSTER");
            list.arg("GETKEYSINSLOT").arg(slot).arg(10_000);
            let mut names: Vec<Vec<u8>> = list.query_async(&mut connection).await.unwrap();
            names.sort();
            for name in names {
                // The new node answers only who was sent there.
                let mut dump = ::redis::pipe();
                dump.cmd("ASKING").ignore().cmd("DUMP").arg(&name);
                let (value,): (Vec<u8>,) = dump.query_async(&mut connection).await.unwrap();
                keys.push((node, name, value));
            }
        }
        keys
    };
    let migration = cluster.begin_migration(slot, to).await;
    loop {
        let before = digest().await;
        let tasks = held.clone().into_iter().map(super::succeeded).collect();
        let (submitted, committed) =
            tokio::join!(store.submit(submission(MOVING, 2)), store.commit(tasks));
        assert!(
            matches!(submitted, Err(Error::Unavailable(_))),
            "{submitted:?}"
        );
        assert!(
            matches!(committed, Err(Error::Unavailable(_))),
            "{committed:?}"
        );
        assert!(digest().await == before, "something was written half-way");
        // Two steps half-way, each of them with other keys on either side.
        if cluster.move_keys(migration, 12).await < 12 {
            break;
        }
    }
    cluster.finish_migration(migration).await;
    eventually("it goes on", SOON, async || {
        store.submit(submission(MOVING, 2)).await.ok()
    })
    .await;
    assert_eq!(assert_consistent(cluster.server(to), MOVING).await, 14);
    assert_eq!(store.info().epoch, 1);
}
