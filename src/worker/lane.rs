//! One queue and one loop for each partition of the store: while one part of it is away, the others go on.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::{model::TaskId, store::Store};

/// Lanes at most; beyond it partitions share them.
const MAX_LANES: usize = 256;

/// The ends of all lanes that things are put into. Clones share them; the loops end when all are gone.
#[derive(Debug)]
pub(super) struct Lanes<T>(Arc<[mpsc::UnboundedSender<T>]>);

impl<T> Clone for Lanes<T> {
    fn clone(&self) -> Self {
        Lanes(self.0.clone())
    }
}

impl<T: Send + 'static> Lanes<T> {
    /// Lanes for the partitions of `store`, each run by what `run` makes of its other end.
    pub(super) fn start<F>(
        store: &dyn Store,
        loops: &TaskTracker,
        mut run: impl FnMut(mpsc::UnboundedReceiver<T>) -> F,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let count = usize::from(store.info().partitions).clamp(1, MAX_LANES);
        let lanes = (0..count).map(|_| {
            let (end, other) = mpsc::unbounded_channel();
            loops.spawn(run(other));
            end
        });
        Lanes(lanes.collect())
    }

    /// Puts something that is about a task into the lane of its partition. False when nobody takes it any more.
    pub(super) fn send(&self, id: TaskId, thing: T) -> bool {
        let lane = &self.0[usize::from(id.partition()) % self.0.len()];
        lane.send(thing).is_ok()
    }
}
