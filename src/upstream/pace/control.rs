//! Which rates hold now: the upstream's own limits, those configured, or what the search has found.

use minicbor::{Decode, Encode};

use super::{Seconds, cubic::Cubic};

/// Of a known limit so much is used: two clocks never run quite alike.
const USED: f64 = 0.995;
/// What a 429 leaves of that share, …
const CUT: f64 = 0.95;
/// … how much of it comes back in a second, …
const REGAINED: f64 = 0.004;
/// … and what always stays.
const LEAST_USED: f64 = 0.05;
/// All 429s within this time are one: those that follow the first answer calls that were on their way already.
const EPOCH: Seconds = 1.0;
/// How long a limit holds while replies come that do not tell it any more.
const TOLD_FOR: Seconds = 60.0;
/// So many 429s that a known limit does not explain, …
const LIES: u32 = 3;
/// … within this time, and the limit is not believed.
const LIES_WITHIN: Seconds = 30.0;
/// How long it is not, after the last 429.
const DISTRUST: Seconds = 300.0;
/// `slow_down` leaves so much of the rate, …
const SLOWED: f64 = 0.7;
/// … which may then grow by half in so much time …
const RAMP: Seconds = 900.0;
/// … where the upstream lets more tokens a second through than this: a million a minute.
const RAMPED_ABOVE: f64 = 1e6 / 60.0;

/// Limits that somebody who knows them has configured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Settings {
    /// Calls a second.
    pub(crate) requests: Option<f64>,
    /// Tokens a second.
    pub(crate) tokens: Option<f64>,
}

/// Rates a second; none where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Encode, Decode)]
pub(crate) struct Rates {
    /// Calls.
    #[n(0)]
    pub(crate) requests: Option<f64>,
    /// Tokens.
    #[n(1)]
    pub(crate) tokens: Option<f64>,
}

impl Rates {
    /// Neither is limited.
    pub(crate) fn is_free(&self) -> bool {
        self.requests.is_none() && self.tokens.is_none()
    }
}

/// What a 429 tells the controller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Refusal {
    /// When it came.
    pub(super) at: Seconds,
    /// When its call was sent.
    pub(super) sent_at: Seconds,
    /// Calls a second that went out.
    pub(super) sent: f64,
    /// The share of answers that were 429s.
    pub(super) refused: f64,
    /// The reply's own headers say that there was room.
    pub(super) unexplained: bool,
    /// The upstream asks for a slower ramp.
    pub(super) slow_down: bool,
}

/// Decides the rates.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub(super) struct Control {
    /// What the upstream tells.
    #[n(0)]
    told: Rates,
    /// When it did last.
    #[n(1)]
    told_at: Seconds,
    /// What 429s have taken from the share that is used.
    #[n(2)]
    missing: f64,
    #[n(3)]
    missing_at: Seconds,
    #[n(4)]
    cut_at: Seconds,
    #[n(5)]
    cubic: Option<Cubic>,
    #[n(6)]
    lies: u32,
    #[n(7)]
    lies_since: Seconds,
    #[n(8)]
    distrust_until: Seconds,
    /// The share of the rate that `slow_down` has left, and when.
    #[n(9)]
    slowed: Option<(f64, Seconds)>,
    /// Since when the upstream has told limits.
    #[n(10)]
    known_at: Seconds,
}

impl Control {
    /// The rates at an instant.
    pub(super) fn rates(&self, settings: &Settings, now: Seconds) -> Rates {
        let known = self.known(settings);
        let searching = known.is_free() || now < self.distrust_until;
        let found = self.cubic.filter(|_| searching).map(|it| it.rate(now));
        let used = match found {
            Some(_) => USED,
            None => self.used(now),
        };
        let slowed = self.slowed_at(now);
        Rates {
            requests: least(known.requests.map(|rate| rate * used), found).map(|it| it * slowed),
            tokens: known.tokens.map(|rate| rate * used * slowed),
        }
    }

    /// A reply came, with limits or without.
    pub(super) fn heard(&mut self, told: Rates, now: Seconds) {
        if !told.is_free() {
            if self.told.is_free() {
                self.known_at = now;
            }
            self.told = Rates {
                requests: told.requests.or(self.told.requests),
                tokens: told.tokens.or(self.told.tokens),
            };
            self.told_at = now;
        } else if now - self.told_at > TOLD_FOR {
            self.told = Rates::default();
        }
    }

    /// A call goes out.
    pub(super) fn sent(&mut self, now: Seconds) {
        if let Some(cubic) = &mut self.cubic {
            cubic.sent(now);
        }
    }

    /// A 429 came.
    pub(super) fn refused(&mut self, settings: &Settings, refusal: &Refusal) {
        let now = refusal.at;
        // What was sent before a cut, or before there was a limit to keep to, says nothing about what came after.
        if now - self.cut_at < EPOCH || refusal.sent_at < self.cut_at.max(self.known_at) {
            return;
        }
        self.cut_at = now;
        let known = self.known(settings);
        if refusal.slow_down && known.tokens.is_none_or(|rate| rate > RAMPED_ABOVE) {
            self.slowed = Some((self.slowed_at(now) * SLOWED, now));
        }
        if known.is_free() {
            match &mut self.cubic {
                Some(cubic) => cubic.cut(refusal.sent, refusal.refused, now),
                none => *none = Some(Cubic::start(refusal.sent, now)),
            }
            return;
        }
        if now < self.distrust_until {
            self.distrust_until = now + DISTRUST;
            if let Some(cubic) = &mut self.cubic {
                cubic.cut(refusal.sent, refusal.refused, now);
            }
            return;
        }
        if (refusal.unexplained || self.told.is_free()) && self.is_one_lie_too_many(now) {
            self.distrust_until = now + DISTRUST;
            let rate = self.rates(settings, now).requests.unwrap_or(refusal.sent);
            let mut cubic = Cubic::near(rate, now);
            cubic.cut(refusal.sent, refusal.refused, now);
            self.cubic = Some(cubic);
            return;
        }
        let used = (self.used(now) * CUT).max(LEAST_USED);
        (self.missing, self.missing_at) = (USED - used, now);
    }

    /// What is known of the limits: the upstream's word, but never more than was configured.
    fn known(&self, settings: &Settings) -> Rates {
        Rates {
            requests: least(self.told.requests, settings.requests),
            tokens: least(self.told.tokens, settings.tokens),
        }
    }

    fn used(&self, now: Seconds) -> f64 {
        let regained = REGAINED * (now - self.missing_at).max(0.0);
        USED - (self.missing - regained).max(0.0)
    }

    fn slowed_at(&self, now: Seconds) -> f64 {
        self.slowed.map_or(1.0, |(share, since)| {
            (share * 1.5_f64.powf((now - since).max(0.0) / RAMP)).min(1.0)
        })
    }

    fn is_one_lie_too_many(&mut self, now: Seconds) -> bool {
        if now - self.lies_since > LIES_WITHIN {
            (self.lies, self.lies_since) = (0, now);
        }
        self.lies += 1;
        self.lies >= LIES
    }
}

fn least(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Settings = Settings {
        requests: None,
        tokens: None,
    };
    const TEN: Rates = Rates {
        requests: Some(10.0),
        tokens: None,
    };

    fn refusal(at: Seconds) -> Refusal {
        Refusal {
            at,
            sent_at: at,
            sent: 10.0,
            refused: 0.1,
            unexplained: false,
            slow_down: false,
        }
    }

    fn rate(control: &Control, now: Seconds) -> f64 {
        control.rates(&FREE, now).requests.unwrap()
    }

    #[test]
    fn a_told_limit_holds_as_long_as_it_is_told_and_however_long_nothing_is_said() {
        let mut control = Control::default();
        assert!(control.rates(&FREE, 0.0).is_free());
        control.heard(TEN, 100.0);
        assert!((rate(&control, 9_000.0) - 9.95).abs() < 1e-9);
        control.heard(Rates::default(), 150.0);
        assert!((rate(&control, 150.0) - 9.95).abs() < 1e-9);
        control.heard(Rates::default(), 161.0);
        assert!(control.rates(&FREE, 161.0).is_free());
    }

    #[test]
    fn limits_that_vary_or_are_told_in_part_hide_no_429() {
        let mut control = Control::default();
        for step in 0..20 {
            let at = 100.0 + f64::from(step);
            let limit = if step % 2 == 0 { 10.0 } else { 10.1 };
            let told = Rates {
                requests: Some(limit),
                tokens: (step % 3 == 0).then_some(1_000.0),
            };
            control.heard(told, at);
            control.refused(
                &FREE,
                &Refusal {
                    sent_at: at - 0.1,
                    ..refusal(at)
                },
            );
        }
        assert!(rate(&control, 119.0) < 6.0, "{}", rate(&control, 119.0));
        assert!(control.rates(&FREE, 119.0).tokens.is_some());
    }

    #[test]
    fn what_is_configured_is_never_passed() {
        let mut control = Control::default();
        let five = Settings {
            requests: Some(5.0),
            ..FREE
        };
        let rate = |control: &Control| control.rates(&five, 100.0).requests.unwrap();
        assert!((rate(&control) - 4.975).abs() < 1e-9);
        control.heard(TEN, 100.0);
        assert!((rate(&control) - 4.975).abs() < 1e-9);
    }

    #[test]
    fn of_many_429s_in_a_second_one_cuts_and_the_share_comes_back() {
        let mut control = Control::default();
        control.heard(TEN, 100.0);
        for step in 0..9 {
            control.refused(&FREE, &refusal(100.0 + 0.1 * f64::from(step)));
        }
        assert!((rate(&control, 100.0) - 9.95 * CUT).abs() < 1e-9);
        control.refused(&FREE, &refusal(101.1));
        assert!(rate(&control, 101.1) < 9.1);
        assert!((rate(&control, 130.0) - 9.95).abs() < 1e-9);
    }

    #[test]
    fn a_limit_that_429s_belie_is_not_believed_for_a_while() {
        let mut control = Control::default();
        control.heard(TEN, 100.0);
        for step in 0..6 {
            let at = 100.0 + 2.0 * f64::from(step);
            control.refused(
                &FREE,
                &Refusal {
                    unexplained: true,
                    sent: rate(&control, at),
                    ..refusal(at)
                },
            );
        }
        assert!(rate(&control, 111.0) < 6.0, "{}", rate(&control, 111.0));
        assert!((rate(&control, 120.0 + DISTRUST) - 9.95).abs() < 1e-9);
    }

    #[test]
    fn slow_down_ramps_by_half_in_a_quarter_of_an_hour_where_limits_are_large() {
        let large = Rates {
            requests: Some(100.0),
            tokens: Some(100_000.0),
        };
        let mut control = Control::default();
        control.heard(large, 100.0);
        let slow = Refusal {
            slow_down: true,
            ..refusal(100.0)
        };
        control.refused(&FREE, &slow);
        let tokens = |control: &Control, now| control.rates(&FREE, now).tokens.unwrap();
        assert!(tokens(&control, 160.0) < 72_500.0);
        assert!(tokens(&control, 160.0) > 69_000.0);
        assert!(tokens(&control, 1_100.0) > 99_000.0);

        let mut small = Control::default();
        small.heard(TEN, 100.0);
        let known = Settings {
            tokens: Some(1_000.0),
            ..FREE
        };
        small.refused(&known, &slow);
        assert!(small.rates(&known, 130.0).requests.unwrap() > 9.9);
    }
}
