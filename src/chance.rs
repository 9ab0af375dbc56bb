//! Chance: the one place that workers, watchers and the service draw from, so that a simulated run can be run again.

use std::{cell::RefCell, ops::RangeInclusive};

use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};

thread_local! {
    /// Empty until somebody seeds it: draws then come from the generator that the operating system seeds.
    static SEEDED: RefCell<Option<StdRng>> = const { RefCell::new(None) };
}

/// A number drawn uniformly from 0 up to, but not including, 1.
pub fn unit() -> f64 {
    draw(|seeded| seeded.random()).unwrap_or_else(rand::random)
}

/// A number drawn uniformly between two others.
pub fn within(range: RangeInclusive<f64>) -> f64 {
    range.start() + unit() * (range.end() - range.start())
}

/// Any number, each as likely as the others.
pub fn number() -> u64 {
    draw(|seeded| seeded.next_u64()).unwrap_or_else(rand::random)
}

/// Makes every later draw of this thread follow from `seed`. For simulations: what can be drawn again can be guessed.
pub fn seed(seed: u64) {
    SEEDED.with_borrow_mut(|seeded| *seeded = Some(StdRng::seed_from_u64(seed)));
}

fn draw<T>(from: impl FnOnce(&mut StdRng) -> T) -> Option<T> {
    SEEDED.with_borrow_mut(|seeded| seeded.as_mut().map(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws() -> Vec<(u64, f64)> {
        (0..8).map(|_| (number(), unit())).collect()
    }

    #[test]
    fn a_seed_repeats_what_it_drew_on_its_own_thread_alone() {
        seed(7);
        let first = draws();
        assert!(first.iter().all(|(_, unit)| (0.0..1.0).contains(unit)));
        seed(7);
        let other = std::thread::spawn(draws).join().unwrap();
        assert_ne!(other, first);
        assert_eq!(draws(), first);
        seed(8);
        assert_ne!(draws(), first);
    }
}
