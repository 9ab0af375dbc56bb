//! Health that follows the store: gRPC health and readiness say what a client would find.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::store::Store;

/// The services health answers for; "" is the server as a whole.
const SERVICES: [&str; 2] = ["", "tidings.v1.TaskService"];
/// A store's loss and return are to be seen within two seconds.
const PERIOD: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_secs(1);

/// Makes every service known, as one that does not serve yet.
pub(super) async fn register(reporter: &HealthReporter) {
    for service in SERVICES {
        let status = ServingStatus::NotServing;
        reporter.set_service_status(service, status).await;
    }
}

/// Reports until `draining`, and NOT_SERVING from then on.
pub(super) async fn run(
    store: Arc<dyn Store>,
    reporter: HealthReporter,
    ready: watch::Sender<bool>,
    draining: CancellationToken,
) {
    let mut told = false;
    loop {
        // Nothing is asked on the way out: the watches wait for this before they leave.
        let serving = !draining.is_cancelled()
            && matches!(
                tokio::time::timeout(TIMEOUT, store.stats()).await,
                Ok(Ok(_))
            )
            && !draining.is_cancelled();
        if serving != told {
            told = serving;
            tell(&reporter, &ready, serving).await;
        }
        if draining.is_cancelled() {
            return;
        }
        tokio::select! {
            () = draining.cancelled() => {}
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

async fn tell(reporter: &HealthReporter, ready: &watch::Sender<bool>, serving: bool) {
    tracing::info!(serving, "health changed");
    let status = if serving {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
    // The admin server may already have gone.
    let _ = ready.send(serving);
}
