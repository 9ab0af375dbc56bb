//! The terms: how much, how strictly, what is charged, and when that changes.

use std::{fmt, str::FromStr, time::Duration};

use super::{Ask, Headers, RetryAfter, quota::Quota};

/// Limits on what is let through. Each key has them for each model.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Requests a minute; none does not limit them.
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute; none does not limit them.
    pub tokens_per_minute: Option<u64>,
    /// How much of the rate may come at once. A second is how strictly OpenAI enforces its limits.
    pub burst: Duration,
    /// Counts that start anew with every window of this length, instead of buckets that refill continuously.
    pub window: Option<Duration>,
    /// Which tokens are charged.
    pub token_charge: TokenCharge,
    /// Whether a refused call uses up the limit too, as it does at OpenAI.
    pub charge_refused: bool,
    /// What replies say about the limits.
    pub headers: Headers,
    /// How a refusal says when to come back.
    pub retry_after: RetryAfter,
    /// When the limits change, in the order of time.
    pub changes: Vec<QuotaChange>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            requests_per_minute: None,
            tokens_per_minute: None,
            burst: Duration::from_secs(1),
            window: None,
            token_charge: TokenCharge::default(),
            charge_refused: false,
            headers: Headers::default(),
            retry_after: RetryAfter::default(),
            changes: Vec::new(),
        }
    }
}

impl Limits {
    pub(in crate::simulator) fn check(&self) -> Result<(), &'static str> {
        let zero = |limit| limit == Some(0);
        if zero(self.requests_per_minute) || zero(self.tokens_per_minute) {
            return Err("a limit of 0 a minute lets nothing through");
        }
        if self.burst.is_zero() {
            return Err("a burst of 0 lets nothing through");
        }
        if self.window.is_some_and(|window| window.is_zero()) {
            return Err("a window of 0 lets nothing through");
        }
        let factors = self.changes.iter().map(|change| change.factor);
        if !factors
            .into_iter()
            .all(|factor| factor > 0.0 && factor <= 1_000.0)
        {
            return Err("a change's factor is not above 0 and at most 1000");
        }
        if !self.changes.is_sorted_by_key(|change| change.after) {
            return Err("the changes of the limits are not in the order of time");
        }
        Ok(())
    }

    pub(super) fn quota(&self, per_minute: u64) -> Quota {
        match self.window {
            Some(length) => Quota::window(per_minute, length),
            None => Quota::bucket(per_minute, self.burst),
        }
    }
}

/// From then on the limits are so many times what was configured. As text: `200s=0.5`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuotaChange {
    /// So long after the simulation's first call.
    pub after: Duration,
    /// 0.5 halves the limits, 1 brings them back.
    pub factor: f64,
}

impl FromStr for QuotaChange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected TIME=FACTOR, for example 200s=0.5";
        let (after, factor) = text.split_once('=').ok_or(EXPECTED)?;
        Ok(QuotaChange {
            after: humantime::parse_duration(after.trim()).map_err(|_| EXPECTED)?,
            factor: factor.trim().parse().map_err(|_| EXPECTED)?,
        })
    }
}

/// Which tokens a limit charges a call for. As text: the name that `Display` shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenCharge {
    /// On admission, the prompt's and those that the answer may have, as at Azure.
    #[default]
    Sum,
    /// On admission, the prompt's or those that the answer may have, whichever are more, as at OpenAI.
    Larger,
    /// After the answer, those that were used. Calls get through while anything is left.
    Actual,
}

impl TokenCharge {
    pub(super) fn on_admission(self, ask: Ask) -> u64 {
        match self {
            TokenCharge::Sum => ask.input + ask.output,
            TokenCharge::Larger => ask.input.max(ask.output),
            TokenCharge::Actual => 0,
        }
    }
}

impl fmt::Display for TokenCharge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TokenCharge::Sum => "sum",
            TokenCharge::Larger => "larger",
            TokenCharge::Actual => "actual",
        })
    }
}

impl FromStr for TokenCharge {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [TokenCharge::Sum, TokenCharge::Larger, TokenCharge::Actual]
            .into_iter()
            .find(|charge| charge.to_string() == text)
            .ok_or("expected sum, larger or actual")
    }
}
