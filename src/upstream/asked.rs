//! What a call's body asks for, as far as its cost, or how its answer comes, depends on it.

use serde::Deserialize;
use serde_json::Value;

use super::pace::Cost;
use crate::model::Kind;

/// What a call with this body weighs.
pub(super) fn cost(kind: Kind, body: &[u8]) -> Cost {
    Cost {
        bytes: body.len(),
        max_tokens: max_tokens(kind, body),
    }
}

/// How many choices the answer to a body has.
pub(super) fn choices(body: &[u8]) -> usize {
    let choices = Asked::read(body).map_or(1, |asked| asked.choices(asked.n()));
    usize::try_from(choices).unwrap_or(usize::MAX)
}

/// The longest answer that a body lets the model give, over all its choices; none where it names no length.
fn max_tokens(kind: Kind, body: &[u8]) -> Option<u64> {
    if !kind.is_sampled() {
        // The model writes nothing.
        return Some(0);
    }
    let asked = Asked::read(body)?;
    let most = [
        &asked.max_completion_tokens,
        &asked.max_output_tokens,
        &asked.max_tokens,
    ]
    .into_iter()
    .flatten()
    .find_map(Value::as_u64)?;
    let written = asked.n().max(whole(asked.best_of.as_ref()));
    Some(most.saturating_mul(asked.choices(written)))
}

#[derive(Deserialize)]
struct Asked {
    max_completion_tokens: Option<Value>,
    max_output_tokens: Option<Value>,
    max_tokens: Option<Value>,
    n: Option<Value>,
    best_of: Option<Value>,
    prompt: Option<Value>,
}

impl Asked {
    fn read(body: &[u8]) -> Option<Asked> {
        serde_json::from_slice(body).ok()
    }

    fn n(&self) -> u64 {
        whole(self.n.as_ref())
    }

    /// So many for each prompt. A list of numbers is one prompt, already cut into tokens.
    fn choices(&self, each: u64) -> u64 {
        let prompts = match &self.prompt {
            Some(Value::Array(prompts)) if !prompts.iter().any(Value::is_number) => prompts.len(),
            _ => 1,
        };
        each.saturating_mul(prompts.max(1) as u64)
    }
}

/// At least 1.
fn whole(value: Option<&Value>) -> u64 {
    value.and_then(Value::as_u64).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_found_under_each_of_its_names() {
        for (body, most) in [
            (r#"{"max_tokens":7}"#, Some(7)),
            (r#"{"max_completion_tokens":8,"max_tokens":7}"#, Some(8)),
            (r#"{"max_output_tokens":9,"input":"x"}"#, Some(9)),
            (r#"{"max_tokens":7,"n":3}"#, Some(21)),
            (r#"{"max_tokens":7,"n":2,"best_of":5}"#, Some(35)),
            (r#"{"max_tokens":7,"n":2,"prompt":["a","b"]}"#, Some(28)),
            (r#"{"max_tokens":7,"prompt":[[1,2],[3]]}"#, Some(14)),
            (r#"{"max_tokens":7,"prompt":[1,2,3]}"#, Some(7)),
            (r#"{"max_tokens":7,"prompt":[]}"#, Some(7)),
            (r#"{"max_tokens":"7"}"#, None),
            (r#"{"max_tokens":null,"messages":[{"max_tokens":1}]}"#, None),
            (r#"{"max_tokens":-1}"#, None),
            ("[]", None),
            ("no json", None),
        ] {
            assert_eq!(
                max_tokens(Kind::Completion, body.as_bytes()),
                most,
                "{body}"
            );
        }
    }

    #[test]
    fn where_nothing_is_written_nothing_is_reserved_for_it() {
        let cost = cost(Kind::Embedding, br#"{"input":"a","max_tokens":7}"#);
        assert_eq!((cost.bytes, cost.max_tokens), (28, Some(0)));
    }

    #[test]
    fn every_prompt_has_as_many_choices_as_are_asked_for() {
        for (body, expected) in [
            (r#"{"model":"m"}"#, 1),
            (r#"{"n":3}"#, 3),
            (r#"{"n":0}"#, 1),
            (r#"{"n":null,"best_of":4}"#, 1),
            (r#"{"prompt":"a","n":2}"#, 2),
            (r#"{"prompt":["a","b","c"],"n":2,"best_of":4}"#, 6),
            (r#"{"prompt":{"id":"p"}}"#, 1),
            ("no json", 1),
        ] {
            assert_eq!(choices(body.as_bytes()), expected, "{body}");
        }
    }
}
