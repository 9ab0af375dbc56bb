//! Reads tasks for watchers: whoever asks while a read is under way shares the next one, so that thousands of
//! watchers woken together cost the store a few round trips.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::join_all;
use tokio::sync::{mpsc, oneshot};

use crate::{
    model::TaskId,
    store::{Error, Lookup, Store},
};

/// Bounds one read's size.
const MAX_BATCH: usize = 500;

type Reply = oneshot::Sender<Result<Lookup, String>>;

/// Reads single tasks in shared round trips.
pub(super) struct Reader(mpsc::UnboundedSender<(TaskId, Reply)>);

impl Reader {
    /// A reader that ends when it is dropped.
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let (asks, asked) = mpsc::unbounded_channel();
        tokio::spawn(serve(store, asked));
        Reader(asks)
    }

    /// Reads one task. Each watcher has at most one read under way, which bounds the queue.
    pub(super) async fn read(&self, id: TaskId) -> Result<Lookup, Error> {
        let (reply, answer) = oneshot::channel();
        let gone = |_| Error::Unavailable("the reader has stopped".into());
        self.0
            .send((id, reply))
            .map_err(|_| Error::Unavailable("the reader has stopped".into()))?;
        answer.await.map_err(gone)?.map_err(Error::Unavailable)
    }
}

async fn serve(store: Arc<dyn Store>, mut asked: mpsc::UnboundedReceiver<(TaskId, Reply)>) {
    let mut asks = Vec::with_capacity(MAX_BATCH);
    while asked.recv_many(&mut asks, MAX_BATCH).await > 0 {
        // Each part of the store by itself: one that is away must not blind the watchers of the others.
        let mut parts: BTreeMap<u16, Vec<(TaskId, Reply)>> = BTreeMap::new();
        for (id, reply) in asks.drain(..) {
            let part = parts.entry(id.partition()).or_default();
            part.push((id, reply));
        }
        join_all(parts.into_values().map(|part| answer(store.as_ref(), part))).await;
    }
}

async fn answer(store: &dyn Store, asks: Vec<(TaskId, Reply)>) {
    let ids: Vec<TaskId> = asks.iter().map(|(id, _)| *id).collect();
    match store.tasks(&ids).await {
        Ok(lookups) => {
            for ((_, reply), lookup) in asks.into_iter().zip(lookups) {
                // A watcher that has gone does not listen.
                let _ = reply.send(Ok(lookup));
            }
        }
        Err(error) => {
            let cause = match error {
                Error::Unavailable(cause) => cause,
                other => other.to_string(),
            };
            for (_, reply) in asks {
                let _ = reply.send(Err(cause.clone()));
            }
        }
    }
}
