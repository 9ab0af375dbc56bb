//! What is to happen in a run, drawn from its seed alone.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// Long enough that calls delayed on their way cannot by themselves cost a worker its leases.
pub(super) const LEASE: Duration = Duration::from_secs(3);
/// A store call is held up at most this long on its way there, and as long on its way back.
pub(super) const LONGEST_DELAY: u64 = 600;
/// A slow one at most this long.
pub(super) const SLOWEST: u64 = 4_000;
/// Faults end by this instant.
pub(super) const CALM: u64 = 25_000;

/// A run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) replicas: usize,
    pub(super) concurrency: usize,
    pub(super) calls: CallFaults,
    pub(super) hints: HintFaults,
    /// Hints may go on being lost when everything else is calm.
    pub(super) calm_hints: HintFaults,
    pub(super) deeds: Vec<(u64, Deed)>,
    pub(super) orders: Vec<Order>,
}

/// Chances of what may go wrong with one call of the store.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CallFaults {
    pub(super) lost: f64,
    pub(super) twice: f64,
    pub(super) refused: f64,
    pub(super) full: f64,
    pub(super) delayed: f64,
    /// Held up for so long that a lease may end meanwhile.
    pub(super) slow: f64,
    /// As slow: a reaper that has seen a lease end and has not said so yet.
    pub(super) hesitant: f64,
}

/// Chances of what may go wrong with one hint.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HintFaults {
    pub(super) lost: f64,
    pub(super) twice: f64,
    /// Hints that are held up overtake each other.
    pub(super) delayed: f64,
}

/// Something that happens to a whole replica, or to the store.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    /// The replica in this place is gone; another one takes the place later.
    Crash { place: usize, back_after: u64 },
    /// It stands still for longer than a lease.
    Pause { place: usize, length: u64 },
    /// It shuts down in good order; another one takes its place.
    Drain { place: usize },
    /// Nobody can reach the store.
    Away { length: u64 },
    /// The store's standby falls behind.
    Snapshot,
    /// The standby takes over: what came after the snapshot is lost.
    Restore,
}

/// A batch to submit, and what its submitter does about it.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) at: u64,
    pub(super) tasks: Vec<Job>,
    /// After so long, these tasks are cancelled; all of the batch if there are none named.
    pub(super) cancel: Option<(u64, Vec<usize>)>,
    pub(super) seed: u64,
}

/// What one task does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) hold: u64,
    /// So many attempts fail before one is answered.
    pub(super) failures: u32,
    pub(super) max_attempts: u32,
    /// After submission.
    pub(super) deadline: Option<u64>,
    pub(super) not_before: Option<u64>,
    pub(super) is_urgent: bool,
}

impl Plan {
    /// The run that `seed` stands for.
    pub(super) fn draw(seed: u64) -> Plan {
        let mut dice = Dice(StdRng::seed_from_u64(seed));
        let replicas = dice.between(2, 3) as usize;
        let mut orders: Vec<Order> = (0..dice.between(2, 5)).map(|_| order(&mut dice)).collect();
        // One in the calm after all faults: what was promised is kept again.
        orders.push(Order {
            at: CALM + dice.below(4_000),
            ..order(&mut dice)
        });
        let calls = match dice.below(2) {
            0 => CallFaults::default(),
            _ => CallFaults {
                lost: dice.chance(0.08),
                twice: dice.chance(0.08),
                refused: dice.chance(0.10),
                full: dice.chance(0.10),
                delayed: dice.chance(0.50),
                slow: dice.chance(0.04),
                // All of them together, or whoever is quick is right.
                hesitant: if dice.below(2) == 0 { 1.0 } else { 0.0 },
            },
        };
        let mut plan = Plan {
            replicas,
            concurrency: dice.between(2, 6) as usize,
            calls,
            hints: hints(&mut dice),
            calm_hints: hints(&mut dice),
            deeds: deeds(&mut dice, replicas as u64),
            orders,
        };
        if dice.below(5) == 0 {
            plan.contest(&mut dice);
        }
        plan
    }

    /// Makes it a run about nothing but leases that end just when their worker comes back.
    fn contest(&mut self, dice: &mut Dice) {
        self.calls = CallFaults {
            hesitant: 1.0,
            ..CallFaults::default()
        };
        for job in self.orders.iter_mut().flat_map(|order| &mut order.tasks) {
            job.hold += 6_000;
        }
        let pause = |dice: &mut Dice| {
            let place = dice.below(self.replicas as u64) as usize;
            let length = dice.between(3_000, 6_000);
            (
                dice.between(2_000, CALM - 8_000),
                Deed::Pause { place, length },
            )
        };
        self.deeds = (0..5).map(|_| pause(dice)).collect();
        self.deeds.sort_by_key(|(at, _)| *at);
    }

    /// Writes are taken away in this run.
    pub(super) fn rolls_back(&self) -> bool {
        self.deeds
            .iter()
            .any(|(_, deed)| matches!(deed, Deed::Restore))
    }
}

fn hints(dice: &mut Dice) -> HintFaults {
    match dice.below(4) {
        0 => HintFaults::default(),
        1 => HintFaults {
            lost: 1.0,
            ..HintFaults::default()
        },
        _ => HintFaults {
            lost: dice.chance(0.4),
            twice: dice.chance(0.3),
            delayed: dice.chance(0.6),
        },
    }
}

fn deeds(dice: &mut Dice, replicas: u64) -> Vec<(u64, Deed)> {
    let mut deeds = Vec::new();
    let at = |dice: &mut Dice| dice.between(500, CALM - 8_000);
    for _ in 0..dice.now_and_then(4) {
        let (place, back_after) = (dice.below(replicas) as usize, dice.between(100, 5_000));
        deeds.push((at(dice), Deed::Crash { place, back_after }));
    }
    for _ in 0..dice.now_and_then(6) {
        // Many of them end just when others take the leases for expired.
        let length = match dice.below(2) {
            0 => dice.between(3_000, 4_500),
            _ => dice.between(2_000, 7_000),
        };
        let place = dice.below(replicas) as usize;
        deeds.push((at(dice), Deed::Pause { place, length }));
    }
    for _ in 0..dice.now_and_then(2) {
        let place = dice.below(replicas) as usize;
        deeds.push((at(dice), Deed::Drain { place }));
    }
    if dice.below(4) == 0 {
        let length = dice.between(500, 7_000);
        deeds.push((at(dice), Deed::Away { length }));
    }
    if dice.below(5) == 0 {
        let taken = at(dice);
        deeds.push((taken, Deed::Snapshot));
        deeds.push((taken + dice.between(50, 4_000), Deed::Restore));
    }
    deeds.sort_by_key(|(at, _)| *at);
    deeds
}

fn order(dice: &mut Dice) -> Order {
    let tasks: Vec<Job> = (0..dice.between(1, 6)).map(|_| job(dice)).collect();
    let cancel = (dice.below(3) == 0).then(|| {
        let some = (0..tasks.len()).filter(|_| dice.below(2) == 0).collect();
        (dice.below(6_000), some)
    });
    Order {
        at: dice.below(CALM - 6_000),
        tasks,
        cancel,
        seed: dice.below(u64::MAX),
    }
}

fn job(dice: &mut Dice) -> Job {
    let hold = match dice.below(4) {
        0 => dice.below(200),
        1 => dice.below(2_500),
        // Several renewals long.
        _ => dice.between(3_500, 9_000),
    };
    Job {
        hold,
        failures: dice.now_and_then(3) as u32,
        max_attempts: dice.between(1, 3) as u32,
        deadline: (dice.below(8) == 0).then(|| dice.between(6_000, 15_000)),
        not_before: (dice.below(8) == 0).then(|| dice.below(5_000)),
        is_urgent: dice.below(5) == 0,
    }
}

/// Draws for a plan.
struct Dice(StdRng);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0.random_range(0..end)
    }

    fn between(&mut self, first: u64, last: u64) -> u64 {
        self.0.random_range(first..=last)
    }

    /// Mostly none, else fewer than `end`.
    fn now_and_then(&mut self, end: u64) -> u64 {
        match self.below(2) {
            0 => 0,
            _ => self.below(end),
        }
    }

    /// A chance of this much at most, and in half of all cases none.
    fn chance(&mut self, most: f64) -> f64 {
        match self.below(2) {
            0 => 0.0,
            _ => self.0.random_range(0.0..most),
        }
    }
}
