//! What is let through: requests and tokens a minute, for each key and model apart.

mod header;
mod quota;

use std::{collections::HashMap, fmt, str::FromStr, sync::OnceLock, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::clock::Timestamp;

pub(super) use header::RateHeaders;
pub use header::{Headers, RetryAfter};
use quota::{Quota, as_float};

/// How many keys and models have quotas of their own; past it all start anew, so that memory stays bounded.
const QUOTAS_MAX: usize = 10_000;

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
    pub(super) fn check(&self) -> Result<(), &'static str> {
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

    fn quota(&self, per_minute: u64) -> Quota {
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
    fn on_admission(self, ask: Ask) -> u64 {
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

/// What a call wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    /// Tokens of the prompt.
    pub(super) input: u64,
    /// The most tokens that the answer may have.
    pub(super) output: u64,
}

/// Whose quota it is: the hash of a key, and a model.
pub(super) type Holder = (String, String);

/// Whether a call is let through.
#[derive(Debug)]
pub(super) enum Admission {
    /// It is.
    Admitted,
    /// Not before this much time; `what` ran out.
    Refused {
        what: &'static str,
        retry_after: Duration,
    },
    /// Never: it needs more tokens than the whole quota holds.
    TooLarge,
}

/// What was decided about a call.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) admission: Admission,
    /// Tokens that the call was charged at once.
    pub(super) charged: u64,
    pub(super) headers: RateHeaders,
}

/// The quotas of a simulation.
#[derive(Debug)]
pub(super) struct Limiter {
    limits: Limits,
    first_call: OnceLock<Instant>,
    quotas: Mutex<HashMap<Holder, Quotas>>,
}

impl Limiter {
    pub(super) fn new(limits: Limits) -> Self {
        Limiter {
            limits,
            first_call: OnceLock::new(),
            quotas: Mutex::default(),
        }
    }

    /// Charges a call, or says why not. `now` is both clocks: one to measure with, one to name a date by.
    pub(super) fn admit(&self, holder: Holder, ask: Ask, now: (Instant, Timestamp)) -> Decision {
        let limits = &self.limits;
        let since = self.since(now.0);
        let mut all = self.quotas.lock();
        if all.len() >= QUOTAS_MAX {
            all.clear();
        }
        let quotas = all.entry(holder).or_insert_with(|| Quotas::new(limits));
        quotas.advance(since, &limits.changes);
        let tokens = limits.token_charge.on_admission(ask);
        let admission = quotas.admit(tokens, limits.charge_refused);
        let mut headers = quotas.describe(limits.headers);
        let charged = match &admission {
            Admission::Admitted => tokens,
            Admission::Refused { retry_after, .. } => {
                limits.retry_after.tell(*retry_after, now.1, &mut headers);
                if limits.charge_refused { tokens } else { 0 }
            }
            Admission::TooLarge => 0,
        };
        Decision {
            admission,
            charged,
            headers,
        }
    }

    /// Charges what an answer has used, where that is what is charged. Answers how many tokens it charged.
    pub(super) fn settle(&self, holder: &Holder, used: u64, now: Instant) -> u64 {
        if self.limits.token_charge != TokenCharge::Actual {
            return 0;
        }
        let since = self.since(now);
        if let Some(quotas) = self.quotas.lock().get_mut(holder) {
            quotas.advance(since, &self.limits.changes);
            if let Some(tokens) = &mut quotas.tokens {
                tokens.take(as_float(used));
            }
        }
        used
    }

    fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*self.first_call.get_or_init(|| now))
    }
}

/// The quotas of one key for one model.
#[derive(Debug)]
struct Quotas {
    requests: Option<Quota>,
    tokens: Option<Quota>,
    /// How many changes are in force.
    changed: usize,
}

impl Quotas {
    fn new(limits: &Limits) -> Self {
        let quota = |limit: Option<u64>| limit.map(|limit| limits.quota(limit));
        Quotas {
            requests: quota(limits.requests_per_minute),
            tokens: quota(limits.tokens_per_minute),
            changed: 0,
        }
    }

    /// Lets the time pass until `now`, with the changes that fall into it.
    fn advance(&mut self, now: Duration, changes: &[QuotaChange]) {
        let due = changes.iter().skip(self.changed);
        for change in due.take_while(|change| change.after <= now) {
            for quota in [&mut self.requests, &mut self.tokens].into_iter().flatten() {
                quota.advance(change.after);
                quota.change(change.factor);
            }
            self.changed += 1;
        }
        for quota in [&mut self.requests, &mut self.tokens].into_iter().flatten() {
            quota.advance(now);
        }
    }

    fn admit(&mut self, tokens: u64, charge_refused: bool) -> Admission {
        // A call that is charged later needs some room all the same.
        let needed = as_float(tokens.max(1));
        let both = [
            (&mut self.requests, 1.0, 1.0, "requests"),
            (&mut self.tokens, needed, as_float(tokens), "tokens"),
        ];
        let mut refused = None;
        for (quota, needed, _, what) in &both {
            let Some(quota) = quota else { continue };
            if *needed > quota.capacity() {
                return Admission::TooLarge;
            }
            let wait = quota.wait_for(*needed);
            if !wait.is_zero() && refused.is_none_or(|(_, longest)| wait > longest) {
                refused = Some((*what, wait));
            }
        }
        for (quota, _, cost, _) in both {
            match quota {
                Some(quota) if refused.is_none() => quota.take(cost),
                Some(quota) if charge_refused => quota.forfeit(cost),
                _ => {}
            }
        }
        match refused {
            None => Admission::Admitted,
            Some((what, retry_after)) => Admission::Refused { what, retry_after },
        }
    }

    fn describe(&self, how: Headers) -> RateHeaders {
        let mut headers = Vec::new();
        if let Some(quota) = &self.requests {
            let of = [
                "x-ratelimit-limit-requests",
                "x-ratelimit-remaining-requests",
                "x-ratelimit-reset-requests",
            ];
            how.describe(of, quota, &mut headers);
        }
        if let Some(quota) = &self.tokens {
            let of = [
                "x-ratelimit-limit-tokens",
                "x-ratelimit-remaining-tokens",
                "x-ratelimit-reset-tokens",
            ];
            how.describe(of, quota, &mut headers);
        }
        headers
    }
}

#[cfg(test)]
#[path = "limit/tests.rs"]
mod tests;
