//! Streams of chat and plain completions: chunks with pieces of choices, which grow side by side.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Broken;
use crate::upstream::{error_body::ErrorBody, merge};

/// What has come of the choices.
#[derive(Debug)]
pub(super) struct Choices {
    /// How many were asked for.
    expected: usize,
    weight: usize,
    /// All but the choices.
    body: Map<String, Value>,
    /// By their index.
    choices: BTreeMap<u64, Map<String, Value>>,
    has_output: bool,
}

impl Choices {
    /// None yet of so many.
    pub(super) fn new(expected: usize) -> Self {
        Choices {
            expected,
            weight: 0,
            body: Map::new(),
            choices: BTreeMap::new(),
            has_output: false,
        }
    }

    /// Whether a piece of the answer has come.
    pub(super) fn has_output(&self) -> bool {
        self.has_output
    }

    /// Whether every choice said why it stopped. The later ones of several may begin when the first has ended.
    pub(super) fn have_stopped(&self) -> bool {
        let mut choices = self.choices.values();
        !self.choices.is_empty() && self.choices.len() >= self.expected && choices.all(is_finished)
    }

    /// The body of one piece.
    pub(super) fn finish(self) -> Result<Vec<u8>, Broken> {
        let mut body = self.body;
        if let Some(Value::String(kind)) = body.get_mut("object") {
            let whole = kind.strip_suffix(".chunk").map(str::to_owned);
            *kind = whole.unwrap_or_else(|| std::mem::take(kind));
        }
        let choices = self.choices.into_values().map(merge::settle);
        body.insert("choices".to_owned(), choices.collect());
        serde_json::to_vec(&body).map_err(|_| Broken::Unreadable)
    }

    /// Adds a chunk; returns about how many bytes all of them take.
    pub(super) fn add(
        &mut self,
        chunk: Map<String, Value>,
        say: &mut dyn FnMut(&str),
    ) -> Result<usize, Broken> {
        for (member, value) in chunk {
            match (member.as_str(), value) {
                ("choices", Value::Array(choices)) => {
                    for choice in choices {
                        self.weight += merge::weight(&choice);
                        self.add_choice(choice, say)?;
                    }
                }
                // Padding against those who count the bytes on the wire.
                ("choices" | "obfuscation", _) => {}
                // Where Groq puts it.
                ("x_groq", Value::Object(mut more)) => {
                    let usage = more.remove("usage").filter(|usage| !usage.is_null());
                    self.body
                        .extend(usage.map(|usage| ("usage".to_owned(), usage)));
                }
                ("id" | "object" | "created" | "model" | "system_fingerprint", value) => {
                    merge::set_once(&mut self.body, member, value);
                }
                // Counts that come again and again grow; the last ones are those of the whole.
                (_, value) => merge::set_latest(&mut self.body, member, value),
            }
        }
        Ok(self.weight)
    }

    fn add_choice(&mut self, choice: Value, say: &mut dyn FnMut(&str)) -> Result<(), Broken> {
        let Value::Object(mut piece) = choice else {
            return Err(Broken::Unreadable);
        };
        let index = piece.remove("index").and_then(|index| index.as_u64());
        let index = index.unwrap_or(0);
        let choice = self.choices.entry(index).or_insert_with(|| {
            Map::from_iter([
                ("index".to_owned(), Value::from(index)),
                ("finish_reason".to_owned(), Value::Null),
            ])
        });
        if let Some(error) = piece.get("error").filter(|error| !error.is_null()) {
            return Err(Broken::Error {
                error: ErrorBody::read(error),
                after_output: self.has_output,
            });
        }
        // Which is the first of several shows by its index, not by when it comes.
        if index == 0 {
            merge::say(choice, &piece, say);
        }
        for (member, value) in piece {
            match (member.as_str(), value) {
                ("delta", Value::Object(delta)) => {
                    self.has_output |= merge::is_output(&delta);
                    merge::add_delta(choice, delta);
                }
                // A server that repeats the whole at the end says nothing new.
                ("message", Value::Object(message)) if !choice.contains_key("message") => {
                    self.has_output |= merge::is_output(&message);
                    choice.insert(member, Value::Object(message));
                }
                ("delta" | "message", _) => {}
                ("text", Value::String(text)) => {
                    self.has_output |= !text.is_empty();
                    merge::append(choice, member, Value::String(text));
                }
                ("logprobs", value) => merge::append(choice, member, value),
                // An empty reason is none.
                ("finish_reason", Value::String(reason)) if reason.is_empty() => {}
                (_, value) => merge::set_latest(choice, member, value),
            }
        }
        Ok(())
    }
}

fn is_finished(choice: &Map<String, Value>) -> bool {
    choice
        .get("finish_reason")
        .is_some_and(|reason| !reason.is_null())
}
