//! What is let through: requests and tokens a minute, for each key and model apart.

mod header;
mod quota;
mod terms;

use std::{collections::HashMap, sync::OnceLock, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::clock::Timestamp;

pub(super) use header::RateHeaders;
pub use header::{Headers, RetryAfter};
use quota::{Quota, as_float};
pub use terms::{Limits, QuotaChange, TokenCharge};

/// How many keys and models have quotas of their own; past it all start anew, so that memory stays bounded.
const QUOTAS_MAX: usize = 10_000;

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
