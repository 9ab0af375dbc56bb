//! Answers that come as choices: chat completions have a message in each, plain completions a text.

use serde::Deserialize;
use serde_json::Value;

use super::{NoAnswer, Said, UNKNOWN, is_something, string, usage};
use crate::{model::Outcome, upstream::error_body::ErrorBody};

/// The first choice.
pub(super) fn read(body: &str) -> Result<Outcome, NoAnswer> {
    let reply: Reply = serde_json::from_str(body).map_err(|_| NoAnswer::Unreadable)?;
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
    let finish_reason = string(choice.finish_reason.as_ref()).unwrap_or_else(|| UNKNOWN.to_owned());
    let truncated = finish_reason == "length";
    let filtered = finish_reason == "content_filter";
    let said = said(choice);
    // A filter, or a token limit spent on reasoning, may leave nothing at all, and asking again would change nothing.
    if !said.is_answer() && !truncated && !filtered {
        return Err(NoAnswer::Unreadable);
    }
    Ok(Outcome {
        text: said.text.unwrap_or_default(),
        model: string(reply.model.as_ref()).unwrap_or_default(),
        finish_reason,
        usage: usage(reply.usage.as_ref()),
        truncated,
        filtered,
        refused: said.refused,
        ..Outcome::default()
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

fn said(choice: Choice) -> Said {
    let message = choice.message.unwrap_or_default();
    let mut said = Said {
        elsewhere: [&message.tool_calls, &message.function_call, &message.audio]
            .into_iter()
            .flatten()
            .any(is_something),
        ..Said::default()
    };
    if let Some(content) = message.content.or(choice.text) {
        said.add_content(&content);
    }
    if let Some(words) = string(message.refusal.as_ref()) {
        said.refuse(&words);
    }
    said
}
