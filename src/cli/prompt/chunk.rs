//! Cuts many prompts into calls that the server takes.

use prost::Message as _;

use super::Prompt;

/// Most tasks a call.
const TASKS: usize = 1_000;
/// Most bytes a call: 4 MiB, less room for the defaults, the key and the framing.
const BYTES: usize = (4 << 20) - (64 << 10);
/// What a task costs in its request besides its own bytes: a tag and a length.
const FRAME: usize = 6;

/// Cuts in order. A task that is too large by itself gets a call of its own, for the server to refuse with its reason.
pub(in crate::cli) fn chunks(prompts: Vec<Prompt>) -> Vec<Vec<Prompt>> {
    let mut chunks = Vec::new();
    let mut chunk = Vec::new();
    let mut bytes = 0;
    for prompt in prompts {
        let size = prompt.spec.encoded_len() + FRAME;
        if !chunk.is_empty() && (chunk.len() == TASKS || bytes + size > BYTES) {
            chunks.push(std::mem::take(&mut chunk));
            bytes = 0;
        }
        bytes += size;
        chunk.push(prompt);
    }
    if !chunk.is_empty() {
        chunks.push(chunk);
    }
    chunks
}
