//! The events of a streamed answer, put together into the body that the answer would have had in one piece, so that
//! whoever reads it need not know how it came. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{error_body::ErrorBody, merge, sse::Event};

/// What ends a stream that says so.
const DONE: &[u8] = b"[DONE]";
/// Names of events that only show that the connection lives, whatever their data.
const SIGNS_OF_LIFE: [&[u8]; 3] = [b"ping", b"keepalive", b"heartbeat"];

/// Why the events of a stream are no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The upstream reported an error.
    Error {
        /// What it says about itself.
        error: ErrorBody,
        /// A piece of the answer had come before.
        after_output: bool,
    },
    /// It ended before the answer did.
    Truncated,
    /// What came is not a piece of an answer, or far too much.
    Unreadable,
}

/// An answer that is being put together.
#[derive(Debug)]
pub(super) struct Assembly {
    /// Bytes that the answer may take.
    max: usize,
    weight: usize,
    /// All but the choices.
    body: Map<String, Value>,
    /// By their index.
    choices: BTreeMap<u64, Map<String, Value>>,
    has_output: bool,
    is_done: bool,
}

impl Assembly {
    /// Nothing yet, and room for so many bytes.
    pub(super) fn new(max: usize) -> Self {
        Assembly {
            max,
            weight: 0,
            body: Map::new(),
            choices: BTreeMap::new(),
            has_output: false,
            is_done: false,
        }
    }

    /// Adds an event; `say` hears the text that the first choice goes on with.
    ///
    /// # Errors
    /// There will be no answer.
    pub(super) fn take(&mut self, event: &Event, say: &mut dyn FnMut(&str)) -> Result<(), Broken> {
        if self.is_done || event.data.trim_ascii().is_empty() {
            return Ok(());
        }
        if let Some(chunk) = object(&event.data) {
            return self.add(chunk, &event.name, say);
        }
        if SIGNS_OF_LIFE.contains(&&event.name[..]) {
            return Ok(());
        }
        // Some servers leave out the empty line between events, and say `[DONE]` right after the last one.
        for line in event.data.split(|byte| *byte == b'\n') {
            match line.trim_ascii() {
                b"" => {}
                DONE => self.is_done = true,
                line => {
                    let chunk = object(line).ok_or(Broken::Unreadable)?;
                    self.add(chunk, &event.name, say)?;
                }
            }
        }
        Ok(())
    }

    /// Whether the upstream said that nothing will follow.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Whether all of the answer has come: the upstream said so, or why every choice stopped. What may still follow
    /// is the usage.
    pub(super) fn is_complete(&self) -> bool {
        let mut choices = self.choices.values();
        self.is_done || (!self.choices.is_empty() && choices.all(is_finished))
    }

    /// The body of the answer.
    ///
    /// # Errors
    /// [`Broken::Truncated`] where a piece of it is missing.
    pub(super) fn finish(self) -> Result<Vec<u8>, Broken> {
        if !self.is_complete() {
            return Err(Broken::Truncated);
        }
        let mut body = self.body;
        if let Some(Value::String(kind)) = body.get_mut("object") {
            let whole = kind.strip_suffix(".chunk").map(str::to_owned);
            *kind = whole.unwrap_or_else(|| std::mem::take(kind));
        }
        let choices = self.choices.into_values().map(merge::settle);
        body.insert("choices".to_owned(), choices.collect());
        serde_json::to_vec(&body).map_err(|_| Broken::Unreadable)
    }

    fn add(
        &mut self,
        chunk: Map<String, Value>,
        name: &[u8],
        say: &mut dyn FnMut(&str),
    ) -> Result<(), Broken> {
        if is_error(&chunk, name) {
            return Err(Broken::Error {
                error: ErrorBody::read(&Value::Object(chunk)),
                after_output: self.has_output,
            });
        }
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
        if self.weight > self.max {
            return Err(Broken::Unreadable);
        }
        Ok(())
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

/// An error, in any of the shapes in which servers put one among the chunks.
fn is_error(chunk: &Map<String, Value>, name: &[u8]) -> bool {
    let says = |member: &str| chunk.get(member).and_then(Value::as_str) == Some("error");
    let has_error = chunk.get("error").is_some_and(|error| !error.is_null());
    has_error || name == b"error" || says("object") || says("type")
}

fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(bytes).ok()
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "assemble_any_tests.rs"]
mod any_tests;
