//! Whom to ask: the OpenAI-compatible server.

use std::num::NonZeroU64;

use reqwest::Url;

use super::{api_key, fault::Faults, key, layers::Layers, value};
use crate::upstream::Config as UpstreamConfig;

/// The highest limit a minute; whoever has more is not limited.
const MAX_PER_MINUTE: u64 = 1_000_000_000_000;

pub(super) fn read(layers: &Layers, faults: &mut Faults) -> Option<UpstreamConfig> {
    let base_url = layers.read(&key::UPSTREAM_URL, faults, base_url);
    let api_key = api_key::read(layers, faults);
    let requests_per_minute = layers.read(&key::UPSTREAM_REQUESTS_PER_MINUTE, faults, limit);
    let tokens_per_minute = layers.read(&key::UPSTREAM_TOKENS_PER_MINUTE, faults, limit);
    let adaptive = layers.read(&key::UPSTREAM_ADAPTIVE_CONCURRENCY, faults, value::switch);
    Some(UpstreamConfig {
        base_url: base_url?,
        api_key: api_key?,
        requests_per_minute: requests_per_minute?,
        tokens_per_minute: tokens_per_minute?,
        adaptive_concurrency: adaptive?,
    })
}

/// A limit a minute; none for `auto`.
fn limit(text: &str) -> Result<Option<NonZeroU64>, String> {
    match text {
        "auto" => Ok(None),
        number => value::number(number, 1, MAX_PER_MINUTE)
            .map(NonZeroU64::new)
            .map_err(|message| format!("{message}, and not auto")),
    }
}

/// A limit as it is written.
pub(super) fn shown_limit(limit: Option<NonZeroU64>) -> String {
    limit.map_or_else(|| "auto".to_owned(), |limit| limit.to_string())
}

/// Never quotes the value: people put keys into URLs.
fn base_url(text: &str) -> Result<String, String> {
    const RIGHT: &str = "write an absolute URL such as https://api.openai.com/v1";
    let url = Url::parse(text).map_err(|error| format!("is not a URL ({error}); {RIGHT}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(format!("is neither http:// nor https://; {RIGHT}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or password; set TIDINGS_UPSTREAM_API_KEY".to_owned());
    }
    if url.fragment().is_some() {
        return Err(format!("must not hold a fragment (#…); {RIGHT}"));
    }
    Ok(text.to_owned())
}

/// Whether there is a key, without the key.
pub(super) fn shown_key(upstream: &UpstreamConfig) -> &'static str {
    match upstream.api_key {
        Some(_) => "set",
        None => "not set",
    }
}
