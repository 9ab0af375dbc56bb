//! Output of running attempts. It stays in memory: a restart begins every attempt anew.

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;

use super::machine::Machine;
use crate::{
    model::{Status, TaskId},
    store::{
        Note,
        output::{Extension, Output, fresh},
    },
};

/// By task: the revision with which its attempt began, and what that put out.
pub(super) type Outputs = Arc<RwLock<HashMap<TaskId, (u64, String)>>>;

impl Machine {
    /// Appends to the output of attempts that are held under their fences.
    pub(super) fn extend(&mut self, extensions: &[Extension]) -> Vec<bool> {
        let mut notes = Vec::new();
        let mut outputs = self.outputs.write();
        let taken = extensions.iter().map(|extension| {
            let (id, fence) = (extension.id, extension.fence);
            let live = self.index.get(id);
            let is_held = live
                .is_some_and(|live| fence.holds(live.fence) && live.status() == Status::Processing);
            let known = outputs.get(&id).map_or(0, |(_, text)| text.len());
            let Some(more) = fresh(extension, known).filter(|_| is_held) else {
                return false;
            };
            if !more.is_empty() {
                // Whatever an earlier attempt put out went when the task moved.
                let begun = (fence.revision, String::new());
                outputs.entry(id).or_insert(begun).1.push_str(more);
                notes.push(id);
            }
            true
        });
        let taken = taken.collect();
        drop(outputs);
        let progress = self.progress.read();
        self.overlay.notes.extend(notes.into_iter().map(|task| {
            let progress = progress.get(&task).map_or(0, |(_, progress)| *progress);
            Note { task, progress }
        }));
        drop(progress);
        taken
    }
}

/// What the running attempt of a task has put out after byte `from`.
pub(super) fn read(outputs: &Outputs, id: TaskId, from: u64) -> Option<Output> {
    let outputs = outputs.read();
    let (revision, text) = outputs.get(&id)?;
    Some(Output::page(*revision, text, from))
}
