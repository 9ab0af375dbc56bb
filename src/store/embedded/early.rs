//! Tasks that workers were given before that was on disk: whoever reads one of them waits until it is.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use foldhash::fast::RandomState;
use parking_lot::RwLock;

use crate::model::TaskId;

type Ids = HashSet<TaskId, RandomState>;

/// Those of the group that is written and of the one that fills.
#[derive(Debug, Default)]
pub(super) struct Early {
    ids: RwLock<(Ids, Ids)>,
    /// How many there are, so that nobody looks where there are none.
    count: AtomicUsize,
}

impl Early {
    /// Workers are being given these.
    pub(super) fn give(&self, ids: impl Iterator<Item = TaskId>) {
        let mut sets = self.ids.write();
        sets.1.extend(ids);
        self.counted(&sets);
    }

    /// Whether one of these is not on disk yet as a worker was given it.
    pub(super) fn has_any(&self, ids: &[TaskId]) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let (flying, filling) = &*self.ids.read();
        ids.iter()
            .any(|id| filling.contains(id) || flying.contains(id))
    }

    /// The group is about to be written.
    pub(super) fn take_off(&self) {
        let mut sets = self.ids.write();
        sets.0 = std::mem::take(&mut sets.1);
    }

    /// The group is on disk.
    pub(super) fn land(&self) {
        let mut sets = self.ids.write();
        sets.0.clear();
        self.counted(&sets);
    }

    fn counted(&self, sets: &(Ids, Ids)) {
        self.count
            .store(sets.0.len() + sets.1.len(), Ordering::Release);
    }
}
