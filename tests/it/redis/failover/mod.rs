//! Servers that are replaced, come back with less, or hand partitions on.

mod answers;
mod cluster;
mod consistency;
mod feed;
mod loss;
mod migration;
mod refusal;
mod restart;
mod sentinel;
mod service;
mod traffic;

use std::time::Duration;

use tidings::{
    model::{Status, Task, TaskId},
    store::{
        Change, Lookup, Store,
        redis::{Config, RedisStore},
    },
};
use tokio::sync::broadcast;

use crate::support::{eventually, redis::config};

use super::{LEASE, WORKER, moved, submission, submit, succeeded};

/// Longer than any failover takes on a busy machine.
const SOON: Duration = Duration::from_secs(30);

async fn open(url: &str, partitions: u16) -> RedisStore {
    let config = Config {
        partitions: Some(partitions),
        ..config(url)
    };
    RedisStore::connect(config).await.unwrap()
}

/// Waits until a partition takes new work.
async fn serves(store: &RedisStore, partition: u16) -> Vec<TaskId> {
    eventually("the partition takes work", SOON, async || {
        let accepted = store.submit(submission(partition, 1)).await.ok()?;
        Some(accepted.ids.iter().collect())
    })
    .await
}

/// Waits for the store to hear of this epoch.
async fn comes_to_epoch(store: &RedisStore, epoch: u32) {
    eventually("the epoch is known", SOON, async || {
        (store.info().epoch >= epoch).then_some(())
    })
    .await;
    assert_eq!(store.info().epoch, epoch);
}

/// Lets time pass until a store has asked, once more at least, how its partitions stand: it does so every second.
async fn is_probed(store: &RedisStore) {
    let since = store.now();
    eventually("time passes", SOON, async || {
        (store.now() > since + Duration::from_millis(2_500)).then_some(())
    })
    .await;
}

async fn hears_gap(changes: &mut broadcast::Receiver<Change>) {
    let heard = async {
        loop {
            match changes.recv().await {
                Ok(Change::Gap) | Err(broadcast::error::RecvError::Lagged(_)) => return,
                Ok(_) => {}
                Err(closed) => panic!("{closed}"),
            }
        }
    };
    tokio::time::timeout(SOON, heard)
        .await
        .expect("a gap is told");
}

/// Waits until what is submitted to a partition is heard, and not only by a gap.
async fn hears_changes(store: &RedisStore, partition: u16) {
    let mut changes = store.changes();
    eventually("changes are heard", SOON, async || {
        let made = store.submit(submission(partition, 1)).await.ok()?;
        let heard = async {
            loop {
                if let Ok(Change::Moved(moved)) = changes.recv().await
                    && moved.iter().any(|it| it.task == made.ids.first)
                {
                    return;
                }
            }
        };
        let heard = tokio::time::timeout(Duration::from_millis(300), heard);
        heard.await.ok()
    })
    .await;
}

async fn found(store: &RedisStore, id: TaskId) -> Option<Task> {
    match store.tasks(&[id]).await.unwrap().remove(0) {
        Lookup::Found(task) => Some(*task),
        Lookup::Missing => None,
        other => panic!("{other:?}"),
    }
}

async fn all_queued(store: &RedisStore, ids: &[TaskId]) {
    for lookup in store.tasks(ids).await.unwrap() {
        assert!(
            matches!(&lookup, Lookup::Found(task) if task.status() == Status::Queued),
            "{lookup:?}"
        );
    }
}
