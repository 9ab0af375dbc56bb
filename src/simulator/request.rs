//! Reads a chat completion request, or says in OpenAI's way what is wrong with it.

use axum::body::{Body, to_bytes};
use hyper::{
    HeaderMap,
    body::Incoming,
    header::{AUTHORIZATION, HeaderValue},
};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::Value;

use super::{reply::Refusal, state::State};

/// Room for the longest prompt that a task may have, escaped.
const BODY_MAX: usize = 8 * 1024 * 1024;
/// The largest `max_tokens` that is believed.
const TOKENS_MAX: u64 = 1_000_000;

/// A request that is valid.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) model: String,
    /// The text of the last user message.
    pub(super) prompt: String,
    /// The text of all messages together, in bytes.
    pub(super) input_bytes: usize,
    pub(super) max_tokens: Option<u64>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

/// Reads and checks a request.
pub(super) async fn read(
    state: &State,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Asked, Refusal> {
    check_key(state, headers)?;
    let body = to_bytes(Body::new(body), BODY_MAX)
        .await
        .map_err(|_| Refusal::too_large())?;
    let wire: Wire = serde_json::from_slice(&body).map_err(|_| {
        Refusal::invalid("the body is not a JSON object of the expected types", None)
    })?;
    let model = wire
        .model
        .filter(|model| !model.is_empty())
        .ok_or_else(|| Refusal::invalid("you must provide a model parameter", Some("model")))?;
    if !state.models.is_empty() && !state.models.contains(&model) {
        return Err(Refusal::unknown_model());
    }
    if wire.n.is_some_and(|n| n != 1) {
        return Err(Refusal::invalid(
            "the simulation gives one choice only",
            Some("n"),
        ));
    }
    let max_tokens = wire.max_completion_tokens.or(wire.max_tokens);
    if max_tokens.is_some_and(|max| max == 0 || max > TOKENS_MAX) {
        return Err(Refusal::invalid(
            "max_tokens is out of range",
            Some("max_tokens"),
        ));
    }
    let messages = wire.messages.unwrap_or_default();
    if messages.is_empty() {
        return Err(Refusal::invalid(
            "messages must not be empty",
            Some("messages"),
        ));
    }
    let texts: Vec<String> = messages.iter().map(Message::text).collect();
    let last_user = messages.iter().rposition(|message| message.role == "user");
    Ok(Asked {
        model,
        input_bytes: texts.iter().map(String::len).sum(),
        prompt: texts
            .into_iter()
            .nth(last_user.unwrap_or(messages.len() - 1))
            .unwrap_or_default(),
        max_tokens,
        stream: wire.stream.unwrap_or(false),
        include_usage: wire
            .stream_options
            .is_some_and(|options| options.include_usage),
    })
}

/// Refuses a request without the key that the simulation asks for.
pub(super) fn check_key(state: &State, headers: &HeaderMap) -> Result<(), Refusal> {
    match &state.api_key {
        Some(key) if bearer(headers) != Some(key.expose_secret()) => Err(Refusal::wrong_key()),
        _ => Ok(()),
    }
}

/// The bearer key that a request carries.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(AUTHORIZATION)
        .map(HeaderValue::to_str)?
        .ok()?
        .strip_prefix("Bearer ")
}

#[derive(Deserialize)]
struct Wire {
    model: Option<String>,
    messages: Option<Vec<Message>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    n: Option<u64>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: Option<Value>,
}

impl Message {
    fn text(&self) -> String {
        match &self.content {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => parts
                .iter()
                .filter_map(|part| part.get("text")?.as_str())
                .collect(),
            _ => String::new(),
        }
    }
}
