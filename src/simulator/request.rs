//! Reads a request of any kind, or says in OpenAI's way what is wrong with it.

use axum::body::{Body, to_bytes};
use hyper::{
    HeaderMap,
    body::Incoming,
    header::{AUTHORIZATION, HeaderValue},
};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::Value;

use super::{
    input::{Input, Message},
    reply::Refusal,
    state::State,
};
use crate::model::Kind;

/// Room for the longest prompt that a task may have, escaped.
const BODY_MAX: usize = 8 * 1024 * 1024;
/// The largest `max_tokens` that is believed.
const TOKENS_MAX: u64 = 1_000_000;
/// The longest vectors that embeddings have.
const DIMENSIONS_MAX: usize = 4096;
/// How long they are unless the request says otherwise.
const DIMENSIONS: usize = 16;

/// A request that is valid.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) kind: Kind,
    pub(super) model: String,
    /// What is to be answered.
    pub(super) input: Input,
    pub(super) max_tokens: Option<u64>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) vectors: Vectors,
}

/// How embeddings are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vectors {
    pub(super) dimensions: usize,
    pub(super) as_base64: bool,
}

/// Reads and checks a request.
pub(super) async fn read(
    state: &State,
    kind: Kind,
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
        .clone()
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
    if wire.background == Some(true) {
        return Err(Refusal::invalid(
            "the simulation answers in its reply only",
            Some("background"),
        ));
    }
    let max_tokens = wire
        .max_completion_tokens
        .or(wire.max_output_tokens)
        .or(wire.max_tokens);
    if max_tokens.is_some_and(|max| max == 0 || max > TOKENS_MAX) {
        return Err(Refusal::invalid(
            "max_tokens is out of range",
            Some("max_tokens"),
        ));
    }
    let vectors = vectors(&wire)?;
    let stream = kind.is_streamed() && wire.stream == Some(true);
    let include_usage = wire
        .stream_options
        .as_ref()
        .is_some_and(|options| options.include_usage);
    Ok(Asked {
        kind,
        model,
        input: input(kind, wire)?,
        max_tokens,
        stream,
        include_usage,
        vectors,
    })
}

fn input(kind: Kind, wire: Wire) -> Result<Input, Refusal> {
    match kind {
        Kind::Chat => Input::of_messages(wire.messages.unwrap_or_default()),
        Kind::Response => Input::of_items(wire.instructions, wire.input.unwrap_or_default()),
        Kind::Completion => Input::of_prompt(&wire.prompt.unwrap_or_default()),
        Kind::Embedding => Input::of_list(&wire.input.unwrap_or_default()),
    }
}

fn vectors(wire: &Wire) -> Result<Vectors, Refusal> {
    let dimensions = wire.dimensions.unwrap_or(DIMENSIONS);
    if !(1..=DIMENSIONS_MAX).contains(&dimensions) {
        return Err(Refusal::invalid(
            "dimensions is out of range",
            Some("dimensions"),
        ));
    }
    let as_base64 = match wire.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            return Err(Refusal::invalid(
                "encoding_format must be float or base64",
                Some("encoding_format"),
            ));
        }
    };
    Ok(Vectors {
        dimensions,
        as_base64,
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
    /// Of chat completions.
    messages: Option<Vec<Message>>,
    /// Of responses and of embeddings.
    input: Option<Value>,
    instructions: Option<String>,
    /// Of plain completions.
    prompt: Option<Value>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    n: Option<u64>,
    background: Option<bool>,
    dimensions: Option<usize>,
    encoding_format: Option<String>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}
