//! One call to an OpenAI-compatible server: sent, read leniently, and judged when it fails.
//!
//! [`Router::complete`] is the whole face of this room. What comes back is a [`model::Outcome`](crate::model::Outcome)
//! or a [`model::Failed`](crate::model::Failed): a failure that says what may be done about it. The way through:
//! `route` (which endpoint and key; `board`, `aside` and `breaker` decide) and `flight` → `client` (loop) → `pacer` and
//! `queue` (its turn, by the schedule of `pace`, which `shared` keeps for all processes) → `request` and `transport` (the
//! send) → `rate_headers` (what the reply tells of limits), `reply` (a 200) or `error_body` (anything else) → `taxonomy`
//! (the one table of what each failure means). An answer that comes as a stream is put together on the way: `stream` →
//! `sse` (bytes to events) → `assemble` and `merge` (events to the body of one piece). What a reply or a stream looks
//! like follows from the call's [`Kind`]: `reply` and `assemble` have one reader for each.

mod aside;
mod ask;
mod asked;
mod assemble;
#[doc(hidden)]
pub mod bench;
mod board;
mod breaker;
mod cache;
mod client;
mod code;
mod endpoint;
mod error_body;
mod flight;
mod merge;
mod overrule;
mod pace;
mod pacer;
mod patience;
mod queue;
mod rate_headers;
mod reply;
mod request;
mod retry_after;
mod route;
mod shared;
mod sse;
mod stream;
mod taxonomy;
mod transport;
mod unsent;

use std::{fmt, num::NonZeroU64, sync::Arc, time::Duration};

use bytes::Bytes;
use secrecy::SecretString;
use serde::Serialize;
use url::Url;

use crate::model::Kind;

pub use cache::{cache_key, request};
pub use client::Client;
pub use endpoint::{Endpoint, Models, Style};
pub use route::Router;
pub use shared::{Shared, Slot};

/// Which server to call, and as whom.
#[derive(Clone)]
pub struct Config {
    /// Where the API is, up to and with the version: `https://api.openai.com/v1`. A query is kept.
    pub base_url: String,
    /// Sent as a bearer token; none for servers that ask for none.
    pub api_key: Option<SecretString>,
    /// Calls of one model that the key may make in a minute; none leaves it to what the server tells, or to be found.
    pub requests_per_minute: Option<NonZeroU64>,
    /// Tokens of one model that the key may use in a minute, prompts and answers together.
    pub tokens_per_minute: Option<NonZeroU64>,
    /// How many calls of one model are under way at once follows how long answers take: for a server of one's own,
    /// which tells no limit, refuses nothing and only gets slower.
    pub adaptive_concurrency: bool,
}

impl Config {
    /// A server that asks for no key and whose limits are not known.
    pub fn new(base_url: impl Into<String>) -> Self {
        Config {
            base_url: base_url.into(),
            api_key: None,
            requests_per_minute: None,
            tokens_per_minute: None,
            adaptive_concurrency: false,
        }
    }

    /// The base URL as a person may see it: without user, password and query, any of which may hold a key.
    pub fn shown_url(&self) -> String {
        shown_url(&self.base_url)
    }
}

fn shown_url(base_url: &str) -> String {
    let Ok(mut url) = Url::parse(base_url) else {
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

/// Shows neither the key nor what else in the URL might be secret.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("base_url", &self.shown_url())
            .field("api_key", &self.api_key.as_ref().map(|_| "***"))
            .field("requests_per_minute", &self.requests_per_minute)
            .field("tokens_per_minute", &self.tokens_per_minute)
            .field("adaptive_concurrency", &self.adaptive_concurrency)
            .finish()
    }
}

/// One request, ready to send.
#[derive(Clone)]
pub struct Call {
    /// What is asked for: where it goes, and what the reply is read as.
    pub kind: Kind,
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
    /// Hears the answer as it comes; the upstream is asked for a stream then. A server that answers in one piece all
    /// the same is as good.
    pub listener: Option<Arc<dyn Listener>>,
}

/// Hears an answer as it comes. What it hears by the end of a call that succeeds is the outcome's text.
pub trait Listener: Send + Sync {
    /// A send begins; what was heard before it is not part of the answer.
    fn begin(&self);

    /// The answer goes on with `text`.
    fn hear(&self, text: &str);
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
            .field("kind", &self.kind)
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
    Client(#[source] rustls::Error),
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
            api_key: Some(SecretString::from("sk-hunter4")),
            ..Config::new("https://me:hunter2@host/v1?sig=hunter3")
        };
        assert_eq!(
            format!("{config:?}"),
            "Config { base_url: \"https://host/v1?…\", api_key: Some(\"***\"), requests_per_minute: None, \
             tokens_per_minute: None, adaptive_concurrency: false }"
        );
        let call = Call {
            kind: Kind::Chat,
            body: Call::prompt_body("m", "hunter5"),
            timeout: Duration::from_secs(1),
            idempotency_key: "k".to_owned(),
            request_id: "r".to_owned(),
            model: "m".to_owned(),
            listener: None,
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
