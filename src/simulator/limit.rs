//! Requests and tokens a minute, enforced by buckets that refill continuously, as OpenAI's do.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Limits on what is let through. They hold for all keys and models together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Requests a minute; none does not limit them.
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute, charged on admission: the prompt's and those that the answer may have.
    pub tokens_per_minute: Option<u64>,
    /// How much of the rate may come at once. A second is how strictly OpenAI enforces its limits.
    pub burst: Duration,
    /// Whether replies carry `x-ratelimit-*`, and 429s `retry-after` and `retry-after-ms`.
    pub headers: bool,
    /// Whether a refused call uses up the limit too, as it does at OpenAI.
    pub charge_refused: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            requests_per_minute: None,
            tokens_per_minute: None,
            burst: Duration::from_secs(1),
            headers: true,
            charge_refused: false,
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
        Ok(())
    }
}

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
    /// Never: it needs more tokens than the whole bucket holds.
    TooLarge,
}

/// Headers of one reply.
pub(super) type RateHeaders = Vec<(&'static str, String)>;

/// The buckets of a simulation.
#[derive(Debug)]
pub(super) struct Limiter {
    limits: Limits,
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

impl Limiter {
    pub(super) fn new(limits: Limits) -> Self {
        let bucket = |limit: Option<u64>| limit.map(|limit| Bucket::new(limit, limits.burst));
        Limiter {
            limits,
            buckets: Mutex::new(Buckets {
                requests: bucket(limits.requests_per_minute),
                tokens: bucket(limits.tokens_per_minute),
            }),
        }
    }

    /// Charges a call of so many tokens, or says why not.
    pub(super) fn admit(&self, tokens: u64, now: Instant) -> (Admission, RateHeaders) {
        let mut buckets = self.buckets.lock();
        let admission = buckets.admit(tokens, self.limits.charge_refused, now);
        let mut headers = Vec::new();
        if self.limits.headers {
            buckets.describe(&mut headers);
            if let Admission::Refused { retry_after, .. } = &admission {
                let millis = retry_after.as_millis().max(1);
                headers.push(("retry-after-ms", millis.to_string()));
                headers.push(("retry-after", millis.div_ceil(1000).to_string()));
            }
        }
        (admission, headers)
    }
}

impl Buckets {
    fn admit(&mut self, tokens: u64, charge_refused: bool, now: Instant) -> Admission {
        let mut both = [
            (&mut self.requests, 1.0, "requests"),
            (&mut self.tokens, as_float(tokens), "tokens"),
        ];
        let mut refused = None;
        for (bucket, cost, what) in &mut both {
            let Some(bucket) = bucket else { continue };
            bucket.refill(now);
            if *cost > bucket.capacity {
                return Admission::TooLarge;
            }
            let wait = bucket.wait_for(*cost);
            if !wait.is_zero() && refused.is_none_or(|(_, longest)| wait > longest) {
                refused = Some((*what, wait));
            }
        }
        if refused.is_none() || charge_refused {
            for (bucket, cost, _) in both {
                if let Some(bucket) = bucket {
                    bucket.level = (bucket.level - cost).max(0.0);
                }
            }
        }
        match refused {
            None => Admission::Admitted,
            Some((what, retry_after)) => Admission::Refused { what, retry_after },
        }
    }

    fn describe(&self, headers: &mut RateHeaders) {
        if let Some(bucket) = &self.requests {
            headers.push(("x-ratelimit-limit-requests", bucket.per_minute.to_string()));
            headers.push(("x-ratelimit-remaining-requests", bucket.remaining()));
            headers.push(("x-ratelimit-reset-requests", bucket.reset()));
        }
        if let Some(bucket) = &self.tokens {
            headers.push(("x-ratelimit-limit-tokens", bucket.per_minute.to_string()));
            headers.push(("x-ratelimit-remaining-tokens", bucket.remaining()));
            headers.push(("x-ratelimit-reset-tokens", bucket.reset()));
        }
    }
}

#[derive(Debug)]
struct Bucket {
    per_minute: u64,
    /// Units a second.
    rate: f64,
    capacity: f64,
    level: f64,
    at: Option<Instant>,
}

impl Bucket {
    fn new(per_minute: u64, burst: Duration) -> Self {
        let rate = as_float(per_minute) / 60.0;
        // A bucket that cannot hold one request would never let one through.
        let capacity = (rate * burst.as_secs_f64()).max(1.0);
        Bucket {
            per_minute,
            rate,
            capacity,
            level: capacity,
            at: None,
        }
    }

    fn refill(&mut self, now: Instant) {
        if let Some(at) = self.at {
            let since = now.saturating_duration_since(at).as_secs_f64();
            self.level = (self.level + since * self.rate).min(self.capacity);
        }
        self.at = Some(now);
    }

    fn wait_for(&self, cost: f64) -> Duration {
        Duration::from_secs_f64((cost - self.level).max(0.0) / self.rate)
    }

    fn remaining(&self) -> String {
        format!("{:.0}", self.level.floor())
    }

    fn reset(&self) -> String {
        go_duration(self.wait_for(self.capacity))
    }
}

/// A duration as Go writes it, which is how OpenAI's headers have it.
fn go_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        return if millis == 0 {
            "0s".to_owned()
        } else {
            format!("{millis}ms")
        };
    }
    let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
    let mut text = String::new();
    if hours > 0 {
        text.push_str(&format!("{hours}h"));
    }
    if hours > 0 || minutes > 0 {
        text.push_str(&format!("{minutes}m"));
    }
    let (seconds, rest) = (millis / 1000 % 60, millis % 1000);
    let fraction = format!("{rest:03}");
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{text}{seconds}{point}{fraction}s")
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of tokens a minute stay far below 2^53"
)]
fn as_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does() {
        for (millis, text) in [
            (0, "0s"),
            (12, "12ms"),
            (1_000, "1s"),
            (4_253, "4.253s"),
            (7_660, "7.66s"),
            (360_000, "6m0s"),
            (3_723_000, "1h2m3s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn requests_refill_continuously() {
        let limiter = Limiter::new(Limits {
            requests_per_minute: Some(600),
            ..Limits::default()
        });
        let start = Instant::now();
        let admitted = |millis| {
            let now = start + Duration::from_millis(millis);
            matches!(limiter.admit(1, now).0, Admission::Admitted)
        };
        assert_eq!(
            (0..20).filter(|_| admitted(0)).count(),
            10,
            "one second's worth at once"
        );
        assert!(!admitted(99));
        assert!(admitted(101));
        assert!(!admitted(101));
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let limiter = Limiter::new(Limits {
            tokens_per_minute: Some(6_000),
            ..Limits::default()
        });
        let now = Instant::now();
        assert!(matches!(limiter.admit(100, now).0, Admission::Admitted));
        let (admission, headers) = limiter.admit(50, now);
        let Admission::Refused { what, retry_after } = admission else {
            panic!("{admission:?}");
        };
        assert_eq!((what, retry_after), ("tokens", Duration::from_millis(500)));
        assert!(headers.contains(&("retry-after-ms", "500".to_owned())));
        assert!(headers.contains(&("retry-after", "1".to_owned())));
        assert!(headers.contains(&("x-ratelimit-limit-tokens", "6000".to_owned())));
        assert!(headers.contains(&("x-ratelimit-remaining-tokens", "0".to_owned())));
        assert!(headers.contains(&("x-ratelimit-reset-tokens", "1s".to_owned())));
        assert!(matches!(limiter.admit(101, now).0, Admission::TooLarge));
    }
}
