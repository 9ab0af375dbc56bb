//! Marks tasks as sent before their calls go out, many at a time: a worker that is lost before its mark has spent
//! nothing, one that is lost after it may have. A lease that was lost unnoticed shows here, before it costs money.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use super::{backoff::Backoff, held::Held, lane::Lanes};
use crate::{
    model::{Fence, Task, TaskId},
    store::{Error, Renewal, Store},
};

/// Bounds one call's size.
const MAX_BATCH: usize = 256;

/// Marks tasks; clones share the loops.
#[derive(Clone, Debug)]
pub(super) struct Marker(Lanes<Ask>);

/// A task to mark, and who waits for it.
#[derive(Debug)]
pub(super) struct Ask {
    id: TaskId,
    fence: Fence,
    done: oneshot::Sender<()>,
}

impl Marker {
    /// A marker whose lanes lead to [`run`].
    pub(super) fn new(asks: Lanes<Ask>) -> Self {
        Marker(asks)
    }

    /// Returns once the mark is stored. Never returns when the lease is lost: whoever waits is stopped then.
    pub(super) async fn mark(&self, task: &Task) {
        let (done, marked) = oneshot::channel();
        let (id, fence) = (task.id, task.fence());
        if !self.0.send(id, Ask { id, fence, done }) || marked.await.is_err() {
            std::future::pending().await
        }
    }
}

/// Marks until every marker is gone.
pub(super) async fn run(
    store: Arc<dyn Store>,
    held: Arc<Held>,
    lease: Duration,
    mut asked: mpsc::UnboundedReceiver<Ask>,
) {
    let mut asks = Vec::with_capacity(MAX_BATCH);
    while asked.recv_many(&mut asks, MAX_BATCH).await > 0 {
        let mut backoff = Backoff::default();
        while !asks.is_empty() {
            match mark_all(store.as_ref(), &held, lease, &mut asks).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(%error, calls = asks.len(), "calls wait to be marked as sent");
                    backoff.pause().await;
                }
            }
        }
    }
}

/// Marks those that are still held and waited for; the others are let go of.
async fn mark_all(
    store: &dyn Store,
    held: &Held,
    lease: Duration,
    asks: &mut Vec<Ask>,
) -> Result<(), Error> {
    let mut renewals: Vec<Renewal> = Vec::with_capacity(asks.len());
    asks.retain(|ask| {
        let wanted = !ask.done.is_closed();
        let renewal = held.mark(ask.id, ask.fence).filter(|_| wanted);
        renewals.extend(renewal);
        renewal.is_some()
    });
    if renewals.is_empty() {
        return Ok(());
    }
    let kept = store.renew(&renewals, lease).await?;
    for (ask, kept) in asks.drain(..).zip(kept) {
        if kept {
            // Whoever was stopped meanwhile does not listen.
            let _ = ask.done.send(());
        } else {
            held.lose(ask.id, Some(ask.fence));
        }
    }
    Ok(())
}
