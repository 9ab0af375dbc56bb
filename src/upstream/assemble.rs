//! The events of a streamed answer, put together into the body that the answer would have had in one piece, so that
//! whoever reads it need not know how it came. Pure.

mod choices;
mod response;

use serde_json::{Map, Value};

use self::{choices::Choices, response::Response};
use super::{error_body::ErrorBody, sse::Event};
use crate::model::Kind;

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
    pieces: Pieces,
    is_done: bool,
}

/// What has come, by how the kind of call is streamed.
#[derive(Debug)]
enum Pieces {
    Choices(Choices),
    Response(Response),
}

impl Assembly {
    /// Nothing yet of an answer with so many choices, and room for so many bytes.
    pub(super) fn new(kind: Kind, choices: usize, max: usize) -> Self {
        let pieces = match kind {
            Kind::Response => Pieces::Response(Response::default()),
            Kind::Chat | Kind::Completion | Kind::Embedding => {
                Pieces::Choices(Choices::new(choices))
            }
        };
        Assembly {
            max,
            pieces,
            is_done: false,
        }
    }

    /// Adds an event; `say` hears the text that the answer goes on with: that of the first choice.
    ///
    /// # Errors
    /// There will be no answer.
    pub(super) fn take(&mut self, event: &Event, say: &mut dyn FnMut(&str)) -> Result<(), Broken> {
        if self.is_done() || event.data.trim_ascii().is_empty() {
            return Ok(());
        }
        if let Some(chunk) = object(&event.data) {
            return self.add(chunk, &event.data, &event.name, say);
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
                    self.add(chunk, line, &event.name, say)?;
                }
            }
        }
        Ok(())
    }

    /// Whether the upstream said that nothing will follow.
    pub(super) fn is_done(&self) -> bool {
        self.is_done || matches!(&self.pieces, Pieces::Response(response) if response.has_ended())
    }

    /// Whether all of the answer has come. What may still follow is the usage.
    pub(super) fn is_complete(&self) -> bool {
        match &self.pieces {
            Pieces::Choices(choices) => self.is_done || choices.have_stopped(),
            // Only its last event has all of it.
            Pieces::Response(response) => response.has_ended(),
        }
    }

    /// The body of the answer.
    ///
    /// # Errors
    /// [`Broken::Truncated`] where a piece of it is missing.
    pub(super) fn finish(self) -> Result<Vec<u8>, Broken> {
        if !self.is_complete() {
            return Err(Broken::Truncated);
        }
        match self.pieces {
            Pieces::Choices(choices) => choices.finish(),
            Pieces::Response(response) => response.finish(),
        }
    }

    /// Adds an object, which stands in `text`.
    fn add(
        &mut self,
        chunk: Map<String, Value>,
        text: &[u8],
        name: &[u8],
        say: &mut dyn FnMut(&str),
    ) -> Result<(), Broken> {
        if is_error(&chunk, name) {
            return Err(Broken::Error {
                error: ErrorBody::read(&Value::Object(chunk)),
                after_output: match &self.pieces {
                    Pieces::Choices(choices) => choices.has_output(),
                    Pieces::Response(response) => response.has_output(),
                },
            });
        }
        let weight = match &mut self.pieces {
            Pieces::Choices(choices) => choices.add(chunk, say)?,
            Pieces::Response(response) => response.add(chunk, text, name, say)?,
        };
        if weight > self.max {
            return Err(Broken::Unreadable);
        }
        Ok(())
    }
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

#[cfg(test)]
#[path = "assemble_kind_tests.rs"]
mod kind_tests;

#[cfg(test)]
#[path = "assemble_shape_tests.rs"]
mod shape_tests;
