//! Maps by ids.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use foldhash::fast::RandomState;
use parking_lot::RwLock;

use crate::model::TaskId;

/// By ids, which this program draws itself: they need no hash that withstands guessing.
pub(super) type Map<K, V> = HashMap<K, V, RandomState>;
/// As [`Map`].
pub(super) type Set<K> = HashSet<K, RandomState>;

/// Progress of processing tasks: the revision it belongs to, and the percentage.
pub(super) type Progress = Arc<RwLock<HashMap<TaskId, (u64, u8)>>>;
