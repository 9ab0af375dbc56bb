//! What the simulation says: answers, errors and the list of models.

use axum::body::Body;
use hyper::{
    Response,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Fault, RetryAfter,
    limit::{Ask, RateHeaders},
    request::{Asked, Vectors},
};
use crate::{
    clock::{Clock, SystemClock},
    model::Kind,
};

/// Says on every reply that no model answered.
const SIMULATED: &str = "x-tidings-simulated";
/// The owner of the simulated models.
const OWNER: &str = "tidings-simulation";
/// The model that is listed where none is configured.
const DEFAULT_MODEL: &str = "simulated-model";
/// A token is about this long in English.
const BYTES_PER_TOKEN: u64 = 4;

/// What answers are lengthened with.
const FILLER: &str = " and so on";

/// The answer to a prompt that is neither lengthened nor cut by a token limit: `simulated:` and [`hash16`] of the prompt.
pub fn answer_to(prompt: &str) -> String {
    format!("simulated:{}", hash16(prompt))
}

/// The first 16 hexadecimal digits of the BLAKE3 hash of `text`.
pub fn hash16(text: &str) -> String {
    let mut hex = blake3::hash(text.as_bytes()).to_hex();
    hex.truncate(16);
    hex.to_string()
}

/// The answer to one call.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) kind: Kind,
    pub(super) id: String,
    pub(super) created: i64,
    pub(super) model: String,
    /// Empty where the answer is vectors.
    pub(super) text: String,
    pub(super) finish_reason: &'static str,
    /// What each of the vectors stands for.
    pub(super) inputs: Vec<String>,
    pub(super) vectors: Vectors,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
}

impl Answer {
    /// Answers `asked` as the reply of this number, with about as many tokens as `length` says.
    pub(super) fn of(asked: Asked, number: u64, length: Option<u64>) -> Self {
        let (text, finish_reason, output_tokens) = if asked.kind.is_sampled() {
            write(&asked, length)
        } else {
            (String::new(), "stop", 0)
        };
        Answer {
            id: match asked.kind {
                Kind::Chat => format!("chatcmpl-simulated-{number}"),
                Kind::Completion => format!("cmpl-simulated-{number}"),
                Kind::Response => format!("resp_simulated_{number}"),
                // They have none.
                Kind::Embedding => String::new(),
            },
            kind: asked.kind,
            created: SystemClock.now().0 / 1000,
            input_tokens: tokens(asked.input.bytes),
            model: asked.model,
            text,
            finish_reason,
            inputs: asked.input.list,
            vectors: asked.vectors,
            output_tokens,
        }
    }
}

/// What the model writes, why it stops, and how many tokens that is.
fn write(asked: &Asked, length: Option<u64>) -> (String, &'static str, u64) {
    let mut text = answer_to(&asked.input.prompt);
    let wanted = usize::try_from(length.unwrap_or_default() * BYTES_PER_TOKEN);
    let missing = wanted.unwrap_or_default().saturating_sub(text.len());
    text.extend(FILLER.chars().cycle().take(missing));
    let whole = tokens(text.len());
    let written = asked.max_tokens.unwrap_or(whole).min(whole);
    if written == whole {
        return (text, "stop", whole);
    }
    // All ASCII, so any place is a boundary.
    text.truncate(usize::try_from(written * BYTES_PER_TOKEN).unwrap_or(usize::MAX));
    (text, "length", written)
}

/// What a call wants of the limits.
pub(super) fn ask(asked: &Asked) -> Ask {
    let answer = tokens(answer_to("").len());
    Ask {
        input: tokens(asked.input.bytes),
        output: match asked.kind.is_sampled() {
            true => asked.max_tokens.unwrap_or(answer),
            false => 0,
        },
    }
}

/// About how many tokens a text of so many bytes has.
pub(super) fn tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(BYTES_PER_TOKEN)
}

/// Why a call gets an error, in OpenAI's shape.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Refusal {
    #[serde(skip)]
    pub(super) status: u16,
    message: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

impl Refusal {
    pub(super) fn of(
        status: u16,
        kind: &'static str,
        code: Option<&'static str>,
        message: &'static str,
    ) -> Self {
        Refusal {
            status,
            message,
            kind,
            param: None,
            code,
        }
    }

    pub(super) fn invalid(message: &'static str, param: Option<&'static str>) -> Self {
        Refusal {
            param,
            ..Refusal::of(400, "invalid_request_error", None, message)
        }
    }

    pub(super) fn too_large() -> Self {
        Refusal::of(
            413,
            "invalid_request_error",
            None,
            "the body is too large or broke off",
        )
    }

    pub(super) fn wrong_key() -> Self {
        Refusal::of(
            401,
            "invalid_request_error",
            Some("invalid_api_key"),
            "incorrect API key provided",
        )
    }

    pub(super) fn unknown_model() -> Self {
        Refusal::of(
            404,
            "invalid_request_error",
            Some("model_not_found"),
            "the simulation serves no such model",
        )
    }

    /// The error of an injected status.
    pub(super) fn injected(status: u16) -> Self {
        let request = "invalid_request_error";
        let (kind, code) = match status {
            401 => (request, Some("invalid_api_key")),
            404 => (request, Some("model_not_found")),
            429 => ("requests", Some("rate_limit_exceeded")),
            400..=499 => (request, None),
            _ => ("server_error", None),
        };
        Refusal::of(status, kind, code, "an injected fault of the simulation")
    }

    /// The error of a fault that is one; none for faults that break the reply itself.
    pub(super) fn of_fault(fault: &Fault) -> Option<Self> {
        let message = "an injected fault of the simulation";
        match fault {
            Fault::Status(status) => Some(Refusal::injected(*status)),
            Fault::RetryAfter(_) => Some(Refusal::injected(429)),
            Fault::InsufficientQuota => {
                let code = "insufficient_quota";
                Some(Refusal::of(429, code, Some(code), message))
            }
            Fault::ContextLength => {
                let code = Some("context_length_exceeded");
                Some(Refusal::of(400, "invalid_request_error", code, message))
            }
            _ => None,
        }
    }

    pub(super) fn response(&self, number: u64) -> Response<Body> {
        let mut response = json_reply(self.status, number, &json!({ "error": self }));
        if (300..400).contains(&self.status) {
            let elsewhere = HeaderValue::from_static("/v1/elsewhere");
            response.headers_mut().insert("location", elsewhere);
        }
        response
    }
}

/// The headers of an injected fault.
pub(super) fn headers_of_fault(fault: &Fault) -> RateHeaders {
    let mut headers = Vec::new();
    if let Fault::RetryAfter(wait) = fault {
        RetryAfter::Seconds.tell(*wait, SystemClock.now(), &mut headers);
    }
    headers
}

/// The list of models.
pub(super) fn models(models: &[String], number: u64) -> Response<Body> {
    let default = [DEFAULT_MODEL.to_owned()];
    let listed = if models.is_empty() {
        &default[..]
    } else {
        models
    };
    let data: Vec<Value> = listed
        .iter()
        .map(|id| json!({"id": id, "object": "model", "created": 0, "owned_by": OWNER}))
        .collect();
    json_reply(200, number, &json!({"object": "list", "data": data}))
}

/// A reply with a JSON body.
pub(super) fn json_reply(status: u16, number: u64, body: &Value) -> Response<Body> {
    reply(
        status,
        number,
        "application/json",
        Body::from(body.to_string()),
    )
}

/// A reply, marked as simulated.
pub(super) fn reply(
    status: u16,
    number: u64,
    content_type: &'static str,
    body: Body,
) -> Response<Body> {
    let mut response = Response::new(body);
    // Statuses are checked where faults are read; another one is shown as what it is, an error of ours.
    *response.status_mut() = status.try_into().unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(SIMULATED, HeaderValue::from_static("true"));
    if let Ok(id) = HeaderValue::from_str(&format!("req_simulated_{number}")) {
        headers.insert("x-request-id", id);
    }
    response
}

/// Adds headers to a reply.
pub(super) fn add_headers(response: &mut Response<Body>, headers: RateHeaders) {
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
}
