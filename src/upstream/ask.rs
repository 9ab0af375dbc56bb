//! Asking for a stream: what is added to the body of a call.

use std::collections::HashSet;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, de::IgnoredAny};

use super::Call;

/// The member that some servers do not know.
const OPTIONS: &[u8] = b"stream_options";
const STREAM: &str = r#""stream":true"#;
const USAGE: &str = r#""stream_options":{"include_usage":true}"#;

/// Models remembered; a server that refuses the options of so many refuses those of all.
const MODELS_MAX: usize = 256;

/// The models that are asked without `stream_options`, so that not every call is sent twice.
#[derive(Debug, Default)]
pub(super) struct Plain(Mutex<HashSet<String>>);

impl Plain {
    /// What to send of a call: where it is to ask for a stream, a body that does so, and what to send instead where the
    /// server refuses what asks for the usage as well.
    pub(super) fn bodies(&self, call: &Call) -> (Bytes, Option<Bytes>) {
        if call.listener.is_none() {
            return (call.body.clone(), None);
        }
        let plain = streamed(&call.body, false);
        if !call.kind.has_stream_options() || self.knows(&call.model) {
            return (plain, None);
        }
        let full = streamed(&call.body, true);
        let differs = plain != full;
        (full, differs.then_some(plain))
    }

    /// Whether the model's server refused the options.
    fn knows(&self, model: &str) -> bool {
        let models = self.0.lock();
        models.len() >= MODELS_MAX || models.contains(model)
    }

    /// It refused them.
    pub(super) fn note(&self, model: &str) {
        let mut models = self.0.lock();
        if models.len() < MODELS_MAX {
            models.insert(model.to_owned());
        }
    }
}

/// What a body says about streaming.
#[derive(Deserialize)]
struct Says {
    stream: Option<IgnoredAny>,
    stream_options: Option<IgnoredAny>,
}

/// The body, asking for a stream and, `with_usage`, for the usage at its end. One that says itself how it wants to be
/// answered stays as it is.
fn streamed(body: &Bytes, with_usage: bool) -> Bytes {
    let Ok(says) = serde_json::from_slice::<Says>(body) else {
        return body.clone();
    };
    if says.stream.is_some() {
        return body.clone();
    }
    let text = body.trim_ascii_end();
    let Some(open) = text.strip_suffix(b"}") else {
        return body.clone();
    };
    let mut asking = open.to_vec();
    if open.trim_ascii() != b"{" {
        asking.push(b',');
    }
    asking.extend_from_slice(STREAM.as_bytes());
    if with_usage && says.stream_options.is_none() {
        asking.push(b',');
        asking.extend_from_slice(USAGE.as_bytes());
    }
    asking.push(b'}');
    asking.into()
}

/// Whether a refusal with this body may be one of `stream_options`. It has cost nothing, so that asking once more
/// without them does no harm where it is not.
pub(super) fn refuses_options(status: u16, body: &[u8]) -> bool {
    matches!(status, 400 | 422) && body.windows(OPTIONS.len()).any(|piece| piece == OPTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(body: &'static str, with_usage: bool) -> String {
        let body = streamed(&Bytes::from_static(body.as_bytes()), with_usage);
        String::from_utf8(body.into()).unwrap()
    }

    #[test]
    fn a_body_asks_for_a_stream_and_keeps_what_it_says() {
        assert_eq!(
            asking(r#"{"model":"m"} "#, true),
            r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#
        );
        assert_eq!(
            asking(r#"{"model":"m"}"#, false),
            r#"{"model":"m","stream":true}"#
        );
        assert_eq!(
            asking("{ }", true),
            r#"{ "stream":true,"stream_options":{"include_usage":true}}"#
        );
        assert_eq!(
            asking(r#"{"stream_options":{"x":1}}"#, true),
            r#"{"stream_options":{"x":1},"stream":true}"#
        );
        for own in [r#"{"stream":true}"#, r#"{"stream":false}"#, "[1]", "no"] {
            assert_eq!(asking(own, true), own);
        }
    }

    #[test]
    fn a_refusal_is_remembered_by_model_and_many_stand_for_all() {
        let plain = Plain::default();
        plain.note("0");
        assert!(plain.knows("0") && !plain.knows("other"));
        (1..MODELS_MAX).for_each(|model| plain.note(&model.to_string()));
        assert!(plain.knows("other"));
        plain.note("other");
        assert_eq!(plain.0.lock().len(), MODELS_MAX);
    }

    #[test]
    fn only_a_refusal_that_names_the_options_is_one_of_them() {
        let named = br#"{"detail":[{"loc":["body","stream_options"]}]}"#;
        assert!(refuses_options(400, named) && refuses_options(422, named));
        assert!(!refuses_options(500, named) && !refuses_options(200, named));
        assert!(!refuses_options(400, br#"{"error":{"param":"stream"}}"#));
    }
}
