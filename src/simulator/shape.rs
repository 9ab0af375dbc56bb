//! An answer as a body, in the shape that its kind has at OpenAI.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::reply::Answer;
use crate::model::Kind;

/// What answers are marked with, where they have no text to say it.
const FINGERPRINT: &str = "simulated";

/// The body of an answer in one piece.
pub(super) fn body(answer: &Answer) -> Value {
    match answer.kind {
        Kind::Chat => chat(answer),
        Kind::Completion => completion(answer),
        Kind::Response => response(answer),
        Kind::Embedding => embeddings(answer),
    }
}

/// The body without what was asked for.
pub(super) fn hollow(answer: &Answer) -> Value {
    let mut body = body(answer);
    let member = match answer.kind {
        Kind::Chat | Kind::Completion => "choices",
        Kind::Response => "output",
        Kind::Embedding => "data",
    };
    body[member] = json!([]);
    body
}

/// What an answer used.
pub(super) fn usage(answer: &Answer) -> Value {
    let (input, output) = (answer.input_tokens, answer.output_tokens);
    match answer.kind {
        Kind::Chat | Kind::Completion => json!({
            "prompt_tokens": input,
            "completion_tokens": output,
            "total_tokens": input + output,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }),
        Kind::Response => json!({
            "input_tokens": input,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": input + output,
        }),
        Kind::Embedding => json!({"prompt_tokens": input, "total_tokens": input}),
    }
}

/// The members that a chunk has as well, with these choices.
pub(super) fn with_choices(answer: &Answer, object: &str, choices: Value) -> Value {
    json!({
        "id": answer.id,
        "object": object,
        "created": answer.created,
        "model": answer.model,
        "system_fingerprint": FINGERPRINT,
        "choices": choices,
    })
}

fn chat(answer: &Answer) -> Value {
    let choice = json!({
        "index": 0,
        "message": {"role": "assistant", "content": answer.text, "refusal": null},
        "logprobs": null,
        "finish_reason": answer.finish_reason,
    });
    let mut body = with_choices(answer, "chat.completion", json!([choice]));
    body["usage"] = usage(answer);
    body
}

fn completion(answer: &Answer) -> Value {
    let choice = json!({
        "index": 0,
        "text": answer.text,
        "logprobs": null,
        "finish_reason": answer.finish_reason,
    });
    let mut body = with_choices(answer, "text_completion", json!([choice]));
    body["usage"] = usage(answer);
    body
}

fn response(answer: &Answer) -> Value {
    let mut body = begun(answer);
    let status = ended(answer);
    body["status"] = status.into();
    if status == "incomplete" {
        body["incomplete_details"] = json!({"reason": "max_output_tokens"});
    }
    body["output"] = json!([message(answer, status, json!([part(&answer.text)]))]);
    body["usage"] = usage(answer);
    body
}

/// A response of which nothing has come yet.
pub(super) fn begun(answer: &Answer) -> Value {
    json!({
        "id": answer.id,
        "object": "response",
        "created_at": answer.created,
        "status": "in_progress",
        "background": false,
        "error": null,
        "incomplete_details": null,
        "model": answer.model,
        "output": [],
        "usage": null,
        "metadata": {},
    })
}

/// How a response ends.
pub(super) fn ended(answer: &Answer) -> &'static str {
    match answer.finish_reason {
        "length" => "incomplete",
        _ => "completed",
    }
}

/// The one item of a response, with these parts.
pub(super) fn message(answer: &Answer, status: &str, content: Value) -> Value {
    json!({
        "id": format!("msg_{}", answer.id),
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    })
}

/// A part of a message.
pub(super) fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

fn embeddings(answer: &Answer) -> Value {
    let data: Vec<Value> = answer
        .inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let vector = vector(input, answer.vectors.dimensions);
            let embedding = match answer.vectors.as_base64 {
                true => {
                    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                    BASE64_STANDARD.encode(bytes).into()
                }
                false => json!(vector),
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    json!({
        "object": "list",
        "data": data,
        "model": answer.model,
        "usage": usage(answer),
        "system_fingerprint": FINGERPRINT,
    })
}

/// A vector of length 1 that follows from the text alone and means nothing.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut bytes = vec![0; dimensions * 2];
    let mut hash = blake3::Hasher::new();
    hash.update(text.as_bytes());
    hash.finalize_xof().fill(&mut bytes);
    let drawn = bytes
        .chunks_exact(2)
        .map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])) + 0.5);
    let drawn: Vec<f32> = drawn.collect();
    let length = drawn.iter().map(|x| x * x).sum::<f32>().sqrt();
    drawn.into_iter().map(|x| x / length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_follows_from_its_text_and_has_length_one() {
        for dimensions in [1, 16, 4096] {
            let one = vector("a", dimensions);
            assert_eq!(one, vector("a", dimensions));
            assert_eq!(one.len(), dimensions);
            let length: f32 = one.iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-3, "{length}");
        }
        assert_ne!(vector("a", 16), vector("b", 16));
    }
}
