//! The rate limits that a reply tells: OpenAI's `x-ratelimit-*` and its kin, Anthropic's, and the `ratelimit` drafts.
//!
//! Read leniently and believed little: what is zero, negative or nonsense as a limit is taken for not said. `reset` says
//! when a bucket is full again, never when one more call fits; it only serves to tell limits of a day from those of a
//! minute.

use std::time::Duration;

use http::header::HeaderMap;

use super::pace::Room;
use crate::clock::Timestamp;

/// Limits are told for this long.
const MINUTE: f64 = 60.0;
/// A limit for longer than this is no rate to keep to: calls are let through until it is reached.
const LONGEST_WINDOW: f64 = 600.0;
/// A bucket that takes about this long to fill holds a day's worth, whatever the header is called.
const DAY: f64 = 20.0 * 3_600.0;
/// Above this a limit limits nothing, and is a mistake or a way to say "none".
const LIMIT_MAX: f64 = 1e12;

/// What is told of calls and of tokens.
pub(super) fn read(headers: &HeaderMap, now: Timestamp) -> (Room, Room) {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let told = |[limit, remaining, reset]: [&str; 3]| {
        let reset = text(reset).and_then(|text| self::reset(text, now));
        room(text(limit)?, text(remaining), reset, None)
    };
    let requests = told([
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
    ])
    .or_else(|| {
        told([
            "anthropic-ratelimit-requests-limit",
            "anthropic-ratelimit-requests-remaining",
            "anthropic-ratelimit-requests-reset",
        ])
    })
    .or_else(|| draft(&text));
    let tokens = told([
        "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-tokens",
    ])
    .or_else(|| {
        told([
            "anthropic-ratelimit-tokens-limit",
            "anthropic-ratelimit-tokens-remaining",
            "anthropic-ratelimit-tokens-reset",
        ])
    });
    (requests.unwrap_or_default(), tokens.unwrap_or_default())
}

/// The drafts of `ratelimit`: three headers, one of parameters, or a structured one with its policy beside it.
fn draft<'a>(text: &impl Fn(&str) -> Option<&'a str>) -> Option<Room> {
    let policy = text("ratelimit-policy").unwrap_or_default();
    let window = parameter(policy, "w").and_then(number);
    let quota = parameter(policy, "q").or_else(|| policy.split([';', ',']).next());
    if let Some(limit) = text("ratelimit-limit") {
        let reset = text("ratelimit-reset").and_then(number);
        return room(limit, text("ratelimit-remaining"), reset, window);
    }
    let all = text("ratelimit")?;
    let limit = parameter(all, "limit").or(quota)?;
    let remaining = parameter(all, "remaining").or_else(|| parameter(all, "r"));
    let reset = parameter(all, "reset").or_else(|| parameter(all, "t"));
    room(limit, remaining, reset.and_then(number), window)
}

/// A limit with what remains of it; none where the limit makes no sense or is not one of minutes.
fn room(
    limit: &str,
    remaining: Option<&str>,
    reset: Option<f64>,
    window: Option<f64>,
) -> Option<Room> {
    let limit = number(limit).filter(|limit| (1.0..LIMIT_MAX).contains(limit))?;
    let remaining = remaining.and_then(number).filter(|left| *left >= 0.0);
    let window = window.filter(|window| *window > 0.0);
    let is_rate = match (window, remaining, reset) {
        (Some(window), ..) => window <= LONGEST_WINDOW,
        (None, Some(left), Some(reset)) if left < limit => reset * limit / (limit - left) < DAY,
        _ => true,
    };
    is_rate.then_some(Room {
        limit: Some(limit / window.unwrap_or(MINUTE)),
        remaining,
    })
}

/// The value of `name=value` in a list that is cut by commas and semicolons.
fn parameter<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split([',', ';']).find_map(|part| {
        let (key, value) = part.split_once('=')?;
        (key.trim() == name).then_some(value.trim())
    })
}

fn number(text: &str) -> Option<f64> {
    let number: f64 = text.trim().trim_matches('"').parse().ok()?;
    number.is_finite().then_some(number)
}

/// Seconds until a reset: as Go writes durations, as a number of seconds, or as an instant.
fn reset(text: &str, now: Timestamp) -> Option<f64> {
    number(text).or_else(|| go_duration(text)).or_else(|| {
        let at = humantime::parse_rfc3339_weak(text).ok()?;
        let start = std::time::SystemTime::UNIX_EPOCH;
        let now = start + Duration::from_millis(now.0.max(0).unsigned_abs());
        Some(at.duration_since(now).unwrap_or_default().as_secs_f64())
    })
}

/// `1h2m3.5s`, `6m0s`, `12ms`, `250µs`.
fn go_duration(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (count, tail) = rest.split_at(end);
        let (unit, length) = [
            ("ms", 1e-3),
            ("us", 1e-6),
            ("µs", 1e-6),
            ("ns", 1e-9),
            ("h", 3_600.0),
            ("m", 60.0),
            ("s", 1.0),
            ("d", 86_400.0),
        ]
        .into_iter()
        .find(|(unit, _)| tail.starts_with(unit))?;
        seconds += number(count)? * length;
        rest = &tail[unit.len()..];
    }
    (!text.is_empty()).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T12:00:00Z
    const NOW: Timestamp = Timestamp(1_795_262_400_000);

    fn told(pairs: &[(&'static str, &'static str)]) -> (Room, Room) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        read(&headers, NOW)
    }

    fn room(limit: f64, remaining: f64) -> Room {
        Room {
            limit: Some(limit / MINUTE),
            remaining: Some(remaining),
        }
    }

    const NONE: Room = Room {
        limit: None,
        remaining: None,
    };

    #[test]
    fn openai_tells_both_for_a_minute() {
        let headers = [
            ("x-ratelimit-limit-requests", "5000"),
            ("x-ratelimit-remaining-requests", "4999"),
            ("x-ratelimit-reset-requests", "12ms"),
            ("x-ratelimit-limit-tokens", "160000"),
            ("x-ratelimit-remaining-tokens", "159976"),
            ("x-ratelimit-reset-tokens", "9ms"),
        ];
        let expected = (room(5_000.0, 4_999.0), room(160_000.0, 159_976.0));
        assert_eq!(told(&headers), expected);
    }

    #[test]
    fn a_limit_of_a_day_is_no_rate() {
        let headers = [
            ("x-ratelimit-limit-requests", "200"),
            ("x-ratelimit-remaining-requests", "199"),
            ("x-ratelimit-reset-requests", "7m12s"),
        ];
        assert_eq!(told(&headers), (NONE, NONE));
        // Groq: tokens of a minute beside requests of a day.
        let headers = [
            ("x-ratelimit-limit-requests", "14400"),
            ("x-ratelimit-remaining-requests", "14370"),
            ("x-ratelimit-reset-requests", "2m59.56s"),
            ("x-ratelimit-limit-tokens", "18000"),
            ("x-ratelimit-remaining-tokens", "17997"),
            ("x-ratelimit-reset-tokens", "7.66s"),
        ];
        assert_eq!(told(&headers), (NONE, room(18_000.0, 17_997.0)));
    }

    #[test]
    fn azure_says_less_than_nothing() {
        let lies = [
            ("x-ratelimit-limit-requests", "-1"),
            ("x-ratelimit-remaining-requests", "-1"),
            ("x-ratelimit-reset-requests", "0"),
            ("x-ratelimit-limit-tokens", "0"),
            ("x-ratelimit-remaining-tokens", "0"),
        ];
        assert_eq!(told(&lies), (NONE, NONE));
        let integers = [
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "1"),
            ("x-ratelimit-limit-tokens", "60000"),
            ("x-ratelimit-remaining-tokens", "-1"),
        ];
        let tokens = Room {
            remaining: None,
            ..room(60_000.0, 0.0)
        };
        assert_eq!(told(&integers), (room(60.0, 59.0), tokens));
    }

    #[test]
    fn anthropic_tells_instants() {
        let headers = [
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "2026-11-21T12:00:01Z"),
            ("anthropic-ratelimit-tokens-limit", "50000"),
            ("anthropic-ratelimit-tokens-remaining", "25000"),
            ("anthropic-ratelimit-tokens-reset", "2026-11-21T12:00:30Z"),
        ];
        let expected = (room(50.0, 49.0), room(50_000.0, 25_000.0));
        assert_eq!(told(&headers), expected);
    }

    #[test]
    fn the_drafts_tell_their_window() {
        let minute = (room(100.0, 50.0), NONE);
        for headers in [
            &[
                ("ratelimit-limit", "100"),
                ("ratelimit-remaining", "50"),
                ("ratelimit-reset", "30"),
            ][..],
            &[("ratelimit", "limit=100, remaining=50, reset=30")],
            &[
                ("ratelimit", "\"default\";r=50;t=30"),
                ("ratelimit-policy", "\"default\";q=100;w=60"),
            ],
            &[
                ("ratelimit-limit", "10"),
                ("ratelimit-remaining", "50"),
                ("ratelimit-policy", "10;w=6"),
            ],
        ] {
            assert_eq!(told(headers), minute, "{headers:?}");
        }
        let day = [
            ("ratelimit", "\"daily\";r=50;t=30"),
            ("ratelimit-policy", "\"daily\";q=100;w=86400"),
        ];
        assert_eq!(told(&day), (NONE, NONE));
    }

    #[test]
    fn nonsense_is_not_said() {
        for value in [
            "",
            "soon",
            "NaN",
            "inf",
            "1e300",
            "-5",
            "0",
            "99999999999999",
        ] {
            let headers = [("x-ratelimit-limit-requests", value)];
            assert_eq!(told(&headers), (NONE, NONE), "{value}");
        }
        assert_eq!(told(&[]), (NONE, NONE));
    }

    #[test]
    fn durations_are_read_however_they_are_written() {
        for (text, seconds) in [
            ("12ms", 0.012),
            ("1s", 1.0),
            ("4.253s", 4.253),
            ("6m0s", 360.0),
            ("1h2m3s", 3_723.0),
            ("2m59.56s", 179.56),
            ("1d2h", 93_600.0),
            ("250µs", 0.000_25),
            ("0s", 0.0),
            ("17", 17.0),
        ] {
            assert!((reset(text, NOW).unwrap() - seconds).abs() < 1e-9, "{text}");
        }
        for text in ["", "s", "5x", "1.2.3s", "ms"] {
            assert_eq!(reset(text, NOW), None, "{text}");
        }
    }
}
