//! Reads tasks and batches for watchers: whoever asks while a read is under way shares the next one, so that thousands
//! of watchers woken together cost the store a few round trips.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::join_all;
use tokio::sync::{mpsc, oneshot};

use crate::{
    model::{BatchId, TaskId, WaitReason},
    store::{Error, Lookup, Store},
};

/// Bounds one read's size.
const MAX_BATCH: usize = 500;

type Reply<T> = oneshot::Sender<Result<T, String>>;
type Asks<K, T> = mpsc::UnboundedSender<(K, Reply<T>)>;
type Asked<K, T> = mpsc::UnboundedReceiver<(K, Reply<T>)>;

/// Reads in shared round trips. Each watcher has at most one read under way, which bounds the queues.
pub(super) struct Reader {
    tasks: Asks<TaskId, Lookup>,
    held: Asks<BatchId, Option<WaitReason>>,
}

impl Reader {
    /// A reader that ends when it is dropped.
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let (tasks, asked) = mpsc::unbounded_channel();
        tokio::spawn(serve(store.clone(), asked));
        let (held, asked) = mpsc::unbounded_channel();
        tokio::spawn(serve_held(store, asked));
        Reader { tasks, held }
    }

    /// Reads one task.
    pub(super) async fn read(&self, id: TaskId) -> Result<Lookup, Error> {
        ask(&self.tasks, id).await
    }

    /// Why a batch is held back, if it is; no longer when it is gone.
    pub(super) async fn held_back(&self, id: BatchId) -> Result<Option<WaitReason>, Error> {
        ask(&self.held, id).await
    }
}

async fn ask<K, T>(asks: &Asks<K, T>, key: K) -> Result<T, Error> {
    let stopped = || Error::Unavailable("the reader has stopped".into());
    let (reply, answer) = oneshot::channel();
    asks.send((key, reply)).map_err(|_| stopped())?;
    let answer = answer.await.map_err(|_| stopped())?;
    answer.map_err(Error::Unavailable)
}

async fn serve_held(store: Arc<dyn Store>, mut asked: Asked<BatchId, Option<WaitReason>>) {
    let mut asks = Vec::with_capacity(MAX_BATCH);
    while asked.recv_many(&mut asks, MAX_BATCH).await > 0 {
        let mut batches: BTreeMap<BatchId, Vec<Reply<Option<WaitReason>>>> = BTreeMap::new();
        for (id, reply) in asks.drain(..) {
            batches.entry(id).or_default().push(reply);
        }
        let reads = batches.into_iter().map(async |(id, replies)| {
            let held = match store.batch(id).await {
                Ok(batch) => Ok(batch.and_then(|batch| batch.held_back())),
                Err(error) => Err(cause(error)),
            };
            for reply in replies {
                let _ = reply.send(held.clone());
            }
        });
        join_all(reads).await;
    }
}

async fn serve(store: Arc<dyn Store>, mut asked: Asked<TaskId, Lookup>) {
    let mut asks = Vec::with_capacity(MAX_BATCH);
    while asked.recv_many(&mut asks, MAX_BATCH).await > 0 {
        // Each part of the store by itself: one that is away must not blind the watchers of the others.
        let mut parts: BTreeMap<u16, Vec<(TaskId, Reply<Lookup>)>> = BTreeMap::new();
        for (id, reply) in asks.drain(..) {
            let part = parts.entry(id.partition()).or_default();
            part.push((id, reply));
        }
        join_all(parts.into_values().map(|part| answer(store.as_ref(), part))).await;
    }
}

async fn answer(store: &dyn Store, asks: Vec<(TaskId, Reply<Lookup>)>) {
    let ids: Vec<TaskId> = asks.iter().map(|(id, _)| *id).collect();
    match store.tasks(&ids).await {
        Ok(lookups) => {
            for ((_, reply), lookup) in asks.into_iter().zip(lookups) {
                // A watcher that has gone does not listen.
                let _ = reply.send(Ok(lookup));
            }
        }
        Err(error) => {
            let cause = cause(error);
            for (_, reply) in asks {
                let _ = reply.send(Err(cause.clone()));
            }
        }
    }
}

/// One error for all who asked.
fn cause(error: Error) -> String {
    match error {
        Error::Unavailable(cause) => cause,
        other => other.to_string(),
    }
}
