//! Finds a rate that nobody tells: grows until a 429, falls back, returns to where it was, and probes beyond.

use minicbor::{Decode, Encode};

use super::Seconds;

/// A search that begins with nothing to go by sends so many calls a second at first, …
const FIRST_RATE: f64 = 2.0;
/// … and grows by this share each second until the first 429.
const GROWTH: f64 = 0.35;
/// The 429 that ends the first growth comes late: the rate had passed the limit some time before.
const KEPT_OF_GROWTH: f64 = 0.72;
/// From a 429 until the rate is back where it was.
const PERIOD: Seconds = 12.0;
/// By how much a 429 lowers the rate.
const DIP: f64 = 0.15;
/// How cautiously it goes on beyond the rate at which the last 429 came.
const PROBE: f64 = 0.02;
/// Two periods beyond without a 429, the limit is taken to have been raised, …
const RAISED: f64 = 2.0;
/// … and the rate grows by this share each second.
const REGROWTH: f64 = 0.10;
/// Growth that no 429 and no fall of the rate ever corrects stops here.
const GROWTH_MAX: f64 = 50.0;
/// A 429 before the rate was back shows that it had been too high.
const SHY: f64 = 0.97;
/// When most calls are refused the rate is far too high, and falls by more.
const FLOOD: f64 = 0.5;
/// By how much, then.
const FLOOD_DIP: f64 = 0.6;
/// A rate that was never reached says nothing: the search goes on from at most this much more than was sent.
const UNPROVEN: f64 = 1.5;
/// The slowest rate; below it nothing would be learnt any more.
const LEAST: f64 = 0.05;

/// The state of a search for a rate, in calls a second.
#[derive(Clone, Copy, Debug, PartialEq, Encode, Decode)]
pub(super) struct Cubic {
    /// The rate at which the last 429 came, or, while growing, at which the growth began.
    #[n(0)]
    top: f64,
    /// Since then, as far as it counts.
    #[n(1)]
    clock: Seconds,
    /// When `clock` was set.
    #[n(2)]
    at: Seconds,
    /// No limit was met since the search began.
    #[n(3)]
    growing: bool,
}

impl Cubic {
    /// A search that begins with a 429 while so many calls a second were sent.
    pub(super) fn start(sent: f64, now: Seconds) -> Self {
        Cubic {
            top: (sent / 2.0).max(FIRST_RATE),
            clock: 0.0,
            at: now,
            growing: true,
        }
    }

    /// A search near a rate that is known to be about right, or too high.
    pub(super) fn near(rate: f64, now: Seconds) -> Self {
        Cubic {
            top: rate.max(LEAST),
            clock: 0.0,
            at: now,
            growing: false,
        }
    }

    /// The rate at an instant.
    pub(super) fn rate(&self, now: Seconds) -> f64 {
        let clock = self.clock_at(now);
        let growth = |share: f64, seconds: Seconds| (share.ln_1p() * seconds).exp().min(GROWTH_MAX);
        if self.growing {
            return self.top * growth(GROWTH, clock);
        }
        let x = clock / PERIOD - 1.0;
        if x < 0.0 {
            self.top * (1.0 + DIP * x.powi(3))
        } else if x < RAISED {
            self.top * (1.0 + PROBE * x.powi(3))
        } else {
            let reached = 1.0 + PROBE * RAISED.powi(3);
            self.top * reached * growth(REGROWTH, (x - RAISED) * PERIOD)
        }
    }

    /// A call goes out: only while there are any does growth prove something.
    pub(super) fn sent(&mut self, now: Seconds) {
        self.clock = self.clock_at(now);
        self.at = self.at.max(now);
    }

    /// A 429 came while `sent` calls a second went out, of which `refused` was the share refused.
    pub(super) fn cut(&mut self, sent: f64, refused: f64, now: Seconds) {
        let reached = self.rate(now);
        let proven = (sent * UNPROVEN).max(LEAST);
        let rate = reached.min(proven);
        let kept = match () {
            () if self.growing => KEPT_OF_GROWTH,
            () if rate < self.top => SHY,
            () => 1.0,
        };
        let flood = if refused > FLOOD { FLOOD_DIP } else { 1.0 };
        *self = Cubic::near(rate * kept * flood, now);
    }

    /// The way back to a rate that was reached before takes its time whatever happens; beyond it, time without calls
    /// does not count.
    fn clock_at(&self, now: Seconds) -> Seconds {
        let passed = (now - self.at).max(0.0);
        let back = match self.growing {
            true => 0.0,
            false => (PERIOD - self.clock).clamp(0.0, passed),
        };
        let idle = 1.0 + 2.0 / self.top;
        self.clock + back + (passed - back).min(idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends at the rate for so long.
    fn run(cubic: &mut Cubic, from: Seconds, seconds: Seconds) -> Seconds {
        let until = from + seconds;
        let mut now = from;
        while now < until {
            now += 1.0 / cubic.rate(now);
            cubic.sent(now);
        }
        now
    }

    #[test]
    fn the_rate_falls_returns_to_where_it_was_and_then_goes_beyond() {
        let mut cubic = Cubic::near(10.0, 0.0);
        assert!((cubic.rate(0.0) - 8.5).abs() < 1e-9);
        let now = run(&mut cubic, 0.0, PERIOD);
        assert!((9.9..10.1).contains(&cubic.rate(now)));
        let now = run(&mut cubic, now, 2.0 * PERIOD);
        assert!((11.0..12.0).contains(&cubic.rate(now)));
        let now = run(&mut cubic, now, 10.0);
        assert!(cubic.rate(now) > 20.0, "the limit was raised");
    }

    #[test]
    fn what_was_never_sent_proves_nothing() {
        let mut cubic = Cubic::near(10.0, 0.0);
        assert!(cubic.rate(1e6) < 10.1, "it is back, and goes no further");
        cubic.cut(2.0, 0.1, 1e6);
        assert!(cubic.rate(1e6) < 3.0);
        let mut growing = Cubic::start(0.0, 0.0);
        assert!(growing.rate(1e6) < 4.0);
        let now = run(&mut growing, 0.0, 10.0);
        assert!(growing.rate(now) > 25.0);
    }

    #[test]
    fn a_flood_of_refusals_cuts_deeper_than_one() {
        let (mut one, mut flood) = (Cubic::near(10.0, 0.0), Cubic::near(10.0, 0.0));
        one.cut(8.5, 0.1, 0.0);
        flood.cut(8.5, 0.9, 0.0);
        assert!(flood.rate(0.0) < 0.7 * one.rate(0.0));
    }
}
