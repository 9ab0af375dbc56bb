//! Keeps leases: renews them every third of their length, passes progress on, and tells a runner when its lease is
//! lost. Listens for cancellations as well, so that an upstream call is dropped at once instead of at the next renewal;
//! where hints were missed, the next renewal comes at once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::{
    sync::{Notify, broadcast::error::RecvError},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::held::Held;
use crate::{
    model::Status,
    store::{Change, Renewal, Store},
};

/// Bounds one renewal's size.
const MAX_BATCH: usize = 500;
/// Progress is passed on at most this often.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// Renewals for hints that were missed are so far apart: where hints are lost there is much to do already.
const MISSED_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps leases until `stop`.
pub(super) async fn run(
    store: Arc<dyn Store>,
    held: Arc<Held>,
    lease: Duration,
    stop: CancellationToken,
) {
    // Renewing before listening: a flood of changes must not use up the turns in which leases are renewed.
    let missed = Notify::new();
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = renew(store.as_ref(), &held, lease, &missed) => {}
        () = hear(store.as_ref(), &held, &missed) => {}
    }
}

async fn renew(store: &dyn Store, held: &Held, lease: Duration, missed: &Notify) {
    let mut last = Instant::now();
    let mut quiet_until = last;
    loop {
        let hints_missed = async {
            sleep_until(quiet_until).await;
            missed.notified().await;
        };
        tokio::select! {
            biased;
            () = sleep_until(last + lease / 3) => {}
            () = held.progressed() => sleep_until(last + PROGRESS_INTERVAL.min(lease / 3)).await,
            // A renewal tells as well which tasks have been cancelled.
            () = hints_missed => quiet_until = Instant::now() + MISSED_INTERVAL,
        }
        last = Instant::now();
        // Each part of the store by itself: one that is away must not cost the others their leases.
        let mut parts: BTreeMap<u16, Vec<Renewal>> = BTreeMap::new();
        for renewal in held.renewals() {
            let part = parts.entry(renewal.id.partition()).or_default();
            part.push(renewal);
        }
        let parts = parts.values().flat_map(|part| part.chunks(MAX_BATCH));
        join_all(parts.map(|part| renew_part(store, held, lease, part))).await;
    }
}

async fn renew_part(store: &dyn Store, held: &Held, lease: Duration, renewals: &[Renewal]) {
    match store.renew(renewals, lease).await {
        Ok(kept) => {
            for (renewal, _) in renewals.iter().zip(kept).filter(|(_, kept)| !kept) {
                held.lose(renewal.id, Some(renewal.fence));
            }
        }
        // Running on is right: the lease may outlive the trouble, and the fence decides at the commit.
        Err(error) => tracing::warn!(%error, "leases could not be renewed"),
    }
}

async fn hear(store: &dyn Store, held: &Held, missed: &Notify) {
    let mut changes = store.changes();
    loop {
        match changes.recv().await {
            Ok(Change::Moved(moved)) => {
                for moved in moved.iter().filter(|m| m.status == Status::Cancelled) {
                    held.lose(moved.task, None);
                }
            }
            Ok(Change::Gap) | Err(RecvError::Lagged(_)) => missed.notify_one(),
            Ok(Change::Noted(_) | Change::Amended(_)) => {}
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}
