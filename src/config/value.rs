//! How each kind of value is read. Each answers with what would be right when it is wrong.

use std::{net::SocketAddr, time::Duration};

/// How much of a faulty value is shown.
const SHOWN: usize = 60;

/// An address with its port: `127.0.0.1:50051`.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "{} is not an address; write IP:PORT, for example 127.0.0.1:50051, 0.0.0.0:50051 or [::1]:0",
            shown(text)
        )
    })
}

/// A length of time within bounds.
pub(super) fn duration(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let length = humantime::parse_duration(text).map_err(|_| {
        format!(
            "{} is not a duration; write a number with its unit, for example 500ms, 15s or 24h",
            shown(text)
        )
    })?;
    let bound = |limit| humantime::format_duration(limit).to_string();
    if length < least {
        return Err(format!(
            "{} is too short; the least is {}",
            shown(text),
            bound(least)
        ));
    }
    if length > most {
        return Err(format!(
            "{} is too long; the most is {}",
            shown(text),
            bound(most)
        ));
    }
    Ok(length)
}

/// A whole number within bounds.
pub(super) fn number<T: TryFrom<u64>>(text: &str, least: u64, most: u64) -> Result<T, String> {
    let number = text.parse::<u64>().ok();
    number
        .filter(|number| (least..=most).contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| {
            format!(
                "{} is not a whole number from {least} to {most}",
                shown(text)
            )
        })
}

/// `true` or `false`.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    text.parse()
        .map_err(|_| format!("{} is neither true nor false", shown(text)))
}

/// A name that is not empty and stays on one line.
pub(super) fn name(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("must not be empty; write a name such as gpt-4o-mini".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("must not hold control characters such as a line break".to_owned());
    }
    Ok(text.to_owned())
}

/// A value as a message quotes it.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("`{}`", short.escape_debug())
}
