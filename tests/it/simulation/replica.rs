//! One server process as far as it matters here: its workers, its hub and its service, on its own line to the store.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tidings::{
    model::Prices,
    service::{self, Limits, Service},
    store::{Capacity, Store},
    upstream,
    watch::Hub,
    worker::{self, Registry, Worker},
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    feed,
    link::{Link, Power},
    plan::LEASE,
    work::Work,
};
use crate::support::recalling::Recalling;

/// How long a shutdown waits for running tasks.
const GRACE: Duration = Duration::from_secs(2);
/// A client gives a call up after this long.
const CALL: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A running replica.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) link: Arc<Link>,
    pub(super) service: Service,
    shutdown: CancellationToken,
    draining: CancellationToken,
    stop: CancellationToken,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Replica {
    pub(super) fn start(
        link: Arc<Link>,
        upstream: upstream::Client,
        concurrency: usize,
    ) -> Arc<Replica> {
        let (shutdown, draining) = (CancellationToken::new(), CancellationToken::new());
        let stop = CancellationToken::new();
        let functions = Arc::new(Registry::default().with(Work(link.clone())));
        let store: Arc<dyn Store> = Arc::new(Recalling::new(link.clone()));
        let hub = Hub::new(store.clone(), draining.clone());
        tokio::spawn(hub.clone().run(stop.clone()));
        let config = worker::Config {
            concurrency,
            lease: LEASE,
            grace: GRACE,
            cache_ttl: DAY,
        };
        let workers = Worker::new(store.clone(), upstream, functions.clone(), config);
        let worker = tokio::spawn(workers.run(shutdown.clone()));
        tokio::spawn(feed::run(link.clone()));
        let config = service::Config {
            limits: Limits::default(),
            capacity: Capacity::default(),
            model: "none".into(),
            prices: Prices::default(),
            status_retention: DAY,
            result_retention: DAY,
        };
        Arc::new(Replica {
            service: Service::new(store, hub, functions, config, draining.clone()),
            link,
            shutdown,
            draining,
            stop,
            worker: Mutex::new(Some(worker)),
        })
    }

    /// One call of a client; none when it cannot know what became of it.
    pub(super) async fn ask<T>(
        &self,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Option<Result<T, Status>> {
        tokio::select! {
            biased;
            () = self.link.gone() => None,
            reply = timeout(CALL, call) => reply.ok(),
        }
    }

    /// The process is gone from one instant to the next.
    pub(super) fn crash(&self) {
        self.link.switch(Power::Off);
    }

    /// The process shuts down as a server does: watches first, then the workers.
    pub(super) async fn drain(&self) {
        self.draining.cancel();
        self.shutdown.cancel();
        let worker = self.worker.lock().take();
        if let Some(worker) = worker {
            // A server whose store is away is ended by its supervisor.
            let _ = timeout(GRACE * 3, worker).await;
        }
        self.stop.cancel();
        self.link.switch(Power::Off);
    }
}
