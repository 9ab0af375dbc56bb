//! What one call may hold, and what may be unfinished.

use super::{StoreConfig, fault::Faults, key, layers::Layers, value};
use crate::{service::Limits, store::Capacity};

/// The most tasks a call: one call is one step of the store, which must stay short.
const MAX_TASKS: u64 = 10_000;
/// The most bytes a call: what is decoded is held in memory whole.
const MAX_BYTES: u64 = 64 << 20;
/// The most tasks that may be unfinished; more is a slip of the keyboard.
const MAX_QUEUE_TASKS: u64 = 1 << 32;
/// The most bytes of their inputs.
const MAX_QUEUE_BYTES: u64 = 1 << 50;
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

/// What may be unfinished. The largest call has room in every partition's share; otherwise an idle server would refuse it.
pub(super) fn capacity(
    layers: &Layers,
    faults: &mut Faults,
    store: Option<&StoreConfig>,
    limits: Option<&Limits>,
) -> Option<Capacity> {
    let mut read = |key, most| layers.read(key, faults, |text| value::number(text, 1, most));
    let tasks = read(&key::LIMITS_QUEUE_TASKS, MAX_QUEUE_TASKS);
    let bytes = read(&key::LIMITS_QUEUE_BYTES, MAX_QUEUE_BYTES);
    let (tasks, bytes) = (tasks?, bytes?);
    let capacity = Capacity { tasks, bytes };
    let (partitions, limits) = (store?.partitions(), limits?);
    let share = capacity.share(partitions);
    let mut is_sound = true;
    for (key, whole, share, call, of_call) in [
        (
            &key::LIMITS_QUEUE_TASKS,
            tasks,
            share.tasks,
            limits.tasks_per_batch,
            &key::LIMITS_TASKS_PER_BATCH,
        ),
        (
            &key::LIMITS_QUEUE_BYTES,
            bytes,
            share.bytes,
            limits.batch_bytes,
            &key::LIMITS_BATCH_BYTES,
        ),
    ] {
        if share < call as u64 {
            is_sound = false;
            let each = match partitions {
                1 => whole.to_string(),
                _ => format!("{whole}, {share} in each of {partitions} partitions,"),
            };
            faults.add(
                layers.origin(key),
                format!(
                    "{each} is less than the {call} a call may hold ({})",
                    layers.origin(of_call),
                ),
            );
        }
    }
    is_sound.then_some(capacity)
}
