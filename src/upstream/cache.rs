//! What a spec asks the upstream for, and the key under which equal requests meet.

use bytes::Bytes;

use super::Call;
use crate::model::{CacheKey, Spec, TENANT, Work};

/// Path and body of the request that a spec stands for; none when it runs in the worker's process.
fn request(spec: &Spec) -> Option<(&str, Bytes)> {
    match &spec.work {
        Work::Function { .. } => None,
        Work::Prompt { text } => Some(("/chat/completions", Call::prompt_body(&spec.model, text))),
        Work::Request { path, body } => Some((path, body.clone().into())),
    }
}

/// The key of what a spec asks for; none when nothing can be equal to it.
pub fn cache_key(spec: &Spec) -> Option<CacheKey> {
    let (path, body) = request(spec)?;
    CacheKey::of(TENANT, path, &body)
}
