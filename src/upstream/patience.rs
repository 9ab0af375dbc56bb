//! What one call may wait for on its way over the routes, and what held it back.

use std::{pin::Pin, time::Duration};

use super::client::{LEAST_WAIT, PATIENCE, throttled, wait};
use crate::{chance, model::Failed};

/// Breakers hold a call back for this long at most; then its worker takes up another task.
const REST: Duration = Duration::from_secs(2);
/// The longest extra wait after a 429.
const MOST_EXTRA: Duration = Duration::from_secs(2);

/// What a call may spend on waiting.
pub(super) struct Patience {
    /// For rate limits.
    pub(super) limit: Duration,
    /// For servers that keep failing.
    pub(super) rest: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            limit: PATIENCE,
            rest: REST,
        }
    }
}

/// The rate limits that a call met.
#[derive(Default)]
pub(super) struct Throttles {
    count: usize,
    last: Option<Failed>,
}

impl Throttles {
    /// The call met one.
    pub(super) fn add(&mut self, failed: Failed) {
        self.count += 1;
        self.last = Some(failed);
    }

    /// Waits a little when every route has said no: one that names waits too short to help must not be asked again and
    /// again. False when there is no patience left for that.
    pub(super) async fn pause(&self, routes: usize, patience: &mut Duration) -> bool {
        let Some(extra) = self.count.checked_sub(routes) else {
            return true;
        };
        let least = LEAST_WAIT.saturating_mul(1 << extra.min(7)).min(MOST_EXTRA);
        if least > *patience {
            return false;
        }
        wait(least.mul_f64(0.5 + 0.5 * chance::unit()), patience).await;
        true
    }

    /// What to tell of a call that is held back: what it was told itself, if anything, and when to come again.
    pub(super) fn tell(&mut self, held: Failed) -> Failed {
        match self.last.take() {
            Some(last) if throttled(&held).is_some() => Failed {
                recourse: held.recourse,
                ..last
            },
            _ => held,
        }
    }
}

/// A future that is awaited once, however many tries there are.
pub(super) struct Once<F>(Option<Pin<Box<F>>>);

impl<F: Future<Output = ()> + Send> Once<F> {
    /// Not awaited yet.
    pub(super) fn new(future: F) -> Self {
        Once(Some(Box::pin(future)))
    }

    /// Awaits it, unless that was done before.
    pub(super) async fn run(&mut self) {
        if let Some(future) = &mut self.0 {
            future.await;
            self.0 = None;
        }
    }
}
