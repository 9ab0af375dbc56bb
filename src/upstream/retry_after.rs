//! How long the upstream asked us to wait: `retry-after-ms`, `retry-after` in seconds, or as a date.
//!
//! `x-ratelimit-reset-*` is left alone on purpose: it says when the bucket is full again, not when one more call fits.

use std::time::{Duration, SystemTime};

use http::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::clock::Timestamp;

/// Nobody means a longer wait than a year; such a value is a mistake, like zero or a negative one.
const LONGEST_WAIT: Duration = Duration::from_secs(366 * 24 * 3600);

/// The wait asked for; none where there is none or it makes no sense.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    text("retry-after-ms")
        .and_then(|value| seconds(value, 0.001))
        .or_else(|| text(RETRY_AFTER.as_str()).and_then(|value| seconds(value, 1.0)))
        .or_else(|| {
            let until = httpdate::parse_http_date(text(RETRY_AFTER.as_str())?).ok()?;
            // The server's own clock, where it shows it: ours may differ.
            let from = text(DATE.as_str())
                .and_then(|date| httpdate::parse_http_date(date).ok())
                .unwrap_or_else(|| system_time(now));
            sensible(until.duration_since(from).ok()?)
        })
}

fn seconds(value: &str, unit: f64) -> Option<Duration> {
    let number: f64 = value.parse().ok()?;
    sensible(Duration::try_from_secs_f64(number * unit).ok()?)
}

fn sensible(wait: Duration) -> Option<Duration> {
    (!wait.is_zero() && wait <= LONGEST_WAIT).then_some(wait)
}

fn system_time(now: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(now.0.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &str)]) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        // Sun, 06 Nov 1994 08:49:37 GMT
        retry_after(&headers, Timestamp(784_111_777_000))
    }

    #[test]
    fn every_shape_is_read_and_nonsense_is_not() {
        let ms = |ms| Some(Duration::from_millis(ms));
        for (pairs, expected) in [
            (&[("retry-after-ms", "250")][..], ms(250)),
            (
                &[("retry-after-ms", "12.5")],
                Some(Duration::from_micros(12_500)),
            ),
            (&[("retry-after", "2")], ms(2_000)),
            (&[("retry-after", " 0.25 ")], ms(250)),
            (&[("retry-after", "86400")], ms(86_400_000)),
            (&[("retry-after-ms", "100"), ("retry-after", "9")], ms(100)),
            (&[("retry-after-ms", "no"), ("retry-after", "9")], ms(9_000)),
            (&[("retry-after-ms", "0"), ("retry-after", "9")], ms(9_000)),
            (
                &[("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT")],
                ms(3_000),
            ),
            (
                &[("retry-after", "Sunday, 06-Nov-94 08:49:40 GMT")],
                ms(3_000),
            ),
            (&[("retry-after", "Sun Nov  6 08:49:40 1994")], ms(3_000)),
            (
                &[
                    ("retry-after", "Sun, 06 Nov 1994 09:00:05 GMT"),
                    ("date", "Sun, 06 Nov 1994 09:00:00 GMT"),
                ],
                ms(5_000),
            ),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT")], None),
            (&[("retry-after", "0")], None),
            (&[("retry-after", "-5")], None),
            (&[("retry-after", "NaN")], None),
            (&[("retry-after", "inf")], None),
            (&[("retry-after", "1e30")], None),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "6m0s")], None),
            (&[("x-ratelimit-reset-requests", "6m0s")], None),
            (&[], None),
        ] {
            assert_eq!(read(pairs), expected, "{pairs:?}");
        }
    }
}
