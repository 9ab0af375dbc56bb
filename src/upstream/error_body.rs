//! What an error says about itself, whatever shape it comes in. Only short tokens are kept, never free text:
//! servers echo prompts and keys in their messages.

use serde_json::Value;

/// Longest `code` or `type` that is taken for a token.
const TOKEN_MAX: usize = 64;

/// The tokens of an upstream's error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ErrorBody {
    /// `error.code`, a number as its digits.
    pub(super) code: Option<String>,
    /// `error.type`, or what else the upstream calls it.
    pub(super) kind: Option<String>,
}

impl ErrorBody {
    /// Reads the body of a reply that is an error by its status. What cannot be read is an error without tokens.
    pub(super) fn parse(body: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(body) {
            Ok(value) => ErrorBody::read(&value),
            Err(_) => ErrorBody::default(),
        }
    }

    /// Reads the value of an `error` member, or an object that holds one.
    pub(super) fn read(value: &Value) -> Self {
        match value {
            // Gemini's OpenAI face wraps its errors in a list.
            Value::Array(list) => list.first().map(ErrorBody::read).unwrap_or_default(),
            Value::Object(object) => match object.get("error") {
                Some(inner @ (Value::Object(_) | Value::Array(_))) => ErrorBody::read(inner),
                _ => ErrorBody {
                    code: token(object.get("code").or_else(|| object.get("statusCode"))),
                    kind: token(object.get("type")).or_else(|| token(object.get("status"))),
                },
            },
            _ => ErrorBody::default(),
        }
    }

    /// Drops tokens that hold, or are part of, the key.
    pub(super) fn forget(&mut self, secret: &str) {
        for token in [&mut self.code, &mut self.kind] {
            if token.as_deref().is_some_and(|token| reveals(token, secret)) {
                *token = None;
            }
        }
    }
}

/// Whether `text` gives away a piece of `secret`.
pub(super) fn reveals(text: &str, secret: &str) -> bool {
    // Shorter pieces than this occur by chance.
    const PIECE: usize = 8;
    text.contains(secret) || (text.len() >= PIECE && secret.contains(text))
}

/// Whether `text` is short and of characters that cannot carry markup or line breaks.
pub(super) fn is_token(text: &str, max: usize) -> bool {
    !text.is_empty()
        && text.len() <= max
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn token(value: Option<&Value>) -> Option<String> {
    let text = match value? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    is_token(&text, TOKEN_MAX).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recorded_shape_yields_its_tokens() {
        for (body, code, kind) in [
            // OpenAI
            (
                r#"{"error":{"message":"Incorrect API key provided: sk-x","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
                Some("invalid_api_key"),
                Some("invalid_request_error"),
            ),
            // Azure: code as text of digits, no type
            (
                r#"{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation have exceeded"}}"#,
                Some("429"),
                None,
            ),
            // Azure API Management
            (
                r#"{"statusCode":401,"message":"Access denied"}"#,
                Some("401"),
                None,
            ),
            // LiteLLM
            (
                r#"{"error":{"message":"x","type":null,"param":null,"code":"400"}}"#,
                Some("400"),
                None,
            ),
            // vLLM, older: not wrapped
            (
                r#"{"object":"error","message":"x","type":"BadRequestError","param":null,"code":400}"#,
                Some("400"),
                Some("BadRequestError"),
            ),
            // llama.cpp
            (
                r#"{"error":{"code":400,"message":"the request exceeds the context","type":"exceed_context_size_error","n_ctx":4096}}"#,
                Some("400"),
                Some("exceed_context_size_error"),
            ),
            // Ollama, native
            (r#"{"error":"model 'x' not found"}"#, None, None),
            // FastAPI
            (r#"{"detail":"Not Found"}"#, None, None),
            (
                r#"{"detail":[{"loc":["body"],"type":"missing"}]}"#,
                None,
                None,
            ),
            // Gemini
            (
                r#"[{"error":{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED"}}]"#,
                Some("429"),
                Some("RESOURCE_EXHAUSTED"),
            ),
            // free text where a token belongs
            (
                r#"{"error":{"code":"my secret prompt","type":"a\nb"}}"#,
                None,
                None,
            ),
            ("Internal Server Error", None, None),
            ("<html>502</html>", None, None),
            ("", None, None),
        ] {
            let read = ErrorBody::parse(body.as_bytes());
            assert_eq!(
                (read.code.as_deref(), read.kind.as_deref()),
                (code, kind),
                "{body}"
            );
        }
    }

    #[test]
    fn a_token_that_is_the_key_is_forgotten() {
        let mut body = ErrorBody::parse(br#"{"error":{"code":"sk-abcdefgh","type":"tokens"}}"#);
        body.forget("sk-abcdefgh");
        assert_eq!(body.code, None);
        assert_eq!(body.kind.as_deref(), Some("tokens"));
    }
}
