//! Embeddings: vectors, which only the body has. Nothing of them is read but that they are there.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{NoAnswer, string, tokens, usage};
use crate::{
    model::{Outcome, Usage},
    upstream::error_body::ErrorBody,
};

/// No text and no reason to stop: a vector for each input.
pub(super) fn read(body: &str) -> Result<Outcome, NoAnswer> {
    let reply: Reply<'_> = serde_json::from_str(body).map_err(|_| NoAnswer::Unreadable)?;
    if let Some(error) = &reply.error {
        return Err(NoAnswer::Error(ErrorBody::read(error)));
    }
    let vectors = reply.data.unwrap_or_default();
    let is_whole = vectors.iter().all(|item| item.embedding.is_some_and(holds));
    if vectors.is_empty() || !is_whole {
        return Err(NoAnswer::Unreadable);
    }
    let mut used = usage(reply.usage.as_ref());
    if used == Usage::default() {
        let total = reply
            .usage
            .as_ref()
            .and_then(|usage| usage.get("total_tokens"));
        used.input_tokens = total.map_or(0, tokens);
    }
    Ok(Outcome {
        model: string(reply.model.as_ref()).unwrap_or_default(),
        usage: used,
        ..Outcome::default()
    })
}

/// Whether it is a vector: a list of numbers, or their bytes in Base64.
fn holds(embedding: &RawValue) -> bool {
    let text = embedding.get();
    let inner = |open, close| text.strip_prefix(open)?.strip_suffix(close);
    inner('[', ']')
        .or_else(|| inner('"', '"'))
        .is_some_and(|inner| !inner.trim_ascii().is_empty())
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    data: Option<Vec<Item<'a>>>,
    model: Option<Value>,
    usage: Option<Value>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    embedding: Option<&'a RawValue>,
}
