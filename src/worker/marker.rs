//! Marks tasks as sent before their calls go out, many at a time: a worker that is lost before its mark has spent
//! nothing, one that is lost after it may have. A lease that was lost unnoticed shows here, before it costs money. Tasks
//! that wait aside are told of here as well: their calls need no money until they are marked.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::yield_now,
};

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

/// A task to mark.
#[derive(Debug)]
pub(super) struct Ask {
    id: TaskId,
    fence: Fence,
    what: What,
}

/// What is to be known of its call.
#[derive(Debug)]
enum What {
    /// It is about to be sent, and somebody waits to be told whether it may be.
    Sent {
        done: oneshot::Sender<bool>,
        /// What it may cost was given back meanwhile, and may be gone.
        was_aside: bool,
    },
    /// It is not made for now.
    Aside,
}

impl Ask {
    /// What to tell the store; none when nobody wants it any more.
    fn renewal(&self, held: &Held) -> Option<Renewal> {
        match &self.what {
            What::Sent { done, .. } if done.is_closed() => None,
            What::Sent { .. } => held.mark(self.id, self.fence),
            What::Aside => held.aside(self.id, self.fence),
        }
    }

    /// The store has answered.
    fn answered(self, kept: bool, held: &Held) {
        match self.what {
            What::Sent { done, was_aside } if kept || was_aside => {
                // Whoever was stopped meanwhile does not listen.
                let _ = done.send(kept);
            }
            _ if kept => {}
            _ => held.lose(self.id, Some(self.fence)),
        }
    }
}

impl Marker {
    /// A marker whose lanes lead to [`run`].
    pub(super) fn new(asks: Lanes<Ask>) -> Self {
        Marker(asks)
    }

    /// Returns once the mark is stored. Never returns when the lease is lost: whoever waits is stopped then. False when
    /// the task had waited aside, and cannot be sent now: its lease is lost, or what it may cost has been given to others.
    pub(super) async fn mark(&self, task: &Task, was_aside: bool) -> bool {
        let (done, marked) = oneshot::channel();
        if !self.ask(task, What::Sent { done, was_aside }) {
            return std::future::pending().await;
        }
        match marked.await {
            Ok(kept) => kept,
            Err(_) => std::future::pending().await,
        }
    }

    /// The task waits for another one's call: others may have what its own would cost.
    pub(super) fn step_aside(&self, task: &Task) {
        if task.spec.max_cost() > 0 {
            self.ask(task, What::Aside);
        }
    }

    fn ask(&self, task: &Task, what: What) -> bool {
        let (id, fence) = (task.id, task.fence());
        self.0.send(id, Ask { id, fence, what })
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
        // The first of those that were acquired together is heard before the others have asked.
        yield_now().await;
        while asks.len() < MAX_BATCH
            && let Ok(ask) = asked.try_recv()
        {
            asks.push(ask);
        }
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
        let renewal = ask.renewal(held);
        renewals.extend(renewal);
        renewal.is_some()
    });
    if renewals.is_empty() {
        return Ok(());
    }
    let kept = store.renew(&renewals, lease).await?;
    for (ask, kept) in asks.drain(..).zip(kept) {
        ask.answered(kept, held);
    }
    Ok(())
}
