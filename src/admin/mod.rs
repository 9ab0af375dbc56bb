//! HTTP for operators: `/metrics` in Prometheus text, `/livez`, `/readyz`.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use metrics::{describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{store::Store, watch::Hub};

/// Seconds; from a cached answer to the longest call.
const BUCKETS: [f64; 14] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 600.0,
];
/// A scrape does not wait longer for a store that is away.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// The admin server.
#[derive(Clone)]
pub struct Admin {
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    ready: watch::Receiver<bool>,
    metrics: PrometheusHandle,
}

impl Admin {
    /// An admin server; `ready` says whether the process can take work.
    ///
    /// # Errors
    /// Metrics cannot be recorded.
    pub fn new(
        store: Arc<dyn Store>,
        hub: Arc<Hub>,
        ready: watch::Receiver<bool>,
    ) -> Result<Self, BuildError> {
        Ok(Admin {
            store,
            hub,
            ready,
            metrics: recorder()?,
        })
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
        let routes = Router::new()
            .route("/metrics", get(metrics_text))
            .route("/livez", get(async || "alive\n"))
            .route("/readyz", get(readiness))
            .with_state(self);
        axum::serve(listener, routes)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
    }
}

async fn readiness(State(admin): State<Admin>) -> impl IntoResponse {
    if *admin.ready.borrow() {
        (StatusCode::OK, "ready\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: the store is away or the server is shutting down\n",
        )
    }
}

async fn metrics_text(State(admin): State<Admin>) -> impl IntoResponse {
    gauge!("tidings_watchers").set(admin.hub.watchers() as f64);
    gauge!("tidings_store_epoch").set(f64::from(admin.store.info().epoch));
    let stats = tokio::time::timeout(STORE_TIMEOUT, admin.store.stats()).await;
    gauge!("tidings_store_up").set(if matches!(stats, Ok(Ok(_))) { 1.0 } else { 0.0 });
    if let Ok(Ok(stats)) = stats {
        for (state, count) in [
            ("ready", stats.ready),
            ("delayed", stats.delayed),
            ("parked", stats.parked),
            ("processing", stats.processing),
        ] {
            gauge!("tidings_tasks", "state" => state).set(count as f64);
        }
        gauge!("tidings_input_bytes").set(stats.bytes as f64);
    }
    admin.metrics.run_upkeep();
    (
        [("content-type", "text/plain; version=0.0.4")],
        admin.metrics.render(),
    )
}

/// The process's one recorder.
fn recorder() -> Result<PrometheusHandle, BuildError> {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = RECORDER.get() {
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS)?
        .build_recorder();
    let handle = RECORDER.get_or_init(|| recorder.handle()).clone();
    // Fails only when another server of this process was quicker; its recorder then serves both.
    if metrics::set_global_recorder(recorder).is_ok() {
        describe();
    }
    Ok(handle)
}

fn describe() {
    describe_counter!(
        "tidings_transitions_total",
        "Transitions committed by this process, by the status they led to"
    );
    describe_counter!(
        "tidings_leases_expired_total",
        "Attempts whose worker was lost, found by this process"
    );
    describe_counter!(
        "tidings_fence_rejected_total",
        "Late outcomes dropped because the task had moved on"
    );
    describe_counter!(
        "tidings_cache_total",
        "Tasks that asked the cache and were answered, by what it did: hit, coalesced (waited for an equal task's call) \
         or miss (the upstream was called)"
    );
    describe_counter!(
        "tidings_cost_nanos_total",
        "What the answers that this process received have cost, in billionths of the currency, by the model as the prices name it"
    );
    describe_counter!(
        "tidings_label_cost_nanos_total",
        "The same, by the value of the label that cost_label names; empty for tasks without it"
    );
    describe_histogram!(
        "tidings_queue_seconds",
        "Time a task waited before an attempt"
    );
    describe_histogram!(
        "tidings_run_seconds",
        "Time a finished task was processed, over all its attempts"
    );
    describe_gauge!("tidings_watchers", "Watch streams open on this process");
    describe_gauge!("tidings_store_up", "Whether the store answers");
    describe_gauge!(
        "tidings_store_epoch",
        "Grows when the store came back with less than it had acknowledged"
    );
    describe_counter!(
        "tidings_store_losses_total",
        "Partitions that this process found to have lost acknowledged writes"
    );
    describe_counter!(
        "tidings_store_full_total",
        "Calls that this process refused because the store was full"
    );
    describe_gauge!(
        "tidings_input_bytes",
        "Bytes of input of the tasks that are not terminal"
    );
    describe_counter!(
        "tidings_upstream_set_aside_total",
        "Times that this process left an endpoint out for a model, by endpoint and reason"
    );
    describe_gauge!(
        "tidings_upstream_breakers_open",
        "Models whose calls to an endpoint this process holds back because it keeps failing, by endpoint"
    );
    describe_gauge!("tidings_tasks", "Tasks in the store that are not terminal");
}
