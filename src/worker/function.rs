//! Functions that run in the worker's process, by name.

mod debug;

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;

use super::held::Progress;
use crate::model::{Task, WorkerId};

/// Something a task can call by name.
///
/// It may run more than once for one task (after a crash or a retry), on any worker process.
#[async_trait]
pub trait Function: Send + Sync {
    /// The name tasks call it by.
    fn name(&self) -> &str;

    /// Whether it always answers at once, neither waiting nor computing for long. Such functions share a task of the
    /// runtime, at less cost; one that is not as brief as it says holds up others.
    fn is_brief(&self) -> bool {
        false
    }

    /// Runs it. `arguments` is JSON; so must the answer be.
    ///
    /// The future is dropped when the task is cancelled, times out, or its lease is lost.
    async fn call(&self, context: Context, arguments: &str) -> Result<String, Error>;
}

/// What a function may know of its own task.
#[derive(Clone, Debug)]
pub struct Context {
    /// The task, as it was acquired.
    pub task: Arc<Task>,
    /// The worker process that runs it.
    pub worker: WorkerId,
    /// How to report progress.
    pub progress: Progress,
}

/// Why a function did not answer. The message is shown to clients.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Running it again with the same arguments would fail again.
    #[error("{0}")]
    Permanent(String),
    /// It may work another time; charged to the task's `max_attempts`.
    #[error("{0}")]
    Transient(String),
}

/// The functions of a worker process.
#[derive(Clone)]
pub struct Registry(BTreeMap<String, Arc<dyn Function>>);

impl Default for Registry {
    /// The built-in functions alone: `debug.echo` and `debug.sleep`.
    fn default() -> Self {
        Registry(BTreeMap::new())
            .with(debug::Echo)
            .with(debug::Sleep)
    }
}

impl Registry {
    /// Adds a function, in place of an earlier one of the same name.
    #[must_use]
    pub fn with(mut self, function: impl Function + 'static) -> Self {
        self.0
            .insert(function.name().to_owned(), Arc::new(function));
        self
    }

    /// The function of this name.
    pub fn find(&self, name: &str) -> Option<Arc<dyn Function>> {
        self.0.get(name).cloned()
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
