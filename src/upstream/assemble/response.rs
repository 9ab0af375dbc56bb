//! Streams of the Responses API: events with names, the last of which has all of the answer. What comes before is told
//! as it comes, and stands in where a server's last event leaves it out.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::Broken;
use crate::upstream::{error_body::ErrorBody, merge, reply::text_of};

/// Events before the first piece of the answer.
const BEGINNINGS: [&str; 3] = [
    "response.created",
    "response.queued",
    "response.in_progress",
];

/// What has come of a response.
#[derive(Debug, Default)]
pub(super) struct Response {
    weight: usize,
    has_output: bool,
    told: Told,
    /// Items that are whole, by their place.
    items: BTreeMap<u64, Value>,
    /// The body, once the last event has come.
    body: Option<Vec<u8>>,
}

/// The text that was told.
#[derive(Debug, Default)]
struct Told {
    text: String,
    /// Where the latest piece of it belongs: its item, and the part of that.
    place: (u64, u64),
    is_refusal: bool,
    /// No more will come there: what comes for a later place goes on.
    has_ended: bool,
    /// A piece came that cannot be joined to it: the last event will tell the rest.
    is_over: bool,
}

impl Response {
    /// Whether a piece of the answer has come.
    pub(super) fn has_output(&self) -> bool {
        self.has_output
    }

    /// Whether the last event has come.
    pub(super) fn has_ended(&self) -> bool {
        self.body.is_some()
    }

    /// The body of one piece.
    pub(super) fn finish(self) -> Result<Vec<u8>, Broken> {
        self.body.ok_or(Broken::Truncated)
    }

    /// Adds an event, which stands in `text`; returns about how many bytes all of them take.
    pub(super) fn add(
        &mut self,
        mut event: Map<String, Value>,
        text: &[u8],
        name: &[u8],
        say: &mut dyn FnMut(&str),
    ) -> Result<usize, Broken> {
        let kind = match event.get("type") {
            Some(Value::String(kind)) => kind.clone(),
            _ => String::from_utf8_lossy(name).into_owned(),
        };
        match kind.as_str() {
            "response.output_text.delta" => self.hear(&event, false, say),
            "response.refusal.delta" => self.hear(&event, true, say),
            "response.output_text.done" | "response.content_part.done" => {
                self.told.has_ended |= self.told.place == place(&event);
            }
            "response.output_item.done" => {
                self.told.has_ended |= self.told.place.0 == place(&event).0;
                if let Some(item) = event.remove("item") {
                    self.weight += merge::weight(&item);
                    self.items.insert(place(&event).0, item);
                }
            }
            "response.completed" | "response.incomplete" | "response.failed" | "response.done" => {
                self.end(event, text, &kind, say)?;
            }
            _ => {}
        }
        self.has_output |= kind.starts_with("response.") && !BEGINNINGS.contains(&kind.as_str());
        Ok(self.weight)
    }

    fn hear(&mut self, event: &Map<String, Value>, is_refusal: bool, say: &mut dyn FnMut(&str)) {
        let Some(Value::String(delta)) = event.get("delta") else {
            return;
        };
        self.weight += delta.len();
        if !delta.is_empty() && self.told.takes(place(event), is_refusal) {
            self.told.text.push_str(delta);
            say(delta);
        }
    }

    fn end(
        &mut self,
        mut event: Map<String, Value>,
        text: &[u8],
        kind: &str,
        say: &mut dyn FnMut(&str),
    ) -> Result<(), Broken> {
        let mut response = match event.remove("response") {
            Some(Value::Object(response)) => response,
            _ => Map::new(),
        };
        let has_failed = |response: &Map<String, Value>| {
            let error = response.get("error");
            error.is_some_and(|error| !error.is_null())
                || response
                    .get("status")
                    .is_some_and(|status| *status == "failed")
        };
        if kind == "response.failed" || has_failed(&response) {
            return Err(Broken::Error {
                error: ErrorBody::read(&Value::Object(response)),
                after_output: self.has_output,
            });
        }
        let is_as_sent = !self.complete(&mut response, kind);
        let whole = text_of(output(&response));
        if let Some(rest) = whole.strip_prefix(&self.told.text)
            && !rest.is_empty()
        {
            say(rest);
        }
        let sent = serde_json::from_slice(text).ok();
        let sent = sent.filter(|_| is_as_sent);
        self.body = Some(match sent {
            Some(Last { response }) => response.get().into(),
            None => serde_json::to_vec(&response).map_err(|_| Broken::Unreadable)?,
        });
        Ok(())
    }

    /// Puts in what the last event should have, and other events had. True when anything was missing.
    fn complete(&mut self, response: &mut Map<String, Value>, kind: &str) -> bool {
        let mut was_short = false;
        if output(response).is_empty() {
            let mut items: Vec<Value> = std::mem::take(&mut self.items).into_values().collect();
            if text_of(&items).is_empty() {
                items.extend(self.told.message());
            }
            was_short = !items.is_empty();
            if was_short {
                response.insert("output".to_owned(), items.into());
            }
        }
        let status = kind.strip_prefix("response.").unwrap_or_default();
        if response.get("status").is_none_or(Value::is_null) && status != "done" {
            response.insert("status".to_owned(), status.into());
            was_short = true;
        }
        was_short
    }
}

impl Told {
    /// Whether a piece that belongs there goes on with what was told: parts begin in their order, but may go on side by
    /// side. A refusal is text where there is no other.
    fn takes(&mut self, place: (u64, u64), is_refusal: bool) -> bool {
        let follows = place == self.place
            || self.text.is_empty()
            || (place > self.place && self.has_ended && !is_refusal);
        let is_alike = self.text.is_empty() || is_refusal == self.is_refusal;
        self.is_over |= !follows || !is_alike;
        if !self.is_over {
            self.has_ended &= place == self.place;
            (self.place, self.is_refusal) = (place, is_refusal);
        }
        !self.is_over
    }

    /// The message that it is, if it is one.
    fn message(&self) -> Option<Value> {
        let part = match self.is_refusal {
            true => json!({"type": "refusal", "refusal": self.text}),
            false => json!({"type": "output_text", "text": self.text, "annotations": []}),
        };
        let message = json!({"type": "message", "role": "assistant", "content": [part]});
        (!self.text.is_empty() && !self.is_over).then_some(message)
    }
}

/// The last event, with the response as it was written.
#[derive(Deserialize)]
struct Last<'a> {
    #[serde(borrow)]
    response: &'a RawValue,
}

fn output(response: &Map<String, Value>) -> &[Value] {
    let output = response.get("output").and_then(Value::as_array);
    output.map_or(&[], Vec::as_slice)
}

/// Which item an event is of, and which part of that.
fn place(event: &Map<String, Value>) -> (u64, u64) {
    let number = |member| event.get(member).and_then(Value::as_u64).unwrap_or(0);
    (number("output_index"), number("content_index"))
}
