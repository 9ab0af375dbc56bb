//! A function that holds its tasks until the test lets them go, and counts them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use tidings::worker::{
    Function, Registry,
    function::{Context, Error},
};
use tokio::sync::watch;

use super::server::function;

/// Holds every task that calls `test.gate` until it is opened.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    open: watch::Sender<bool>,
    inside: AtomicUsize,
    most: AtomicUsize,
}

impl Gate {
    /// A closed gate.
    pub(crate) fn new() -> Self {
        Gate(Arc::new(Inner {
            open: watch::channel(false).0,
            inside: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        }))
    }

    /// The built-in functions and this one.
    pub(crate) fn functions(&self) -> Registry {
        Registry::default().with(self.clone())
    }

    /// A task that goes through the gate.
    pub(crate) fn task() -> tidings::proto::v1::TaskSpec {
        function("test.gate", "null")
    }

    /// Lets everybody through, now and later.
    pub(crate) fn open(&self) {
        self.0.open.send_replace(true);
    }

    /// Tasks running now.
    pub(crate) fn inside(&self) -> usize {
        self.0.inside.load(Ordering::SeqCst)
    }

    /// The most tasks that ever ran at once.
    pub(crate) fn most(&self) -> usize {
        self.0.most.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Function for Gate {
    fn name(&self) -> &str {
        "test.gate"
    }

    async fn call(&self, _: Context, _: &str) -> Result<String, Error> {
        let _inside = Inside::enter(&self.0);
        let mut open = self.0.open.subscribe();
        // The gate outlives its tasks.
        let _ = open.wait_for(|open| *open).await;
        Ok("null".into())
    }
}

/// Counts itself out however its task ends.
struct Inside(Arc<Inner>);

impl Inside {
    fn enter(gate: &Arc<Inner>) -> Self {
        let inside = gate.inside.fetch_add(1, Ordering::SeqCst) + 1;
        gate.most.fetch_max(inside, Ordering::SeqCst);
        Inside(gate.clone())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}
