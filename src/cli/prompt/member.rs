//! The members of one JSON object, in order, each still as its own text.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{DeserializeOwned, Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The members of a JSON object.
pub(super) struct Members(pub(super) Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Collect)
    }
}

struct Collect;

impl<'de> Visitor<'de> for Collect {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry::<String, Box<RawValue>>()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

impl Members {
    /// Reads an object in which every member stands once.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let members: Members = serde_json::from_str(text)
            .map_err(|error| format!("not a JSON object (column {})", error.column()))?;
        for (index, (name, _)) in members.0.iter().enumerate() {
            if members.0[..index].iter().any(|(other, _)| other == name) {
                return Err(format!("member {} appears twice", quoted(name)));
            }
        }
        Ok(members)
    }

    /// The member of this name.
    pub(super) fn get(&self, name: &str) -> Option<&RawValue> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        Some(value)
    }
}

/// A member's value. The message says what it must be, and never what it is.
pub(super) fn value<T: DeserializeOwned>(
    name: &str,
    raw: &RawValue,
    right: &str,
) -> Result<T, String> {
    serde_json::from_str(raw.get()).map_err(|_| format!("member {} must be {right}", quoted(name)))
}

/// A member's text.
pub(super) fn text(name: &str, raw: &RawValue) -> Result<String, String> {
    value(name, raw, "a string")
}

/// A member's name as a message shows it: it may be anything.
pub(super) fn quoted(name: &str) -> Cow<'static, str> {
    let short: String = name.chars().take(40).collect();
    format!("`{}`", short.escape_debug()).into()
}
