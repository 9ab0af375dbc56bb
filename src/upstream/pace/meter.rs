//! What this process sees of itself: how fast it sends, how much of it is refused, and how it begins.

use super::Seconds;

/// How far back a measurement looks.
const WINDOW: Seconds = 2.0;
/// Calls that go out at once although nothing is known of the upstream.
const FIRST_CALLS: f64 = 16.0;
/// How many times as many may have gone out with each second: enough for any server within one, and few when the first
/// refusal of a slow one comes back.
const GROWTH: f64 = 256.0;
/// Each answer proves that there is room for so many.
const PROVEN: f64 = 2.0;
/// After so long without a call, little of what was proven still is.
const FORGOTTEN: Seconds = 60.0;

/// Counts that fade.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    sent: Faded,
    answered: Faded,
    refused: Faded,
}

#[derive(Clone, Copy, Debug, Default)]
struct Faded {
    count: f64,
    at: Seconds,
}

impl Faded {
    fn at(&self, now: Seconds) -> f64 {
        self.count * (-(now - self.at).max(0.0) / WINDOW).exp()
    }

    fn add(&mut self, now: Seconds) {
        (self.count, self.at) = (self.at(now) + 1.0, now);
    }
}

impl Meter {
    pub(super) fn sent(&mut self, now: Seconds) {
        self.sent.add(now);
    }

    pub(super) fn answered(&mut self, is_refusal: bool, now: Seconds) {
        self.answered.add(now);
        if is_refusal {
            self.refused.add(now);
        }
    }

    /// Calls a second.
    pub(super) fn rate(&self, now: Seconds) -> f64 {
        self.sent.at(now) / WINDOW
    }

    /// The share of answers that were refusals.
    pub(super) fn refused(&self, now: Seconds) -> f64 {
        self.refused.at(now) / self.answered.at(now).max(1.0)
    }
}

/// How calls begin while nothing limits them: doubling fast, so that an upstream that does limit them says so before
/// all that is queued has hit it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ramp {
    since: Seconds,
    last: Seconds,
    sent: f64,
    answered: f64,
}

impl Ramp {
    /// When the next call may go.
    pub(super) fn due(&self, now: Seconds) -> Seconds {
        if now - self.last > FORGOTTEN {
            return now;
        }
        let needed = self.sent + 1.0 - FIRST_CALLS - PROVEN * self.answered;
        if needed <= FIRST_CALLS {
            return now;
        }
        let at = self.since + (needed / FIRST_CALLS).log(GROWTH);
        at.max(now)
    }

    /// How many more may go now.
    pub(super) fn spare(&self, now: Seconds) -> f64 {
        if now - self.last > FORGOTTEN {
            return FIRST_CALLS;
        }
        let grown = FIRST_CALLS * GROWTH.powf((now - self.since).min(FORGOTTEN));
        grown + FIRST_CALLS + PROVEN * self.answered - self.sent
    }

    pub(super) fn sent(&mut self, now: Seconds) {
        if now - self.last > FORGOTTEN {
            *self = Ramp {
                since: now,
                ..Ramp::default()
            };
        }
        self.last = now;
        self.sent += 1.0;
    }

    pub(super) fn answered(&mut self) {
        self.answered += 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_measures_what_goes_on() {
        let mut meter = Meter::default();
        for step in 0..200 {
            let now = f64::from(step) / 10.0;
            meter.sent(now);
            meter.answered(step % 4 == 0, now);
        }
        assert!((9.0..11.0).contains(&meter.rate(20.0)));
        assert!((0.2..0.3).contains(&meter.refused(20.0)));
        assert!(meter.rate(40.0) < 0.1);
    }

    #[test]
    fn calls_begin_slowly_where_nobody_answers_and_at_once_where_somebody_does() {
        let mut ramp = Ramp::default();
        let silent = |ramp: &mut Ramp, count: usize| {
            let mut now = 1_000.0;
            for _ in 0..count {
                now = ramp.due(now);
                ramp.sent(now);
            }
            now - 1_000.0
        };
        assert!(silent(&mut ramp, 32) < 1e-9);
        let all = silent(&mut Ramp::default(), 1_000);
        assert!((0.5..1.0).contains(&all), "{all}");

        let mut ramp = Ramp::default();
        for _ in 0..10_000 {
            assert!(ramp.due(5_000.0) <= 5_000.0);
            ramp.sent(5_000.0);
            ramp.answered();
        }
    }
}
