//! One call to an OpenAI-compatible server: sent, read leniently, and judged when it fails.
//!
//! [`Client::complete`] is the whole face of this room. What comes back is a [`model::Outcome`](crate::model::Outcome)
//! or a [`model::Failed`](crate::model::Failed): a failure that says what may be done about it. The way through:
//! `client` (loop) → `gate` (held back by a 429?) → `request` and `transport` (the send) → `reply` (a 200) or `error_body` (anything
//! else) → `taxonomy` (the one table of what each failure means).

mod cache;
mod client;
mod error_body;
mod gate;
mod reply;
mod request;
mod retry_after;
mod taxonomy;
mod transport;

use std::{fmt, time::Duration};

use bytes::Bytes;
use reqwest::Url;
use secrecy::SecretString;
use serde::Serialize;

pub use cache::{cache_key, request};
pub use client::Client;

/// Which server to call, and as whom.
#[derive(Clone)]
pub struct Config {
    /// Where the API is, up to and with the version: `https://api.openai.com/v1`. A query is kept.
    pub base_url: String,
    /// Sent as a bearer token; none for servers that ask for none.
    pub api_key: Option<SecretString>,
}

impl Config {
    /// The base URL as a person may see it: without user, password and query, any of which may hold a key.
    pub fn shown_url(&self) -> String {
        let Ok(mut url) = Url::parse(&self.base_url) else {
            return "(invalid)".to_owned();
        };
        let had_query = url.query().is_some();
        url.set_query(None);
        if url.set_password(None).is_err() || url.set_username("").is_err() {
            return "(invalid)".to_owned();
        }
        if had_query {
            format!("{url}?…")
        } else {
            url.into()
        }
    }
}

/// Shows neither the key nor what else in the URL might be secret.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("base_url", &self.shown_url())
            .field("api_key", &self.api_key.as_ref().map(|_| "***"))
            .finish()
    }
}

/// One request, ready to send.
#[derive(Clone)]
pub struct Call {
    /// The path below the base URL: `/chat/completions`.
    pub path: String,
    /// The JSON body, sent as it is.
    pub body: Bytes,
    /// How long one send may take, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// The same for every send of which only one may count.
    pub idempotency_key: String,
    /// Ours, for the upstream's log.
    pub request_id: String,
    /// The model asked for: rate limits hold back calls of one model only.
    pub model: String,
}

impl Call {
    /// The body of a call with one user message. The text is passed on byte for byte.
    pub fn prompt_body(model: &str, text: &str) -> Bytes {
        let body = PromptBody {
            model,
            messages: [Message {
                role: "user",
                content: text,
            }],
        };
        // Two strings and two literals always serialise.
        Bytes::from(serde_json::to_vec(&body).unwrap_or_default())
    }
}

/// Leaves out the body, which holds the prompt.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("path", &self.path)
            .field("body_bytes", &self.body.len())
            .field("timeout", &self.timeout)
            .field("request_id", &self.request_id)
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The base URL cannot be used.
    #[error("use the upstream base URL: {0}")]
    BaseUrl(&'static str),
    /// The key cannot be sent in a header.
    #[error("use the upstream API key: it is empty or holds characters that a header cannot carry")]
    ApiKey,
    /// TLS or the connection pool could not be set up.
    #[error("set up the upstream client")]
    Client(#[source] reqwest::Error),
}

#[derive(Serialize)]
struct PromptBody<'a> {
    model: &'a str,
    messages: [Message<'a>; 1],
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_key_nor_query_nor_password_nor_prompt() {
        let config = Config {
            base_url: "https://me:hunter2@host/v1?sig=hunter3".to_owned(),
            api_key: Some(SecretString::from("sk-hunter4")),
        };
        assert_eq!(
            format!("{config:?}"),
            r#"Config { base_url: "https://host/v1?…", api_key: Some("***") }"#
        );
        let call = Call {
            path: "/chat/completions".to_owned(),
            body: Call::prompt_body("m", "hunter5"),
            timeout: Duration::from_secs(1),
            idempotency_key: "k".to_owned(),
            request_id: "r".to_owned(),
            model: "m".to_owned(),
        };
        assert!(!format!("{call:?}").contains("hunter5"));
    }

    #[test]
    fn a_prompt_is_passed_on_byte_for_byte() {
        let text = " \t\r\n\u{feff}\u{0}\u{2028}\"\\ é 🦀\u{301} ";
        let body = Call::prompt_body("gpt-4o-mini", text);
        let read: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(read["model"], "gpt-4o-mini");
        assert_eq!(read["messages"][0]["role"], "user");
        assert_eq!(read["messages"][0]["content"], text);
    }
}
