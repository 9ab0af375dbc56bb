//! Reads the output of running tasks for watchers: however many follow one task, its text is read once at a time.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::join_all;
use tokio::sync::{mpsc, oneshot};

use crate::{
    model::TaskId,
    store::{Error, Output, Store},
};

/// Bounds one read's size.
const MAX_BATCH: usize = 500;

/// Who wants the text after which byte.
type Ask = (TaskId, u64, Reply);
type Reply = oneshot::Sender<Result<Option<Arc<Output>>, String>>;

/// Reads output in shared round trips.
pub(super) struct Outputs(mpsc::UnboundedSender<Ask>);

impl Outputs {
    /// A reader that ends when it is dropped.
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let (asks, asked) = mpsc::unbounded_channel();
        tokio::spawn(serve(store, asked));
        Outputs(asks)
    }

    /// What the running attempt of a task has put out after byte `from`. Each watcher has at most one read under way,
    /// which bounds the queue, and those that have come equally far share one.
    pub(super) async fn read(&self, id: TaskId, from: u64) -> Result<Option<Arc<Output>>, Error> {
        let (reply, answer) = oneshot::channel();
        let gone = || Error::Unavailable("the reader has stopped".into());
        self.0.send((id, from, reply)).map_err(|_| gone())?;
        answer
            .await
            .map_err(|_| gone())?
            .map_err(Error::Unavailable)
    }
}

async fn serve(store: Arc<dyn Store>, mut asked: mpsc::UnboundedReceiver<Ask>) {
    let mut asks = Vec::with_capacity(MAX_BATCH);
    while asked.recv_many(&mut asks, MAX_BATCH).await > 0 {
        let mut tasks: BTreeMap<(TaskId, u64), Vec<Reply>> = BTreeMap::new();
        for (id, from, reply) in asks.drain(..) {
            tasks.entry((id, from)).or_default().push(reply);
        }
        let answers = tasks
            .into_iter()
            .map(|((id, from), replies)| answer(store.as_ref(), id, from, replies));
        join_all(answers).await;
    }
}

async fn answer(store: &dyn Store, id: TaskId, from: u64, replies: Vec<Reply>) {
    let read = match store.output(id, from).await {
        Ok(output) => Ok(output.map(Arc::new)),
        Err(Error::Unavailable(cause)) => Err(cause),
        Err(other) => Err(other.to_string()),
    };
    for reply in replies {
        // A watcher that has gone does not listen.
        let _ = reply.send(read.clone());
    }
}
