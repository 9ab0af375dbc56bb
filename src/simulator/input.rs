//! What a request wants answered, wherever its kind has it.

use serde::Deserialize;
use serde_json::Value;

use super::reply::Refusal;

/// Most inputs of one request for embeddings.
const INPUTS_MAX: usize = 2048;

/// The texts of a request.
#[derive(Debug)]
pub(super) struct Input {
    /// The one that is answered, and goes by: the last user message.
    pub(super) prompt: String,
    /// Each that gets an embedding.
    pub(super) list: Vec<String>,
    /// All text together, in bytes.
    pub(super) bytes: usize,
}

/// One message of a conversation.
#[derive(Deserialize)]
pub(super) struct Message {
    #[serde(default)]
    role: String,
    content: Option<Value>,
    /// What a function that the model called has come to.
    output: Option<Value>,
}

impl Input {
    /// That of a chat completion.
    pub(super) fn of_messages(messages: Vec<Message>) -> Result<Self, Refusal> {
        let faulty = || Refusal::invalid("messages must not be empty", Some("messages"));
        let last_user = messages.iter().rposition(|message| message.role == "user");
        let place = last_user.or(messages.len().checked_sub(1));
        let texts: Vec<String> = messages.iter().map(Message::text).collect();
        Ok(Input {
            bytes: texts.iter().map(String::len).sum(),
            prompt: place
                .and_then(|place| texts.into_iter().nth(place))
                .ok_or_else(faulty)?,
            list: Vec::new(),
        })
    }

    /// That of a response: a text, or items much like messages, and instructions before them.
    pub(super) fn of_items(instructions: Option<String>, input: Value) -> Result<Self, Refusal> {
        let faulty = || Refusal::invalid("input must be a text or a list of items", Some("input"));
        let mut read = match input {
            Value::String(prompt) => Input {
                bytes: prompt.len(),
                list: Vec::new(),
                prompt,
            },
            items => {
                let items: Vec<Message> = serde_json::from_value(items).map_err(|_| faulty())?;
                Input::of_messages(items).map_err(|_| faulty())?
            }
        };
        read.bytes += instructions.map_or(0, |text| text.len());
        Ok(read)
    }

    /// That of a plain completion: one prompt.
    pub(super) fn of_prompt(prompt: &Value) -> Result<Self, Refusal> {
        let read = list(prompt).filter(|list| list.len() == 1);
        let prompt = read.and_then(|list| list.into_iter().next());
        let prompt = prompt.ok_or_else(|| {
            Refusal::invalid("the simulation takes one prompt only", Some("prompt"))
        })?;
        Ok(Input {
            bytes: prompt.len(),
            prompt,
            list: Vec::new(),
        })
    }

    /// That of embeddings: one text or several. Together they are the prompt.
    pub(super) fn of_list(input: &Value) -> Result<Self, Refusal> {
        let list = list(input).ok_or_else(|| {
            Refusal::invalid(
                "input must be 1 to 2048 texts or lists of tokens, none of them empty",
                Some("input"),
            )
        })?;
        Ok(Input {
            bytes: list.iter().map(String::len).sum(),
            prompt: list.join("\n"),
            list,
        })
    }
}

/// A text, a list of tokens, or a list of either. Tokens are written out, for want of a tokenizer.
fn list(value: &Value) -> Option<Vec<String>> {
    let is_tokens = |list: &Vec<Value>| !list.is_empty() && list.iter().all(Value::is_u64);
    let one = |value: &Value| match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Array(tokens) if is_tokens(tokens) => Some(value.to_string()),
        _ => None,
    };
    match value {
        Value::Array(values) if !is_tokens(values) => {
            let list: Option<Vec<String>> = values.iter().map(one).collect();
            list.filter(|list| (1..=INPUTS_MAX).contains(&list.len()))
        }
        value => one(value).map(|text| vec![text]),
    }
}

impl Message {
    fn text(&self) -> String {
        match self.content.as_ref().or(self.output.as_ref()) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => parts
                .iter()
                .filter_map(|part| part.get("text")?.as_str())
                .collect(),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_prompt_of_a_response_is_its_text_or_the_last_word_of_its_user() {
        let parts = json!([{"type": "input_text", "text": "b"}, {"type": "input_image"}]);
        for (input, prompt, bytes) in [
            (json!("a"), "a", 3),
            (json!([{"role": "user", "content": "a"}]), "a", 3),
            (
                json!([{"role": "user", "content": parts}, {"type": "function_call_output", "output": "cd"}]),
                "b",
                5,
            ),
            (
                json!([{"type": "function_call_output", "output": "cd"}]),
                "cd",
                4,
            ),
        ] {
            let read = Input::of_items(Some("do".into()), input).unwrap();
            assert_eq!((read.prompt.as_str(), read.bytes), (prompt, bytes));
        }
        for odd in [json!(null), json!([]), json!(7), json!(["a"])] {
            assert!(Input::of_items(None, odd.clone()).is_err(), "{odd}");
        }
    }

    #[test]
    fn inputs_are_texts_or_tokens_one_or_several() {
        for (input, expected) in [
            (json!("a"), vec!["a"]),
            (json!(["a", "b"]), vec!["a", "b"]),
            (json!([1, 2]), vec!["[1,2]"]),
            (json!([[1, 2], [3]]), vec!["[1,2]", "[3]"]),
        ] {
            let read = Input::of_list(&input).unwrap();
            assert_eq!(read.list, expected, "{input}");
            let one = Input::of_prompt(&input);
            assert_eq!(one.is_ok(), expected.len() == 1, "{input}");
        }
        for odd in [
            json!(""),
            json!([]),
            json!(["a", ""]),
            json!(7),
            json!(null),
        ] {
            assert!(Input::of_list(&odd).is_err(), "{odd}");
        }
    }
}
