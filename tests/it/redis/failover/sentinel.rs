//! Real Sentinels replace a primary.

use tidings::store::Store;
use tokio::time::Instant;

use crate::support::sentinel::SentinelSet;

use super::{all_queued, comes_to_epoch, found, hears_changes, hears_gap, open, serves, submit};

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_replaced_killed_or_paused_takes_nothing_with_it_that_was_replicated() {
    let mut nodes = SentinelSet::start(&[]).await;
    let stores = [open(&nodes.url(), 1).await, open(&nodes.url(), 1).await];
    let mut ids = Vec::new();
    for way in ["replaced", "killed", "paused"] {
        for store in &stores {
            ids.extend(submit(store, 0, 10).await);
        }
        let mut changes = stores[1].changes();
        let old = nodes.wait_settled().await;
        match way {
            "killed" => drop(nodes.kill_primary().await),
            "paused" => drop(nodes.pause_primary().await),
            _ => nodes.failover().await,
        }
        nodes.wait_for_new_primary(old).await;
        if way == "replaced" {
            // Until it hears of it, the old one takes what is lost then.
            nodes.wait_settled().await;
        }
        let since = Instant::now();
        for store in &stores {
            ids.extend(serves(store, 0).await);
        }
        println!("{way}: served {:?} after the failover", since.elapsed());
        hears_gap(&mut changes).await;
        for store in &stores {
            all_queued(store, &ids).await;
            hears_changes(store, 0).await;
            assert_eq!(store.info().epoch, 1, "{way}");
        }
        match way {
            "killed" => nodes.restart_dead().await,
            "paused" => nodes.resume(old),
            _ => {}
        }
        for store in &stores {
            all_queued(store, &ids).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_and_not_replicated_is_lost_aloud() {
    let mut nodes = SentinelSet::start(&[]).await;
    nodes.kill_sentinel(0);
    let stores = [open(&nodes.url(), 1).await, open(&nodes.url(), 1).await];
    let kept = submit(&stores[0], 0, 5).await;
    let old = nodes.wait_settled().await;
    nodes.cut_replication().await;
    let lost = submit(&stores[0], 0, 5).await;
    let mut changes = stores.each_ref().map(|store| store.changes());
    nodes.kill_primary().await;
    nodes.wait_for_new_primary(old).await;
    for (store, changes) in stores.iter().zip(&mut changes) {
        comes_to_epoch(store, 2).await;
        hears_gap(changes).await;
        serves(store, 0).await;
        all_queued(store, &kept).await;
        assert_eq!(found(store, kept[0]).await.unwrap().epoch, 2);
        assert_eq!(found(store, lost[0]).await, None);
        hears_changes(store, 0).await;
        assert_eq!(store.info().epoch, 2);
    }
}
