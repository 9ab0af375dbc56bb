//! Options of a task as members of its line.

use std::{collections::BTreeMap, time::Duration};

use serde_json::value::RawValue;

use super::member::{quoted, text, value};
use crate::proto::v1::{CacheMode, Priority, TaskOptions};

/// The members that set an option.
const KNOWN: &str = "prompt, custom_id, model, priority, timeout, deadline, not_before, status_retention, \
                     result_retention, max_attempts, labels, cache, cache_max_age, stream_output, \
                     validation_retries";

/// Sets the option that a member names.
pub(super) fn set(options: &mut TaskOptions, name: &str, raw: &RawValue) -> Result<(), String> {
    match name {
        "model" => options.model = text(name, raw)?,
        "priority" => options.priority = priority(name, raw)?.into(),
        "timeout" => options.timeout = Some(length(name, raw)?),
        "status_retention" => options.status_retention = Some(length(name, raw)?),
        "result_retention" => options.result_retention = Some(length(name, raw)?),
        "deadline" => options.deadline = Some(instant(name, raw)?),
        "not_before" => options.not_before = Some(instant(name, raw)?),
        "cache" => options.cache = cache(name, raw)?.into(),
        "cache_max_age" => options.cache_max_age = Some(length(name, raw)?),
        "max_attempts" => options.max_attempts = value(name, raw, "a whole number")?,
        "stream_output" => options.stream_output = Some(value(name, raw, "true or false")?),
        "validation_retries" => {
            options.validation_retries = Some(value(name, raw, "a whole number")?);
        }
        "labels" => {
            options.labels =
                value::<BTreeMap<_, _>>(name, raw, "an object whose members are strings")?;
        }
        _ => {
            return Err(format!(
                "unknown member {}; known are {KNOWN}",
                quoted(name)
            ));
        }
    }
    Ok(())
}

fn priority(name: &str, raw: &RawValue) -> Result<Priority, String> {
    match text(name, raw)?.as_str() {
        "low" => Ok(Priority::Low),
        "normal" => Ok(Priority::Normal),
        "high" => Ok(Priority::High),
        _ => Err(format!("member `{name}` must be low, normal or high")),
    }
}

fn cache(name: &str, raw: &RawValue) -> Result<CacheMode, String> {
    match text(name, raw)?.as_str() {
        "enabled" => Ok(CacheMode::Enabled),
        "bypass" => Ok(CacheMode::Bypass),
        "refresh" => Ok(CacheMode::Refresh),
        _ => Err(format!(
            "member `{name}` must be enabled, bypass or refresh"
        )),
    }
}

/// `"30s"`.
fn length(name: &str, raw: &RawValue) -> Result<prost_types::Duration, String> {
    humantime::parse_duration(&text(name, raw)?)
        .ok()
        .and_then(stretch)
        .ok_or_else(|| format!("member `{name}` must be a duration such as 30s or 24h"))
}

/// A length of time as the wire says it; None when it is too long for it.
pub(in crate::cli) fn stretch(length: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(length).ok()
}

/// `"2026-11-21T12:00:00Z"`.
fn instant(name: &str, raw: &RawValue) -> Result<prost_types::Timestamp, String> {
    humantime::parse_rfc3339(&text(name, raw)?)
        .map(prost_types::Timestamp::from)
        .map_err(|_| format!("member `{name}` must be an instant such as 2026-11-21T12:00:00Z"))
}
