//! What one call may hold.

use super::{fault::Faults, key, layers::Layers, value};
use crate::service::Limits;

/// The most tasks a call: one call is one step of the store, which must stay short.
const MAX_TASKS: u64 = 10_000;
/// The most bytes a call: what is decoded is held in memory whole.
const MAX_BYTES: u64 = 64 << 20;
/// The most bytes a name.
const MAX_NAME: u64 = 4_096;

pub(super) fn read(layers: &Layers, faults: &mut Faults) -> Option<Limits> {
    let mut read = |key, most| layers.read(key, faults, |text| value::number(text, 1, most));
    let tasks_per_batch = read(&key::LIMITS_TASKS_PER_BATCH, MAX_TASKS);
    let batch_bytes: Option<usize> = read(&key::LIMITS_BATCH_BYTES, MAX_BYTES);
    let task_bytes = read(&key::LIMITS_TASK_BYTES, MAX_BYTES);
    let ids_per_call = read(&key::LIMITS_IDS_PER_CALL, MAX_TASKS);
    let name_bytes = read(&key::LIMITS_NAME_BYTES, MAX_NAME);
    let limits = Limits {
        tasks_per_batch: tasks_per_batch?,
        batch_bytes: batch_bytes?,
        task_bytes: task_bytes?,
        ids_per_call: ids_per_call?,
        name_bytes: name_bytes?,
    };
    if limits.task_bytes > limits.batch_bytes {
        faults.add(
            layers.origin(&key::LIMITS_TASK_BYTES),
            format!(
                "{} is more than the {} bytes a whole call may hold ({})",
                limits.task_bytes,
                limits.batch_bytes,
                layers.origin(&key::LIMITS_BATCH_BYTES),
            ),
        );
        return None;
    }
    Some(limits)
}
