//! Primaries of a cluster are killed, replaced and frozen, with traffic on every partition.

use std::time::Duration;

use tidings::store::Store;
use tokio::time::Instant;

use crate::support::cluster::{Cluster, Failover};

use super::{consistency::assert_consistent, hears_changes, open, traffic::Traffic};

const PARTITIONS: u16 = 6;

async fn homes(cluster: &Cluster) -> Vec<u16> {
    let mut homes = Vec::new();
    for partition in 0..PARTITIONS {
        homes.push(cluster.primary_of(&format!("{{td:{partition}}}")).await);
    }
    homes
}

/// The partitions of a node, and the others.
async fn split(cluster: &Cluster, node: u16) -> (Vec<u16>, Vec<u16>) {
    let homes = homes(cluster).await;
    (0..PARTITIONS).partition(|partition| homes[usize::from(*partition)] == node)
}

/// Nothing torn in any partition.
async fn all_consistent(cluster: &Cluster) {
    for (partition, home) in (0..).zip(homes(cluster).await) {
        let records = assert_consistent(cluster.server(home), partition).await;
        assert!(records > 0, "partition {partition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_partitions_of_a_lost_primary_pause_and_nothing_is_lost_in_silence() {
    let mut cluster = Cluster::start(&["--cluster-require-full-coverage", "no"]).await;
    let traffic = Traffic::start(open(&cluster.url(), PARTITIONS).await);
    let first = cluster.primary_of("{td:0}").await;
    let (affected, others) = split(&cluster, first).await;
    let slot = cluster.slot_of("{td:0}").await;
    let all: Vec<u16> = (0..PARTITIONS).collect();
    traffic.goes_on(&all).await;

    let second = cluster.replica_of(first).await;
    cluster.kill(first);
    traffic.goes_on(&others).await;
    assert_eq!(cluster.wait_for_new_primary(slot, first).await, second);
    let since = Instant::now();
    traffic.goes_on(&affected).await;
    println!("killed: back {:?} after the failover", since.elapsed());
    cluster.restart(first).await;
    cluster.wait_ok().await;

    let (mut old, mut new) = (second, first);
    for how in [Failover::Plain, Failover::Force, Failover::Takeover] {
        cluster.failover(new, how).await;
        let since = Instant::now();
        traffic.goes_on(&all).await;
        println!("{how:?}: back {:?} after the failover", since.elapsed());
        cluster.wait_ok().await;
        (old, new) = (new, old);
    }
    let _ = new;

    cluster.pause(old);
    cluster.wait_for_new_primary(slot, old).await;
    let since = Instant::now();
    cluster.resume(old);
    traffic.goes_on(&all).await;
    println!("paused: back {:?} after the failover", since.elapsed());
    cluster.wait_ok().await;
    traffic.goes_on(&all).await;

    let (store, missing) = traffic.end().await;
    // Without waiting for replicas a little may be lost, but not without anybody knowing.
    println!("{} lost, epoch {}", missing.len(), store.info().epoch);
    assert!(missing.is_empty() || store.info().epoch > 1, "{missing:?}");
    for partition in &all {
        hears_changes(&store, *partition).await;
    }
    all_consistent(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_idle_loses_nothing_and_keeps_its_epoch() {
    let mut cluster = Cluster::start(&[]).await;
    let stores = [
        open(&cluster.url(), PARTITIONS).await,
        open(&cluster.url(), PARTITIONS).await,
    ];
    let mut ids = Vec::new();
    for partition in 0..PARTITIONS {
        ids.extend(super::submit(&stores[0], partition, 5).await);
    }
    let first = cluster.primary_of("{td:0}").await;
    let slot = cluster.slot_of("{td:0}").await;
    // Written is not yet replicated.
    cluster.wait_level(first).await;
    cluster.kill(first);
    cluster.wait_for_new_primary(slot, first).await;
    let since = Instant::now();
    for store in &stores {
        super::serves(store, 0).await;
        super::all_queued(store, &ids).await;
        hears_changes(store, 0).await;
        assert_eq!(store.info().epoch, 1);
    }
    println!("whole {:?} after the failover", since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(30));
}
