//! Work that goes on while servers fail.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tidings::{
    model::{TaskId, WorkerId},
    store::{Lookup, Store, redis::RedisStore},
};
use tokio::{task::JoinSet, time::sleep};

use crate::support::eventually;

use super::{LEASE, SOON, submission, succeeded};

/// Between the calls of one submitter or worker.
const PACE: Duration = Duration::from_millis(10);

/// Submitters, one a partition, and workers that finish what they submit.
pub(super) struct Traffic {
    pub(super) store: Arc<RedisStore>,
    done: Arc<Vec<Mutex<Done>>>,
    running: JoinSet<()>,
}

/// What was done in a partition.
#[derive(Clone, Default)]
struct Done {
    accepted: Vec<TaskId>,
    finished: usize,
}

impl Traffic {
    pub(super) fn start(store: RedisStore) -> Traffic {
        let partitions = store.info().partitions;
        let store = Arc::new(store);
        let done: Vec<Mutex<Done>> = (0..partitions).map(|_| Mutex::default()).collect();
        let done = Arc::new(done);
        let mut running = JoinSet::new();
        for partition in 0..partitions {
            running.spawn(submit_on(store.clone(), done.clone(), partition));
        }
        for worker in 1..=2 {
            running.spawn(work_on(store.clone(), done.clone(), WorkerId(worker)));
        }
        Traffic {
            store,
            done,
            running,
        }
    }

    fn done(&self, partition: u16) -> Done {
        self.done[usize::from(partition)].lock().unwrap().clone()
    }

    /// Waits until work was accepted and finished in each of these partitions from now on.
    pub(super) async fn goes_on(&self, partitions: &[u16]) {
        for partition in partitions {
            let before = self.done(*partition);
            eventually("accepted and finished", SOON, async || {
                let now = self.done(*partition);
                let accepted = now.accepted.len() > before.accepted.len();
                (accepted && now.finished > before.finished + 6).then_some(())
            })
            .await;
        }
    }

    /// Ends it; answers the accepted tasks that are not there.
    pub(super) async fn end(mut self) -> (Arc<RedisStore>, Vec<TaskId>) {
        self.running.shutdown().await;
        let mut missing = Vec::new();
        for done in self.done.iter() {
            let accepted = done.lock().unwrap().accepted.clone();
            assert!(!accepted.is_empty());
            let lookups = self.store.tasks(&accepted).await.unwrap();
            let gone = accepted
                .iter()
                .zip(lookups)
                .filter(|(_, it)| matches!(it, Lookup::Missing));
            missing.extend(gone.map(|(id, _)| *id));
        }
        (self.store, missing)
    }
}

async fn submit_on(store: Arc<RedisStore>, done: Arc<Vec<Mutex<Done>>>, partition: u16) {
    loop {
        if let Ok(accepted) = store.submit(submission(partition, 3)).await {
            let mut done = done[usize::from(partition)].lock().unwrap();
            done.accepted.extend(accepted.ids.iter());
        }
        sleep(PACE).await;
    }
}

async fn work_on(store: Arc<RedisStore>, done: Arc<Vec<Mutex<Done>>>, worker: WorkerId) {
    loop {
        let acquired = store.acquire(worker, 60, LEASE).await.unwrap_or_default();
        let commits = (0..store.info().partitions).map(|partition| {
            let tasks = acquired
                .tasks
                .iter()
                .filter(|it| it.id.partition() == partition);
            let commits: Vec<_> = tasks.cloned().map(succeeded).collect();
            let (store, done) = (&store, &done);
            // Each for itself, as one that has to wait must not keep the others.
            async move {
                let count = commits.len();
                if count > 0 && store.commit(commits).await.is_ok() {
                    done[usize::from(partition)].lock().unwrap().finished += count;
                }
            }
        });
        tokio::time::timeout(Duration::from_secs(3), futures::future::join_all(commits))
            .await
            .ok();
        sleep(PACE).await;
    }
}
