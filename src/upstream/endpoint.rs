//! What is said about one of several endpoints: where it is, with which keys, what it serves and at what price.

use std::{collections::BTreeMap, fmt, num::NonZeroU64};

use bytes::Bytes;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Call, shown_url};

/// One of the servers that calls may go to.
#[derive(Clone)]
pub struct Endpoint {
    /// What people know it by: in logs, metrics and failures.
    pub name: String,
    /// Where its API is, as in [`Config::base_url`](super::Config::base_url).
    pub base_url: String,
    /// Its keys, each with a quota of its own; none for a server that asks for none.
    pub keys: Vec<SecretString>,
    /// As in [`Config::requests_per_minute`](super::Config::requests_per_minute), for each key.
    pub requests_per_minute: Option<NonZeroU64>,
    /// As in [`Config::tokens_per_minute`](super::Config::tokens_per_minute), for each key.
    pub tokens_per_minute: Option<NonZeroU64>,
    /// As in [`Config::adaptive_concurrency`](super::Config::adaptive_concurrency).
    pub adaptive_concurrency: bool,
    /// How it wants to be addressed.
    pub style: Style,
    /// Among endpoints that could take a call equally soon, the lowest price is taken.
    pub price: f64,
    /// The models it serves.
    pub models: Models,
}

impl Endpoint {
    /// Its base URL as a person may see it.
    pub fn shown_url(&self) -> String {
        shown_url(&self.base_url)
    }
}

/// Shows neither the keys nor what else in the URL might be secret.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("name", &self.name)
            .field("base_url", &self.shown_url())
            .field("keys", &self.keys.len())
            .field("requests_per_minute", &self.requests_per_minute)
            .field("tokens_per_minute", &self.tokens_per_minute)
            .field("adaptive_concurrency", &self.adaptive_concurrency)
            .field("style", &self.style)
            .field("price", &self.price)
            .field("models", &self.models)
            .finish()
    }
}

/// How a server wants to be addressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// With the key as a bearer token.
    #[default]
    OpenAi,
    /// With the key in `api-key`. The base URL names the deployment and, in its query, the version of the API.
    Azure,
}

impl Style {
    /// Its name in a configuration.
    pub fn word(self) -> &'static str {
        match self {
            Style::OpenAi => "openai",
            Style::Azure => "azure",
        }
    }
}

/// Which models a server serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Models {
    /// Whatever a task asks for.
    #[default]
    Any,
    /// These, each with the name that the server has for it.
    Named(BTreeMap<String, String>),
}

impl Models {
    /// What the server calls `model`; none when it does not serve it.
    pub fn name_of<'a>(&'a self, model: &'a str) -> Option<&'a str> {
        match self {
            Models::Any => Some(model),
            Models::Named(names) => names.get(model).map(String::as_str),
        }
    }

    /// By which names tasks ask for what the server calls `theirs`.
    pub(super) fn asked_as<'a>(&'a self, theirs: &'a str) -> impl Iterator<Item = &'a str> {
        let (any, names) = match self {
            Models::Any => (Some(theirs), None),
            Models::Named(names) => (None, Some(names)),
        };
        let named = names.into_iter().flatten();
        any.into_iter().chain(
            named
                .filter(move |(_, name)| *name == theirs)
                .map(|(asked, _)| asked.as_str()),
        )
    }
}

/// The call as the server wants it that calls the model `name`: nothing but the model's name is changed. None when the
/// body names no model in the usual place.
pub(super) fn renamed(call: &Call, name: &str) -> Option<Call> {
    let body = with_model(&call.body, name)?;
    let model = name.to_owned();
    Some(Call {
        body,
        model,
        ..call.clone()
    })
}

/// The one member of a body that is looked at.
#[derive(Deserialize)]
struct Model<'a> {
    #[serde(borrow)]
    model: &'a RawValue,
}

fn with_model(body: &Bytes, name: &str) -> Option<Bytes> {
    let text = std::str::from_utf8(body).ok()?;
    let said = serde_json::from_str::<Model<'_>>(text).ok()?.model.get();
    // The value is a piece of the body: its place is where it begins.
    let start = said.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let (before, after) = (text.get(..start)?, text.get(start + said.len()..)?);
    let name = serde_json::to_string(name).ok()?;
    Some([before, &name, after].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rename(body: &str, name: &str) -> Option<String> {
        let body = with_model(&Bytes::copy_from_slice(body.as_bytes()), name)?;
        Some(String::from_utf8(body.into()).unwrap())
    }

    #[test]
    fn only_the_name_of_the_model_changes() {
        for (body, renamed) in [
            (
                r#"{"model":"gpt-4o","messages":[{"role":"user","content":"\"model\":\"x\""}]}"#,
                r#"{"model":"my \"own\"","messages":[{"role":"user","content":"\"model\":\"x\""}]}"#,
            ),
            (
                "{ \"z\" : 1e2,\n \"inner\": {\"model\": \"y\"}, \"model\" :  \"m\" , \"é\": null }",
                "{ \"z\" : 1e2,\n \"inner\": {\"model\": \"y\"}, \"model\" :  \"my \\\"own\\\"\" , \"é\": null }",
            ),
        ] {
            assert_eq!(rename(body, "my \"own\"").as_deref(), Some(renamed));
        }
        for body in [
            "",
            "[]",
            "{}",
            r#"{"model":"a","model":"b"}"#,
            "{\"model\":",
        ] {
            assert_eq!(rename(body, "m"), None, "{body}");
        }
    }

    #[test]
    fn a_server_serves_what_it_names_or_everything() {
        assert_eq!(Models::Any.name_of("m"), Some("m"));
        let named = Models::Named([("m".to_owned(), "deployment".to_owned())].into());
        assert_eq!(named.name_of("m"), Some("deployment"));
        assert_eq!(named.name_of("n"), None);
        assert!(Models::Any.asked_as("m").eq(["m"]));
        assert!(named.asked_as("deployment").eq(["m"]));
        assert_eq!(named.asked_as("m").count(), 0);
    }

    #[test]
    fn debug_shows_no_key() {
        let endpoint = Endpoint {
            name: "eu".to_owned(),
            base_url: "https://host/v1?sig=hunter1".to_owned(),
            keys: vec![SecretString::from("hunter2")],
            requests_per_minute: NonZeroU64::new(600),
            tokens_per_minute: None,
            adaptive_concurrency: false,
            style: Style::Azure,
            price: 1.0,
            models: Models::Any,
        };
        assert_eq!(
            format!("{endpoint:?}"),
            "Endpoint { name: \"eu\", base_url: \"https://host/v1?…\", keys: 1, requests_per_minute: Some(600), \
             tokens_per_minute: None, adaptive_concurrency: false, style: Azure, price: 1.0, models: Any }"
        );
    }
}
