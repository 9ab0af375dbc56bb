//! Whom to ask: the OpenAI-compatible server.

use std::num::NonZeroU64;

use url::Url;

use super::{Config, api_key, endpoint::LIST, fault::Faults, key, layers::Layers, value};
use crate::upstream::{Config as UpstreamConfig, Endpoint, Models};

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
pub(super) fn limit(text: &str) -> Result<Option<NonZeroU64>, String> {
    match text {
        "auto" => Ok(None),
        number => value::number(number, 1, MAX_PER_MINUTE)
            .map(NonZeroU64::new)
            .map_err(|message| format!("{message}, and not auto")),
    }
}

/// A limit as it is written.
fn shown_limit(limit: Option<NonZeroU64>) -> String {
    limit.map_or_else(|| "auto".to_owned(), |limit| limit.to_string())
}

/// Never quotes the value: people put keys into URLs.
pub(super) fn base_url(text: &str) -> Result<String, String> {
    const RIGHT: &str = "write an absolute URL such as https://api.openai.com/v1";
    let url = Url::parse(text).map_err(|error| format!("is not a URL ({error}); {RIGHT}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(format!("is neither http:// nor https://; {RIGHT}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or password; say the key apart, as TIDINGS_UPSTREAM_API_KEY or in a file".to_owned());
    }
    if url.fragment().is_some() {
        return Err(format!("must not hold a fragment (#…); {RIGHT}"));
    }
    Ok(text.to_owned())
}

/// Whether there is a key, without the key.
fn shown_key(upstream: &UpstreamConfig) -> &'static str {
    match upstream.api_key {
        Some(_) => "set",
        None => "not set",
    }
}

impl Config {
    /// Whom to ask, as a person may see it.
    pub fn shown_upstream(&self) -> String {
        if self.endpoints.is_empty() {
            return self.upstream.shown_url();
        }
        let shown = |endpoint: &Endpoint| format!("{} {}", endpoint.name, endpoint.shown_url());
        self.endpoints
            .iter()
            .map(shown)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The endpoints, or the one server where there are none, for `config check`.
    pub(super) fn upstreams(&self) -> Vec<(&'static str, String)> {
        if self.endpoints.is_empty() {
            return vec![
                (key::UPSTREAM_URL.path, self.upstream.shown_url()),
                ("upstream.api_key", shown_key(&self.upstream).to_owned()),
                (
                    key::UPSTREAM_REQUESTS_PER_MINUTE.path,
                    shown_limit(self.upstream.requests_per_minute),
                ),
                (
                    key::UPSTREAM_TOKENS_PER_MINUTE.path,
                    shown_limit(self.upstream.tokens_per_minute),
                ),
                (
                    key::UPSTREAM_ADAPTIVE_CONCURRENCY.path,
                    self.upstream.adaptive_concurrency.to_string(),
                ),
            ];
        }
        let endpoints: Vec<String> = self.endpoints.iter().map(shown_endpoint).collect();
        vec![(LIST, endpoints.join("; "))]
    }
}

/// An endpoint without its keys: `eu https://eu/v1 (azure, 2 keys, requests_per_minute 600, tokens_per_minute auto,
/// adaptive_concurrency false, price 1, models gpt-4o = mine)`.
fn shown_endpoint(endpoint: &Endpoint) -> String {
    let keys = match endpoint.keys.len() {
        0 => "no key".to_owned(),
        1 => "1 key".to_owned(),
        count => format!("{count} keys"),
    };
    let models = match &endpoint.models {
        Models::Any => "any model".to_owned(),
        Models::Named(names) => {
            let shown = |(name, theirs): (&String, &String)| match name == theirs {
                true => name.clone(),
                false => format!("{name} = {theirs}"),
            };
            let names: Vec<String> = names.iter().map(shown).collect();
            format!("models {}", names.join(" "))
        }
    };
    format!(
        "{} {} ({}, {keys}, requests_per_minute {}, tokens_per_minute {}, \
         adaptive_concurrency {}, price {}, {models})",
        endpoint.name,
        endpoint.shown_url(),
        endpoint.style.word(),
        shown_limit(endpoint.requests_per_minute),
        shown_limit(endpoint.tokens_per_minute),
        endpoint.adaptive_concurrency,
        endpoint.price,
    )
}
