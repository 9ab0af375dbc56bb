//! Reads a reply under status 200: strict only about there being an answer, lenient about everything else.

use serde::Deserialize;
use serde_json::Value;

use super::error_body::ErrorBody;
use crate::model::{Outcome, Usage};

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
pub(super) fn read(body: String, asked: &str) -> Result<Outcome, NoAnswer> {
    let reply: Reply = serde_json::from_str(&body).map_err(|_| NoAnswer::Unreadable)?;
    if let Some(error) = &reply.error {
        return Err(NoAnswer::Error(ErrorBody::read(error)));
    }
    let choice = reply
        .choices
        .and_then(|choices| choices.into_iter().next())
        .ok_or(NoAnswer::Unreadable)?;
    if let Some(error) = &choice.error {
        return Err(NoAnswer::Error(ErrorBody::read(error)));
    }
    let finish_reason = string(&choice.finish_reason).unwrap_or_else(|| UNKNOWN.to_owned());
    let truncated = finish_reason == "length";
    let filtered = finish_reason == "content_filter";
    let said = Said::of(choice);
    // A filter, or a token limit spent on reasoning, may leave nothing at all, and asking again would change nothing.
    if said.text.is_none() && !said.elsewhere && !truncated && !filtered {
        return Err(NoAnswer::Unreadable);
    }
    Ok(Outcome {
        text: said.text.unwrap_or_default(),
        model: string(&reply.model).unwrap_or_else(|| asked.to_owned()),
        finish_reason,
        usage: usage(reply.usage.as_ref()),
        truncated,
        filtered,
        refused: said.refused,
        cached: None,
        body,
    })
}

#[derive(Deserialize)]
struct Reply {
    choices: Option<Vec<Choice>>,
    model: Option<Value>,
    usage: Option<Value>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    message: Option<Message>,
    /// What a plain completion has instead of a message.
    text: Option<Value>,
    finish_reason: Option<Value>,
    /// How OpenRouter reports a provider that failed half-way.
    error: Option<Value>,
}

#[derive(Default, Deserialize)]
struct Message {
    content: Option<Value>,
    refusal: Option<Value>,
    tool_calls: Option<Value>,
    function_call: Option<Value>,
    audio: Option<Value>,
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
    fn of(choice: Choice) -> Self {
        let message = choice.message.unwrap_or_default();
        let mut said = Said {
            elsewhere: [&message.tool_calls, &message.function_call, &message.audio]
                .into_iter()
                .flatten()
                .any(is_something),
            ..Said::default()
        };
        match message.content.or(choice.text) {
            Some(Value::String(text)) => said.text = Some(text),
            Some(Value::Array(parts)) => parts.iter().for_each(|part| said.add(part)),
            _ => {}
        }
        if let Some(Value::String(words)) = message.refusal
            && !words.is_empty()
        {
            said.refuse(&words);
        }
        said
    }

    fn add(&mut self, part: &Value) {
        if let Some(text) = part.get("text").and_then(Value::as_str) {
            self.text.get_or_insert_default().push_str(text);
        } else if let Some(words) = part.get("refusal").and_then(Value::as_str) {
            self.refuse(words);
        }
    }

    /// A refusal's words stand for the text where there is none.
    fn refuse(&mut self, words: &str) {
        self.refused = true;
        if self.text.as_deref().unwrap_or_default().is_empty() {
            self.text = Some(words.to_owned());
        }
    }
}

fn usage(usage: Option<&Value>) -> Usage {
    let count = |path: &str| {
        usage
            .and_then(|usage| usage.pointer(path))
            .map_or(0, tokens)
    };
    Usage {
        input_tokens: count("/prompt_tokens"),
        output_tokens: count("/completion_tokens"),
        cached_input_tokens: count("/prompt_tokens_details/cached_tokens"),
        reasoning_tokens: count("/completion_tokens_details/reasoning_tokens"),
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

fn string(value: &Option<Value>) -> Option<String> {
    match value {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
