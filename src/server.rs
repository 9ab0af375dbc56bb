//! The composition root: from a configuration to a running server. new · serve · shutdown.

mod grpc;
mod health;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch as signal, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin::Admin,
    clock::SystemClock,
    config::{Config, StoreConfig},
    service::{self, Service},
    store::{
        Capacity, Store,
        embedded::{Config as EmbeddedConfig, EmbeddedStore, OpenError},
        redis::{Config as RedisConfig, ConnectError, RedisStore},
    },
    upstream,
    watch::{self, Hub},
    worker::{self, Registry, Worker},
};

/// What the workers may take beyond the grace to give back what outlasted it.
const RELEASE_TIME: Duration = Duration::from_millis(500);
/// Over how much time watches leave at most: long enough that ten thousand clients do not come back at once.
const LONGEST_LEAVE: Duration = Duration::from_secs(2);
/// After the workers have drained, how long open connections may take to close.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// Why a server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on.
    #[error(
        "listen on {address}: {source}; choose another with {flag}, or port 0 for any free one"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The embedded store cannot be opened.
    #[error("open the embedded store: {0}")]
    Embedded(#[from] OpenError),
    /// The Redis store cannot be used.
    #[error("connect to the Redis store: {0}")]
    Redis(#[from] ConnectError),
    /// The upstream's client cannot be made.
    #[error("prepare the upstream: {0}")]
    Upstream(#[from] upstream::Error),
    /// Metrics cannot be recorded.
    #[error("record metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// Reflection cannot be offered.
    #[error("offer reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The store has failed for good; what it has accepted is read again at the next start.
    #[error(
        "go on: the embedded store could not write; its log says why, and a restart reads what it has kept"
    )]
    StoreFailed,
    /// The gRPC side ended by itself.
    #[error("serve gRPC: {0}")]
    Grpc(#[from] tokio::task::JoinError),
}

/// A server that holds its ports and its store, ready to serve.
pub struct Server {
    config: Config,
    functions: Arc<Registry>,
    store: Arc<dyn Store>,
    /// Cancelled when the store has failed for good.
    failed: CancellationToken,
    upstream: upstream::Router,
    grpc: TcpListener,
    admin: TcpListener,
    grpc_addr: SocketAddr,
    admin_addr: SocketAddr,
}

impl Server {
    /// Takes the ports, opens the store. Functions are the built-in ones.
    ///
    /// # Errors
    /// A port is taken, or the store cannot be used.
    pub async fn bind(config: Config) -> Result<Self, Error> {
        Self::bind_with(config, Registry::default()).await
    }

    /// As [`Server::bind`], with functions of your own.
    ///
    /// # Errors
    /// A port is taken, or the store cannot be used.
    pub async fn bind_with(config: Config, functions: Registry) -> Result<Self, Error> {
        let (grpc, grpc_addr) = listen(config.listen, "--listen").await?;
        let (admin, admin_addr) = listen(config.admin_listen, "--admin-listen").await?;
        let upstream = router(&config)?;
        let (store, failed) = open(&config.store, config.capacity).await?;
        Ok(Server {
            failed,
            functions: Arc::new(functions),
            store,
            upstream,
            grpc,
            admin,
            grpc_addr,
            admin_addr,
            config,
        })
    }

    /// Where gRPC is served.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc_addr
    }

    /// Where metrics and readiness are served.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// The line that says where and with what the server serves. Holds no password or key.
    pub fn banner(&self) -> String {
        format!(
            "tidings is serving on {} (store: {}, upstream: {})",
            self.grpc_addr,
            self.config.store,
            self.config.shown_upstream()
        )
    }

    /// Serves until `shutdown`, then drains: health says NOT_SERVING, watches end with UNAVAILABLE one after the
    /// other, no task is started, running ones finish within the grace or go back to the queue.
    ///
    /// # Errors
    /// The store has failed for good, or the gRPC side ended by itself.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), Error> {
        let draining = shutdown.child_token();
        let stop = CancellationToken::new();
        let background = TaskTracker::new();
        let hub = Hub::with(
            self.store.clone(),
            Arc::new(self.upstream.clone()),
            watch_config(&self.config),
            draining.clone(),
        );
        background.spawn(hub.clone().run(stop.clone()));

        let (ready, is_ready) = signal::channel(false);
        let (reporter, health) = tonic_health::server::health_reporter();
        health::register(&reporter).await;
        let follow = health::run(self.store.clone(), reporter, ready, draining.clone());
        background.spawn(follow);
        let admin = Admin::new(self.store.clone(), hub.clone(), is_ready)?;
        background.spawn(run_admin(admin, self.admin, stop.clone()));

        let service = Service::new(
            self.store.clone(),
            hub.clone(),
            self.functions.clone(),
            service_config(&self.config),
            draining.clone(),
        );
        let limits = self.config.limits;
        let routes = grpc::routes(service, health, &limits, self.config.reflection)?;
        let transport = self.config.transport.clone();
        let mut grpc = tokio::spawn(grpc::serve(
            self.grpc,
            routes,
            transport,
            limits,
            stop.clone(),
            CLOSE_TIME,
        ));
        let worker = Worker::new(
            self.store,
            self.upstream,
            self.functions,
            worker_config(&self.config),
        )
        .priced(self.config.prices.clone(), self.config.cost_label.clone());
        let work = tokio::spawn(worker.run(draining.clone()));

        tokio::select! {
            () = self.failed.cancelled() => return Err(Error::StoreFailed),
            // It was not told to.
            ended = &mut grpc => return Ok(ended?),
            () = drained(work, &draining, self.config.shutdown_grace, &hub) => {}
        }
        stop.cancel();
        background.close();
        // Whoever does not end in time ends with the process; the connections are closed in time by themselves.
        let (_, ended) = tokio::join!(tokio::time::timeout(CLOSE_TIME, background.wait()), grpc);
        Ok(ended?)
    }
}

/// Waits for the workers to end and for the watches to leave, after `draining` for no longer than the grace: a store
/// that is away or a function that blocks must not hold the exit up. Leases bring back what was not committed.
async fn drained(work: JoinHandle<()>, draining: &CancellationToken, grace: Duration, hub: &Hub) {
    let deadline = async {
        draining.cancelled().await;
        tokio::time::sleep(grace + RELEASE_TIME).await;
    };
    let worked = async {
        tokio::select! {
            ended = work => {
                if let Err(error) = ended {
                    tracing::error!(%error, "the workers ended badly");
                }
            }
            () = deadline => tracing::warn!("the grace is over and tasks are still held; leaving them to their leases"),
        }
        draining.cancel();
    };
    let left = async {
        draining.cancelled().await;
        hub.left().await;
    };
    tokio::join!(worked, left);
}

/// Within the grace, because the connections are closed after it.
fn watch_config(config: &Config) -> watch::Config {
    watch::Config {
        age: config.watch_age,
        drain: LONGEST_LEAVE.min(config.shutdown_grace / 4),
    }
}

/// Over the endpoints, or over the one server where there are none.
fn router(config: &Config) -> Result<upstream::Router, upstream::Error> {
    if config.endpoints.is_empty() {
        return upstream::Client::new(config.upstream.clone()).map(upstream::Router::from);
    }
    upstream::Router::new(&config.endpoints)
}

fn service_config(config: &Config) -> service::Config {
    service::Config {
        limits: config.limits,
        capacity: config.capacity,
        model: config.model.clone(),
        prices: config.prices.clone(),
        status_retention: config.status_retention,
        result_retention: config.result_retention,
    }
}

fn worker_config(config: &Config) -> worker::Config {
    worker::Config {
        concurrency: config.concurrency,
        lease: config.lease,
        grace: config.shutdown_grace,
        cache_ttl: config.cache_ttl,
    }
}

async fn listen(
    address: SocketAddr,
    flag: &'static str,
) -> Result<(TcpListener, SocketAddr), Error> {
    let fail = |source| Error::Listen {
        address,
        flag,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    Ok((listener, bound))
}

async fn open(
    config: &StoreConfig,
    capacity: Capacity,
) -> Result<(Arc<dyn Store>, CancellationToken), Error> {
    Ok(match config {
        StoreConfig::Embedded {
            path,
            accept_data_loss,
        } => {
            let config = EmbeddedConfig {
                path: path.clone(),
                accept_data_loss: *accept_data_loss,
                capacity,
            };
            let store = EmbeddedStore::open(config, Arc::new(SystemClock))?;
            let failed = store.failed();
            (Arc::new(store), failed)
        }
        StoreConfig::Redis(config) => {
            let config = RedisConfig {
                capacity,
                ..config.clone()
            };
            let store = RedisStore::connect(config).await?;
            // Whatever happens to a Redis, it may come back.
            (Arc::new(store), CancellationToken::new())
        }
    })
}

async fn run_admin(admin: Admin, listener: TcpListener, stop: CancellationToken) {
    if let Err(error) = admin.run(listener, stop).await {
        tracing::error!(%error, "admin HTTP ended");
    }
}
