//! What a spec asks the upstream for, and the key under which equal requests meet.

use bytes::Bytes;

use super::Call;
use crate::model::{CacheKey, Kind, Spec, TENANT, Work};

/// Kind and body of the request that a spec stands for; none when it runs in the worker's process.
pub fn request(spec: &Spec) -> Option<(Kind, Bytes)> {
    let body = match &spec.work {
        Work::Function { .. } => return None,
        Work::Prompt { text } => Call::prompt_body(&spec.model, text),
        Work::Request { body, .. } => body.clone().into(),
    };
    Some((spec.work.kind()?, body))
}

/// The key of what a spec asks for; none when nothing can be equal to it. Tasks whose answers are checked have them in
/// common with each other only: an answer that nobody has checked is not for them.
pub fn cache_key(spec: &Spec) -> Option<CacheKey> {
    let (kind, body) = request(spec)?;
    let key = CacheKey::of(TENANT, kind, &body)?;
    let is_checked = spec.validation_retries.is_some();
    Some(if is_checked { key.checked() } else { key })
}
