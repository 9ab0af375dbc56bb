//! What a call's body asks for, as far as its cost depends on it.

use serde::Deserialize;
use serde_json::Value;

use super::pace::Cost;

/// What a call with this body weighs.
pub(super) fn cost(body: &[u8]) -> Cost {
    Cost {
        bytes: body.len(),
        max_tokens: max_tokens(body),
    }
}

/// The longest answer that a body lets the model give, over all its choices; none where it names no length.
fn max_tokens(body: &[u8]) -> Option<u64> {
    let asked: Asked = serde_json::from_slice(body).ok()?;
    let most = [
        asked.max_completion_tokens,
        asked.max_output_tokens,
        asked.max_tokens,
    ]
    .into_iter()
    .flatten()
    .find_map(|value| value.as_u64())?;
    let choices = asked.n.and_then(|value| value.as_u64()).unwrap_or(1);
    Some(most.saturating_mul(choices.max(1)))
}

#[derive(Deserialize)]
struct Asked {
    max_completion_tokens: Option<Value>,
    max_output_tokens: Option<Value>,
    max_tokens: Option<Value>,
    n: Option<Value>,
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
            (r#"{"max_tokens":"7"}"#, None),
            (r#"{"max_tokens":null,"messages":[{"max_tokens":1}]}"#, None),
            (r#"{"max_tokens":-1}"#, None),
            ("[]", None),
            ("no json", None),
        ] {
            assert_eq!(max_tokens(body.as_bytes()), most, "{body}");
        }
    }
}
