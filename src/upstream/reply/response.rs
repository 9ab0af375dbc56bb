//! Answers of the Responses API: a list of items, of which messages have the text.

use serde::Deserialize;
use serde_json::Value;

use super::{NoAnswer, Said, UNKNOWN, string, usage};
use crate::{model::Outcome, upstream::error_body::ErrorBody};

/// Items that are no answer by themselves.
const THOUGHT: &str = "reasoning";

/// The text of all messages.
pub(super) fn read(body: &str) -> Result<Outcome, NoAnswer> {
    let reply: Reply = serde_json::from_str(body).map_err(|_| NoAnswer::Unreadable)?;
    let status = string(reply.status.as_ref());
    match (&reply.error, status.as_deref()) {
        (Some(error), _) => return Err(NoAnswer::Error(ErrorBody::read(error))),
        (None, Some("failed")) => return Err(NoAnswer::Error(ErrorBody::default())),
        // The answer will be elsewhere, or nowhere.
        (None, Some("queued" | "in_progress" | "cancelled")) => return Err(NoAnswer::Unreadable),
        (None, _) => {}
    }
    let details = reply.incomplete_details.as_ref();
    let reason = string(details.and_then(|details| details.get("reason")));
    let is_cut = reason.is_some() || status.as_deref() == Some("incomplete");
    let filtered = reason.as_deref() == Some("content_filter");
    let said = said(&reply.output.unwrap_or_default());
    // As with choices: what a limit or a filter has left is an answer, and be it nothing.
    if !said.is_answer() && !is_cut {
        return Err(NoAnswer::Unreadable);
    }
    Ok(Outcome {
        text: said.text.unwrap_or_default(),
        model: string(reply.model.as_ref()).unwrap_or_default(),
        finish_reason: reason.or(status).unwrap_or_else(|| UNKNOWN.to_owned()),
        usage: usage(reply.usage.as_ref()),
        truncated: is_cut && !filtered,
        filtered,
        refused: said.refused,
        ..Outcome::default()
    })
}

/// The text that is read from these items.
pub(in crate::upstream) fn text_of(output: &[Value]) -> String {
    said(output).text.unwrap_or_default()
}

fn said(output: &[Value]) -> Said {
    let mut said = Said::default();
    for item in output {
        match item.get("type").and_then(Value::as_str) {
            Some("message") | None => {
                if let Some(content) = item.get("content") {
                    said.add_content(content);
                }
            }
            Some(THOUGHT) => {}
            // Calls of functions and other tools, pictures.
            Some(_) => said.elsewhere = true,
        }
    }
    said
}

#[derive(Deserialize)]
struct Reply {
    output: Option<Vec<Value>>,
    status: Option<Value>,
    incomplete_details: Option<Value>,
    model: Option<Value>,
    usage: Option<Value>,
    error: Option<Value>,
}
