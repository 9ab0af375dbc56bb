//! Workers on a store that fails and whose hints are lost, on tokio's clock: it stands still while anything can run
//! and then jumps to the next timer.

mod cancel;
mod follow;
mod paid;
mod reap;
mod together;

use std::{sync::Arc, time::Duration};

use tidings::{
    clock::{ManualClock, Timestamp},
    model::{BatchId, Caching, IdRange, Spec, Task, TaskId, Work, WorkerId},
    store::{Append, Lookup, Store as _, Submission},
    upstream::{Endpoint, Models, Router},
    worker::{Config, Registry, Worker},
};
use tokio_util::sync::CancellationToken;

use crate::support::{faulty_store::FaultyStore, model_store::ModelStore, upstream::endpoint};

const START: Timestamp = Timestamp(1_700_000_000_000);
/// Longer than anything here lasts.
const LONG: Duration = Duration::from_secs(3_600);

/// A store, and what happens on it.
struct World {
    /// What is stored, for the test to look at whatever the workers can read.
    model: Arc<ModelStore>,
    store: Arc<FaultyStore>,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let model = Arc::new(ModelStore::new(clock.clone()));
        World {
            store: FaultyStore::before(model.clone()),
            model,
            clock,
        }
    }

    /// Workers that renew their leases three times in [`LONG`], and whose upstream serves no model: whatever is called
    /// fails for good, at once.
    fn start(&self, functions: Registry) {
        let mut nowhere = endpoint("nowhere", "http://127.0.0.1:9/v1".into());
        nowhere.models = Models::Named([].into());
        self.start_with(nowhere, functions, 4);
    }

    /// The same with an upstream, and so many tasks at once.
    fn start_with(&self, upstream: Endpoint, functions: Registry, concurrency: usize) {
        let config = Config {
            concurrency,
            lease: LONG,
            grace: Duration::ZERO,
            cache_ttl: LONG,
        };
        let upstream = Router::new(&[upstream]).unwrap();
        let worker = Worker::new(self.store.clone(), upstream, Arc::new(functions), config);
        tokio::spawn(worker.run(CancellationToken::new()));
    }

    async fn submit(&self, work: Work) -> TaskId {
        self.submit_spec(spec(work)).await
    }

    async fn submit_spec(&self, spec: Spec) -> TaskId {
        let ids = IdRange::new(START, 0, rand::random(), 1);
        let submission = Submission {
            batch_id: BatchId::new(START, 0, rand::random()),
            append: Append::New,
            keep_open: false,
            ids,
            specs: vec![Arc::new(spec)],
            idempotency: None,
            budget: None,
        };
        self.store.submit(submission).await.unwrap();
        ids.first
    }

    /// Another process takes up the one task that waits, and keeps it.
    async fn acquire(&self) -> Task {
        let acquired = self.store.acquire(WorkerId(7), 1, LONG).await;
        acquired.unwrap().tasks.remove(0)
    }

    async fn task(&self, id: TaskId) -> Task {
        match self.model.tasks(&[id]).await.unwrap().remove(0) {
            Lookup::Found(task) => *task,
            other => panic!("{other:?}"),
        }
    }
}

fn spec(work: Work) -> Spec {
    Spec {
        work,
        timeout_ms: 600_000,
        status_retention_ms: 1_000,
        result_retention_ms: 1_000,
        caching: Some(Caching::default()),
        ..crate::support::spec::spec("", START, START + LONG)
    }
}
