//! Wakes whoever waits for a task to move, by the store's hints.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast::error::RecvError};

use crate::{
    model::TaskId,
    store::{Change, Store},
};

/// Who waits for which task.
#[derive(Debug, Default)]
pub(super) struct Ears(Mutex<HashMap<TaskId, Arc<Notify>>>);

/// Hears of one task for as long as it is held.
#[derive(Debug)]
pub(super) struct Ear<'a> {
    ears: &'a Ears,
    id: TaskId,
    pub(super) moved: Arc<Notify>,
}

impl Ears {
    /// Listens for a task from now on.
    pub(super) fn open(&self, id: TaskId) -> Ear<'_> {
        let moved = self.0.lock().entry(id).or_default().clone();
        Ear {
            ears: self,
            id,
            moved,
        }
    }

    /// Passes on what the store says, for ever.
    pub(super) async fn hear(&self, store: &dyn Store) {
        let mut changes = store.changes();
        loop {
            match changes.recv().await {
                Ok(Change::Moved(moved)) => {
                    let waiting = self.0.lock();
                    if waiting.is_empty() {
                        continue;
                    }
                    for ear in moved.iter().filter_map(|it| waiting.get(&it.task)) {
                        ear.notify_waiters();
                    }
                }
                Ok(Change::Gap) | Err(RecvError::Lagged(_)) => {
                    let waiting = self.0.lock();
                    waiting.values().for_each(|ear| ear.notify_waiters());
                }
                Ok(Change::Noted(_) | Change::Amended(_)) => {}
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    }
}

impl Drop for Ear<'_> {
    fn drop(&mut self) {
        let mut waiting = self.ears.0.lock();
        // This one and the map's.
        if Arc::strong_count(&self.moved) <= 2 {
            waiting.remove(&self.id);
        }
    }
}
