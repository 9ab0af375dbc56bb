//! What an error says about itself, whatever shape it comes in. Only short tokens are kept, never free text:
//! servers echo prompts and keys in their messages. Of a message two facts are read that some servers put nowhere
//! else, and only as a yes or no; neither decides anything without the status that goes with it.

use serde_json::Value;

/// Longest `code` or `type` that is taken for a token.
const TOKEN_MAX: usize = 64;

/// How LiteLLM says, under 400 and with no code, that it knows no such model.
const UNKNOWN_MODEL: &str = "Invalid model name passed in model=";

/// The tokens of an upstream's error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ErrorBody {
    /// `error.code`, a number as its digits.
    pub(super) code: Option<String>,
    /// `error.type`, or what else the upstream calls it.
    pub(super) kind: Option<String>,
    /// `error.param`: the field of the request that is at fault.
    pub(super) param: Option<String>,
    /// The message has LiteLLM's words for an unknown model.
    pub(super) names_model: bool,
    /// The message has OpenAI's numbers for one request above the whole limit: `Limit 30000, Requested 40000`.
    pub(super) is_above_limit: bool,
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
                inner => {
                    // Ollama's own face has the message where others have an object.
                    let message = object.get("message").or(inner).and_then(Value::as_str);
                    let message = message.unwrap_or_default();
                    ErrorBody {
                        code: token(object.get("code").or_else(|| object.get("statusCode"))),
                        kind: token(object.get("type")).or_else(|| token(object.get("status"))),
                        param: token(object.get("param")),
                        names_model: message.contains(UNKNOWN_MODEL),
                        is_above_limit: is_above_limit(message),
                    }
                }
            },
            _ => ErrorBody::default(),
        }
    }

    /// Drops tokens that hold, or are part of, the key.
    pub(super) fn forget(&mut self, secret: &str) {
        for token in [&mut self.code, &mut self.kind, &mut self.param] {
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

/// Whether a message says `Limit N, … Requested M` with M above N.
fn is_above_limit(message: &str) -> bool {
    let number = |after: &str| {
        let (_, rest) = message.split_once(after)?;
        let digits = rest
            .split(|c: char| !c.is_ascii_digit() && c != ',')
            .next()?;
        digits.replace(',', "").parse::<u64>().ok()
    };
    matches!((number("Limit "), number("Requested ")), (Some(limit), Some(asked)) if asked > limit)
}

fn token(value: Option<&Value>) -> Option<String> {
    let text = match value? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    // LiteLLM writes Python's word for nothing.
    (is_token(&text, TOKEN_MAX) && text != "None").then_some(text)
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
    fn python_s_word_for_nothing_is_nothing() {
        let body = br#"{"error":{"message":"x","type":"None","param":"None","code":"400"}}"#;
        let read = ErrorBody::parse(body);
        assert_eq!((read.kind, read.param), (None, None));
    }

    #[test]
    fn a_message_yields_two_facts_and_no_word() {
        let read = |message: &str| {
            let body = serde_json::json!({"error": {"message": message, "param": "messages.0"}});
            ErrorBody::parse(body.to_string().as_bytes())
        };
        let tpm = "Request too large for gpt-4o in organization org-x on tokens per min (TPM):";
        for (message, names_model, is_above_limit) in [
            (
                format!("{tpm} Limit 30000, Requested 40000. hunter2"),
                false,
                true,
            ),
            (
                format!("{tpm} Limit 30000, Used 29000, Requested 4000."),
                false,
                false,
            ),
            ("Limit lots, Requested 5".to_owned(), false, false),
            ("Requested 5".to_owned(), false, false),
            (
                "{'error': '/chat/completions: Invalid model name passed in model=hunter2'}"
                    .to_owned(),
                true,
                false,
            ),
            ("invalid model".to_owned(), false, false),
        ] {
            let body = read(&message);
            assert_eq!(body.names_model, names_model, "{message}");
            assert_eq!(body.is_above_limit, is_above_limit, "{message}");
            assert_eq!(body.param.as_deref(), Some("messages.0"));
            assert!(!format!("{body:?}").contains("hunter2"));
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
