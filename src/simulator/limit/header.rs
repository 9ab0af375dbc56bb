//! What replies say about the limits, truthfully or not.

use std::{fmt, str::FromStr, time::Duration};

use super::quota::Quota;
use crate::clock::Timestamp;

/// Headers of one reply.
pub(in crate::simulator) type RateHeaders = Vec<(&'static str, String)>;

/// Whether replies carry `x-ratelimit-*`, and how truthful those are. As text: the name that `Display` shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Headers {
    /// As OpenAI sends them: truthful, times as Go writes them.
    #[default]
    OpenAi,
    /// As Azure sends them: truthful, times in whole seconds.
    Seconds,
    /// None.
    Absent,
    /// −1 where nothing is known, as some of Azure's are.
    MinusOne,
    /// 0 where nothing is known.
    Zero,
    /// The whole limit is said to be left, whatever is.
    TooHigh,
}

impl Headers {
    const NAMES: [(&str, Headers); 6] = [
        ("openai", Headers::OpenAi),
        ("seconds", Headers::Seconds),
        ("none", Headers::Absent),
        ("minus-one", Headers::MinusOne),
        ("zero", Headers::Zero),
        ("too-high", Headers::TooHigh),
    ];

    /// Says how much of `quota` there is and is left.
    pub(super) fn describe(self, of: [&'static str; 3], quota: &Quota, headers: &mut RateHeaders) {
        let whole = |units: f64| format!("{:.0}", units.max(0.0).floor());
        let limit = || whole(quota.per_minute());
        let unknown = |text: &str| [text.to_owned(), text.to_owned(), "0".to_owned()];
        let values = match self {
            Headers::Absent => return,
            Headers::OpenAi => [limit(), whole(quota.left()), go_duration(quota.reset())],
            Headers::Seconds => [
                limit(),
                whole(quota.left()),
                quota.reset().as_millis().div_ceil(1000).to_string(),
            ],
            Headers::MinusOne => unknown("-1"),
            Headers::Zero => unknown("0"),
            Headers::TooHigh => [limit(), limit(), "0s".to_owned()],
        };
        headers.extend(of.into_iter().zip(values));
    }
}

impl fmt::Display for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(self, &Headers::NAMES))
    }
}

impl FromStr for Headers {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        named(text, &Headers::NAMES)
            .ok_or("expected openai, seconds, none, minus-one, zero or too-high")
    }
}

/// How a 429 says when to come back. As text: the name that `Display` shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetryAfter {
    /// In `retry-after-ms`, and in `retry-after` in seconds.
    #[default]
    Both,
    /// In `retry-after-ms`.
    Millis,
    /// In `retry-after`, in whole seconds.
    Seconds,
    /// In `retry-after`, as a date.
    Date,
    /// It does not.
    Absent,
}

impl RetryAfter {
    const NAMES: [(&str, RetryAfter); 5] = [
        ("both", RetryAfter::Both),
        ("ms", RetryAfter::Millis),
        ("seconds", RetryAfter::Seconds),
        ("date", RetryAfter::Date),
        ("none", RetryAfter::Absent),
    ];

    /// Says that one may come back in `wait`. What is not exact is rounded up.
    pub(in crate::simulator) fn tell(
        self,
        wait: Duration,
        now: Timestamp,
        headers: &mut RateHeaders,
    ) {
        let millis = wait.as_millis().max(1);
        let seconds = millis.div_ceil(1000);
        if matches!(self, RetryAfter::Both | RetryAfter::Millis) {
            headers.push(("retry-after-ms", millis.to_string()));
        }
        match self {
            RetryAfter::Both | RetryAfter::Seconds => {
                headers.push(("retry-after", seconds.to_string()));
            }
            RetryAfter::Date => headers.push(("retry-after", http_date(now + wait))),
            RetryAfter::Millis | RetryAfter::Absent => {}
        }
    }
}

impl fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(self, &RetryAfter::NAMES))
    }
}

impl FromStr for RetryAfter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        named(text, &RetryAfter::NAMES).ok_or("expected both, ms, seconds, date or none")
    }
}

fn named<T: Copy>(text: &str, names: &[(&str, T)]) -> Option<T> {
    let found = names.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value)
}

fn name_of<T: PartialEq>(value: &T, names: &[(&'static str, T)]) -> &'static str {
    let found = names.iter().find(|(_, named)| named == value);
    found.map_or("", |(name, _)| *name)
}

/// The first whole second that is not before `until`.
fn http_date(until: Timestamp) -> String {
    let seconds = until.0.max(0).unsigned_abs().div_ceil(1000);
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(seconds))
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
    fn names_are_read_as_they_are_shown() {
        for (name, headers) in Headers::NAMES {
            assert_eq!(name.parse(), Ok(headers));
            assert_eq!(headers.to_string(), name);
        }
        for (name, retry_after) in RetryAfter::NAMES {
            assert_eq!(name.parse(), Ok(retry_after));
            assert_eq!(retry_after.to_string(), name);
        }
        assert!("yes".parse::<Headers>().is_err());
        assert!("1s".parse::<RetryAfter>().is_err());
    }

    #[test]
    fn each_way_of_telling_a_limit_has_its_shape() {
        let mut quota = Quota::bucket(600, Duration::from_secs(10));
        quota.take(25.0);
        let of = ["limit", "remaining", "reset"];
        for (headers, told) in [
            (Headers::OpenAi, ["600", "75", "2.5s"]),
            (Headers::Seconds, ["600", "75", "3"]),
            (Headers::MinusOne, ["-1", "-1", "0"]),
            (Headers::Zero, ["0", "0", "0"]),
            (Headers::TooHigh, ["600", "600", "0s"]),
        ] {
            let mut written = Vec::new();
            headers.describe(of, &quota, &mut written);
            let written: Vec<&str> = written.iter().map(|(_, value)| value.as_str()).collect();
            assert_eq!(written, told, "{headers}");
        }
        let mut written = Vec::new();
        Headers::Absent.describe(of, &quota, &mut written);
        assert!(written.is_empty());
    }

    #[test]
    fn each_way_of_telling_a_wait_has_its_shape() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = Timestamp(784_111_777_000);
        let wait = Duration::from_millis(1_500);
        for (how, told) in [
            (RetryAfter::Both, &["1500", "2"][..]),
            (RetryAfter::Millis, &["1500"]),
            (RetryAfter::Seconds, &["2"]),
            (RetryAfter::Date, &["Sun, 06 Nov 1994 08:49:39 GMT"]),
            (RetryAfter::Absent, &[]),
        ] {
            let mut written = Vec::new();
            how.tell(wait, now, &mut written);
            let written: Vec<&str> = written.iter().map(|(_, value)| value.as_str()).collect();
            assert_eq!(written, told, "{how}");
        }
    }
}
