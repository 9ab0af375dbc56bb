//! Random calls, made on the model and on another store: every reply, and all that can be read after it, must be
//! the same. A failure prints its seed; `PROPTEST_RNG_SEED` runs it again.

mod command;
mod side;
mod view;

use std::{fmt::Debug, sync::Arc, time::Duration};

use proptest::{
    collection::vec,
    test_runner::{Config, RngSeed, TestCaseError, TestRunner},
};
use tidings::{
    clock::{Clock, SystemClock},
    store::Capacity,
};

use super::{
    harness::Harness,
    stores::{self, SMALL},
};
use crate::support::model_store::ModelStore;
use command::{Command, Pace, World};
use side::Side;

/// Enough for a batch to be filled, worked on, parked and swept in one sequence.
const LENGTH: std::ops::Range<usize> = 1..40;
/// Short times are over after this on a clock that cannot be moved.
const SETTLE: Duration = Duration::from_millis(20);
/// A day and a bit: everything is past its retention.
const LEAP: Duration = Duration::from_secs(26 * 3_600);

macro_rules! properties {
    ($($store:ident within $capacity:expr, $cases:literal times;)+) => {
        $(#[test]
        fn $store() {
            check($cases, $capacity, stores::$store);
        })+
    };
}

properties! {
    model within Capacity::default(), 64 times;
    embedded within Capacity::default(), 64 times;
    redis within Capacity::default(), 24 times;
    redis_in_four within Capacity::default(), 12 times;
    small_embedded within SMALL, 64 times;
    small_redis within SMALL, 24 times;
    small_redis_in_four within SMALL, 12 times;
}

/// Runs `cases` random sequences, each on a fresh model and a fresh store.
fn check<F: Future<Output = Harness>>(cases: u32, capacity: Capacity, open: impl Fn() -> F) {
    let mut config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => rand::random(),
    };
    config.rng_seed = RngSeed::Fixed(seed);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let outcome = TestRunner::new(config).run(&vec(command::any(), LENGTH), |commands| {
        let run = async { Comparison::new(open().await, capacity).run(&commands).await };
        runtime.block_on(run).map_err(TestCaseError::fail)
    });
    if let Err(failure) = outcome {
        panic!("PROPTEST_RNG_SEED={seed}: {failure}");
    }
}

/// Two stores side by side.
struct Comparison {
    harness: Harness,
    world: World,
    model: Side,
    other: Side,
    /// Times differ by a little when the clock is the world's, and are left out.
    is_timed: bool,
}

impl Comparison {
    fn new(harness: Harness, capacity: Capacity) -> Self {
        let clock: Arc<dyn Clock> = match harness.clock() {
            Some(clock) => clock,
            None => Arc::new(SystemClock),
        };
        let is_timed = harness.clock().is_some();
        Comparison {
            world: World::new(harness.partition(), Pace { is_timed }),
            model: Side::new(Arc::new(ModelStore::with_capacity(clock, capacity))),
            other: Side::new(Arc::clone(&harness.store)),
            harness,
            is_timed,
        }
    }

    async fn run(&mut self, commands: &[Command]) -> Result<(), String> {
        for (step, command) in commands.iter().enumerate() {
            let done = self.step(command).await;
            done.map_err(|difference| format!("step {step}, {command:?}: {difference}"))?;
        }
        Ok(())
    }

    async fn step(&mut self, command: &Command) -> Result<(), String> {
        match command {
            Command::Advance(steps) if self.is_timed => {
                self.harness
                    .advance(Duration::from_millis(10) * u32::from(*steps))
                    .await;
                // A store may let tasks that are due join their queue at once, or when it next looks.
                self.model.look().await;
                self.other.look().await;
            }
            Command::Leap if self.is_timed => {
                self.harness.advance(LEAP).await;
                self.model.sweep().await;
                self.other.sweep().await;
                self.model.look().await;
                self.other.look().await;
            }
            Command::Advance(_) | Command::Leap => {}
            command => {
                let now = self.model.now();
                let Some(call) = self.world.resolve(command, now) else {
                    return Ok(());
                };
                let replies = (self.model.call(&call).await, self.other.call(&call).await);
                let (model, other) = (self.plain(replies.0), self.plain(replies.1));
                same("reply", &model, &other)?;
                self.world.learn(&model);
                if self.is_timed && matches!(command, Command::Amend { .. }) {
                    // A batch that is closed past its time may go at once or when it is swept.
                    self.model.sweep().await;
                    self.other.sweep().await;
                }
                if !self.is_timed {
                    tokio::time::sleep(SETTLE).await;
                }
            }
        }
        let (model, other) = (
            self.model.view(&self.world).await,
            self.other.view(&self.world).await,
        );
        let is_timed = self.is_timed;
        same("view", &model.plain(is_timed), &other.plain(is_timed))
    }

    fn plain(&self, reply: side::Reply) -> side::Reply {
        view::plain_reply(reply, self.is_timed)
    }
}

fn same<T: PartialEq + Debug>(what: &str, model: &T, other: &T) -> Result<(), String> {
    if model == other {
        return Ok(());
    }
    let (model, other) = (format!("{model:#?}"), format!("{other:#?}"));
    let differing: Vec<String> = model
        .lines()
        .zip(other.lines())
        .filter(|(model, other)| model != other)
        .map(|(model, other)| format!("  model {} | store {}", model.trim(), other.trim()))
        .take(20)
        .collect();
    let (lines, others) = (model.lines().count(), other.lines().count());
    Err(format!(
        "the {what} differs ({lines} and {others} lines):\n{}",
        differing.join("\n")
    ))
}
