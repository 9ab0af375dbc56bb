//! How many calls a server of one's own can take at once: it tells no limit and refuses nothing, it only gets slower.

use super::{Seconds, float};

/// Where it begins.
const FIRST: f64 = 2.0;
/// Answers to a batch take longer each, and more come in all: only beyond this much longer than the quickest has the
/// server nothing more to give.
const TOLERANCE: f64 = 2.0;
/// At most this much of the ceiling goes at once.
const STEEPEST: f64 = 0.5;
/// What an overloaded server leaves of it.
const OVERLOADED: f64 = 0.7;
/// Answers that are looked at together, at least; as many as the ceiling where that is more.
const WINDOW: f64 = 10.0;
/// After so many windows it is measured anew how quick the server is: it may have been given other work for good.
const REMEASURED: u32 = 50;
/// At such a part of the ceiling, which is well below what the tolerance lets it grow to.
const IDLE: f64 = 0.25;
/// No ceiling is higher.
const MOST: f64 = 100_000.0;

/// A ceiling of calls at once that follows how long answers take.
#[derive(Clone, Debug)]
pub(crate) struct Ceiling {
    limit: f64,
    /// Time for one token of an answer, when it was quickest.
    quickest: Option<f64>,
    seen: Window,
    windows: u32,
    /// The ceiling that holds again once the server has been measured well below it.
    kept: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// Answers that still come from calls under an earlier ceiling.
    early: f64,
    answers: f64,
    time: Seconds,
    tokens: f64,
    was_full: bool,
}

impl Default for Ceiling {
    fn default() -> Self {
        Ceiling {
            limit: FIRST,
            quickest: None,
            seen: Window::default(),
            windows: 0,
            kept: None,
        }
    }
}

impl Ceiling {
    /// Whether so many calls are as many as may be under way.
    pub(crate) fn is_full(&self, under_way: usize) -> bool {
        float(under_way as u64) >= self.limit.floor()
    }

    /// How many calls may be under way.
    pub(crate) fn limit(&self) -> f64 {
        self.limit
    }

    /// An answer of so many tokens came, after so long, to one of so many calls under way.
    pub(crate) fn answered(&mut self, took: Seconds, tokens: u64, under_way: usize) {
        let is_full = self.is_full(under_way);
        let seen = &mut self.seen;
        if seen.early > 0.0 {
            seen.early -= 1.0;
            return;
        }
        seen.answers += 1.0;
        seen.time += took;
        seen.tokens += float(tokens.max(1));
        seen.was_full |= is_full;
        if seen.answers >= self.limit.max(WINDOW) {
            self.turn_window();
        }
    }

    /// The server said that it is overloaded.
    pub(crate) fn overloaded(&mut self) {
        // Once for all that say so together: those that were on their way do not know of each other.
        if self.seen.answers > 0.0 {
            self.turn_to(self.limit * OVERLOADED);
        }
    }

    fn turn_window(&mut self) {
        let seen = self.seen;
        let took = seen.time / seen.tokens;
        if let Some(kept) = self.kept.take() {
            self.quickest = Some(took);
            return self.turn_to(kept);
        }
        self.windows += 1;
        if self.windows.is_multiple_of(REMEASURED) {
            self.kept = Some(self.limit);
            return self.turn_to(self.limit * IDLE);
        }
        let quickest = self.quickest.map_or(took, |it| it.min(took));
        self.quickest = Some(quickest);
        let room = TOLERANCE * quickest / took;
        if room < 1.0 {
            self.turn_to(self.limit * room.max(STEEPEST));
        } else if seen.was_full {
            self.turn_to(self.limit + self.limit.sqrt());
        } else {
            self.seen = Window::default();
        }
    }

    fn turn_to(&mut self, limit: f64) {
        self.seen = Window {
            early: self.limit.floor(),
            ..Window::default()
        };
        self.limit = limit.clamp(1.0, MOST);
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    /// Answers from a server that can do `slots` calls at once as quickly as one, as many at once as the ceiling lets
    /// it; tells how many a second.
    fn run(ceiling: &mut Ceiling, slots: f64, answers: usize, dice: &mut StdRng) -> f64 {
        let mut seconds = 0.0;
        for _ in 0..answers {
            let under_way = ceiling.limit().floor();
            let tokens: u32 = dice.random_range(20..400);
            let slowness = (under_way / slots).max(1.0);
            let took = f64::from(tokens) * 0.01 * slowness * dice.random_range(0.7..1.3);
            seconds += took / under_way;
            ceiling.answered(took, u64::from(tokens), under_way as usize);
        }
        answers as f64 / seconds
    }

    #[test]
    fn it_finds_what_a_server_can_take_and_follows_it() {
        let mut dice = StdRng::seed_from_u64(1);
        let mut ceiling = Ceiling::default();
        for slots in [4.0, 64.0, 16.0] {
            run(&mut ceiling, slots, 6_000, &mut dice);
            let found = ceiling.limit();
            assert!((slots..4.0 * slots).contains(&found), "{slots}: {found}");
            let best = slots / (210.0 * 0.01);
            let reached = run(&mut ceiling, slots, 2_000, &mut dice);
            assert!(reached > 0.95 * best, "{slots}: {reached} of {best}");
        }
    }

    #[test]
    fn calls_that_few_ask_for_prove_nothing() {
        let mut ceiling = Ceiling::default();
        for _ in 0..1_000 {
            ceiling.answered(1.0, 100, 1);
        }
        assert!((ceiling.limit() - FIRST).abs() < 1e-9);
    }

    #[test]
    fn an_overloaded_server_is_given_less_and_never_nothing() {
        let mut ceiling = Ceiling::default();
        for _ in 0..100 {
            ceiling.answered(1.0, 100, 10_000);
            ceiling.overloaded();
        }
        assert!(ceiling.limit() < 1.5 && !ceiling.is_full(0) && ceiling.is_full(1));
    }
}
