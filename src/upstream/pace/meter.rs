//! What this process sees of itself: how fast it sends, how much of it is refused, and how it begins.

use super::Seconds;

/// How far back a measurement looks.
const WINDOW: Seconds = 2.0;
/// Calls that go out at once although nothing is known of the upstream.
const FIRST_CALLS: f64 = 16.0;
/// How many times as many may have gone out with each second before the first answer: what it tells comes too late for
/// all of them, but an upstream that takes its time must not hold everything up.
const SILENT_GROWTH: f64 = 2.0;
/// And with each second after an answer that tells no limit: enough for any server within one.
const GROWTH: f64 = 256.0;
/// Each answer proves that there is room for so many.
const PROVEN: f64 = 2.0;
/// How long a call waits before it is seen again whether it may go.
const LOOK: Seconds = 0.01;
/// After so long without a call, little of what was proven still is.
const FORGOTTEN: Seconds = 60.0;

/// Counts that fade.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    /// When calls began to go out.
    since: Seconds,
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
        if now - self.sent.at > 5.0 * WINDOW {
            self.since = now;
        }
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
        // Of a window that has only begun, so much is seen.
        let seen = 1.0 - (-(now - self.since).max(WINDOW / 4.0) / WINDOW).exp();
        self.sent.at(now) / (WINDOW * seen)
    }

    /// The share of answers that were refusals.
    pub(super) fn refused(&self, now: Seconds) -> f64 {
        self.refused.at(now) / self.answered.at(now).max(1.0)
    }
}

/// How calls begin while nothing limits them, so that an upstream that does says so before all that is queued has hit
/// its limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ramp {
    since: Seconds,
    last: Seconds,
    heard: Option<Seconds>,
    sent: f64,
    answered: f64,
}

impl Ramp {
    /// When the next call may go, or when to look again.
    pub(super) fn due(&self, now: Seconds) -> Seconds {
        if self.spare(now) >= 1.0 {
            now
        } else {
            now + LOOK
        }
    }

    /// How many more may go now.
    pub(super) fn spare(&self, now: Seconds) -> f64 {
        if now - self.last > FORGOTTEN {
            return FIRST_CALLS;
        }
        let grown = |factor: f64, seconds: Seconds| {
            FIRST_CALLS * factor.powf(seconds.clamp(0.0, FORGOTTEN))
        };
        let silent = grown(SILENT_GROWTH, self.heard.unwrap_or(now) - self.since);
        let open = self.heard.map_or(0.0, |heard| {
            grown(GROWTH, now - heard) - FIRST_CALLS + PROVEN * self.answered
        });
        silent + open - self.sent
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

    pub(super) fn answered(&mut self, now: Seconds) {
        self.heard.get_or_insert(now);
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
                while ramp.due(now) > now {
                    now = ramp.due(now);
                }
                ramp.sent(now);
            }
            now - 1_000.0
        };
        assert!(silent(&mut ramp, 16) < 1e-9);
        let all = silent(&mut Ramp::default(), 1_000);
        assert!((5.0..7.0).contains(&all), "{all}");

        let mut ramp = Ramp::default();
        silent(&mut ramp, 16);
        ramp.answered(1_001.0);
        assert!(ramp.spare(1_002.0) > 4_000.0, "an answer told no limit");

        let mut ramp = Ramp::default();
        for _ in 0..10_000 {
            assert!(ramp.due(5_000.0) <= 5_000.0);
            ramp.sent(5_000.0);
            ramp.answered(5_000.0);
        }
    }
}
