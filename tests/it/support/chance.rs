//! Chance that can be repeated: one seed a test, told when the test fails.

use std::env;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::scale::soaking;

/// A test's seed. Dropped by a panic, it says how to repeat the test.
#[derive(Debug)]
pub(crate) struct Seed {
    value: u64,
    test: &'static str,
}

impl Seed {
    /// The seed that TIDINGS_SEED names, or one drawn anew.
    #[expect(
        clippy::disallowed_methods,
        reason = "what a test run is told is no configuration of the server"
    )]
    pub(crate) fn of(test: &'static str) -> Self {
        let named = env::var("TIDINGS_SEED").ok();
        let value = match named {
            Some(text) => text.parse().expect("TIDINGS_SEED is a number"),
            None => rand::rng().random_range(0..1_000_000),
        };
        Seed { value, test }
    }

    /// Chance of one kind; another `stream` is another chance.
    pub(crate) fn rng(&self, stream: u64) -> StdRng {
        StdRng::seed_from_u64(self.value ^ stream.rotate_left(40))
    }

    /// Makes the names of this run its own.
    pub(crate) fn value(&self) -> u64 {
        self.value
    }

    /// The command that draws the same again.
    pub(crate) fn repeat(&self) -> String {
        let long = if soaking() { "TIDINGS_SOAK=1 " } else { "" };
        let release = if cfg!(debug_assertions) {
            ""
        } else {
            "--release "
        };
        format!(
            "{long}TIDINGS_SEED={} cargo test {release}--test it {}",
            self.value, self.test
        )
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to draw the same again: {}", self.repeat());
        }
    }
}
