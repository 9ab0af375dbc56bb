//! Reads a reply under status 200: strict only about there being an answer, lenient about everything else. What an
//! answer is follows from the kind of the call; there is one reader for each.

mod choice;
mod embedding;
mod response;

use serde_json::Value;

use super::error_body::ErrorBody;
use crate::model::{Kind, Outcome, Usage};

pub(super) use response::text_of;

/// Shown where the upstream did not say why the model stopped.
const UNKNOWN: &str = "unknown";

/// Why a reply under status 200 is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// It is an error all the same.
    Error(ErrorBody),
    /// It is no JSON, or has nothing that a model said.
    Unreadable,
}

/// The outcome in `body`, which is kept as it is. `asked` is the model to name where the reply names none.
pub(super) fn read(kind: Kind, body: String, asked: &str) -> Result<Outcome, NoAnswer> {
    let outcome = match kind {
        Kind::Chat | Kind::Completion => choice::read(&body)?,
        Kind::Response => response::read(&body)?,
        Kind::Embedding => embedding::read(&body)?,
    };
    let model = match outcome.model.is_empty() {
        true => asked.to_owned(),
        false => outcome.model,
    };
    Ok(Outcome {
        model,
        body,
        ..outcome
    })
}

/// What the model said.
#[derive(Default)]
struct Said {
    text: Option<String>,
    refused: bool,
    /// The answer is in parts that are no text; the body has them.
    elsewhere: bool,
}

impl Said {
    /// Adds what is text as it stands, or a list of parts.
    fn add_content(&mut self, content: &Value) {
        match content {
            Value::String(text) => self.add_text(text),
            Value::Array(parts) => parts.iter().for_each(|part| self.add_part(part)),
            _ => {}
        }
    }

    fn add_part(&mut self, part: &Value) {
        if let Some(text) = part.get("text").and_then(Value::as_str) {
            self.add_text(text);
        } else if let Some(words) = part.get("refusal").and_then(Value::as_str) {
            self.refuse(words);
        }
    }

    fn add_text(&mut self, text: &str) {
        self.text.get_or_insert_default().push_str(text);
    }

    /// A refusal's words stand for the text where there is none.
    fn refuse(&mut self, words: &str) {
        self.refused = true;
        if self.text.as_deref().unwrap_or_default().is_empty() {
            self.text = Some(words.to_owned());
        }
    }

    /// Whether it said anything, and be it nothing.
    fn is_answer(&self) -> bool {
        self.text.is_some() || self.elsewhere
    }
}

/// What was used, by either of the names that each count has.
fn usage(usage: Option<&Value>) -> Usage {
    let count = |names: [&str; 2]| {
        let found = names.iter().find_map(|name| usage?.get(name));
        found.map_or(0, tokens)
    };
    let part = |names: [&str; 2], part: &str| {
        let found = names.iter().find_map(|name| usage?.get(name)?.get(part));
        found.map_or(0, tokens)
    };
    Usage {
        input_tokens: count(["prompt_tokens", "input_tokens"]),
        output_tokens: count(["completion_tokens", "output_tokens"]),
        cached_input_tokens: part(
            ["prompt_tokens_details", "input_tokens_details"],
            "cached_tokens",
        ),
        reasoning_tokens: part(
            ["completion_tokens_details", "output_tokens_details"],
            "reasoning_tokens",
        ),
        cost_nanos: 0,
    }
}

/// A count of tokens, which some servers write as a float.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and a negative count is none"
)]
fn tokens(value: &Value) -> u64 {
    value
        .as_u64()
        .or_else(|| value.as_f64().map(|count| count as u64))
        .unwrap_or(0)
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
        _ => false,
    }
}

/// A text that says something.
fn string(value: Option<&Value>) -> Option<String> {
    match value {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "reply_kind_tests.rs"]
mod kind_tests;
