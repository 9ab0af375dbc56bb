//! The JSON schema that a request asks its answer to follow, and whether an answer does. Pure: no reference is fetched.

use std::fmt;

use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

use super::{kind::Kind, spec::Work, task::beginning};

/// Bytes that are told of a place.
const PLACE_MAX: usize = 200;
/// A longer number in a place is a name that only looks like an index.
const INDEX_DIGITS: usize = 6;

/// Checks answers by the schema of a request.
#[derive(Debug)]
pub struct Schema {
    stated: Value,
    validator: Validator,
}

/// Where something does not fit a schema. Of the text it shows only names that the schema has too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The text as a whole.
    #[error("it is not JSON")]
    NotJson,
    /// One place in it.
    #[error("`{keyword}` does not hold {place}")]
    Place {
        /// The keyword of the schema that does not hold.
        keyword: String,
        /// Where.
        place: Place,
    },
}

/// A place in a JSON value, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(String);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_str() {
            "" => f.write_str("at the top"),
            pointer => write!(f, "at {pointer}"),
        }
    }
}

impl Schema {
    /// The schema that a request states, as it stands there.
    pub fn stated(work: &Work) -> Option<Value> {
        let Work::Request { body, .. } = work else {
            return None;
        };
        let place = place_of(work.kind()?)?;
        let mut body: Value = serde_json::from_str(body).ok()?;
        body.pointer_mut(place).map(Value::take)
    }

    /// Whether requests of a kind have a place for a schema.
    pub fn has_place(kind: Kind) -> bool {
        place_of(kind).is_some()
    }

    /// Reads a schema. Its patterns are matched in linear time, so that no answer holds a worker up: those that look
    /// around or back are refused.
    ///
    /// # Errors
    /// It is none, or it refers to something outside of itself: where.
    pub fn new(stated: Value) -> Result<Schema, Misfit> {
        let options = jsonschema::options()
            .with_pattern_options(PatternOptions::regex())
            .offline();
        match options.build(&stated) {
            Ok(validator) => Ok(Schema { stated, validator }),
            Err(error) => Err(misfit(&error, &stated)),
        }
    }

    /// The schema as it was stated.
    pub fn as_stated(&self) -> &Value {
        &self.stated
    }

    /// Whether a text is JSON that fits.
    ///
    /// # Errors
    /// Where it does not.
    pub fn check(&self, text: &str) -> Result<(), Misfit> {
        let instance: Value = serde_json::from_str(text).map_err(|_| Misfit::NotJson)?;
        let fits = self.validator.validate(&instance);
        fits.map_err(|error| misfit(&error, &self.stated))
    }
}

/// Where in a body the schema stands.
fn place_of(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Chat => Some("/response_format/json_schema/schema"),
        Kind::Response => Some("/text/format/schema"),
        Kind::Completion | Kind::Embedding => None,
    }
}

fn misfit(error: &ValidationError<'_>, stated: &Value) -> Misfit {
    let mut place = String::new();
    for step in error.instance_path().as_str().split('/').skip(1) {
        place.push('/');
        let name = step.replace("~1", "/").replace("~0", "~");
        let is_index = step.len() <= INDEX_DIGITS && step.bytes().all(|byte| byte.is_ascii_digit());
        let is_known = is_index || has_name(stated, &name);
        place.push_str(if is_known { step } else { "*" });
        if place.len() > PLACE_MAX {
            place.truncate(beginning(&place, PLACE_MAX).len());
            place.push('…');
            break;
        }
    }
    Misfit::Place {
        keyword: error.kind().keyword().to_owned(),
        place: Place(place),
    }
}

/// Whether any object in a value has a member of that name.
fn has_name(value: &Value, name: &str) -> bool {
    match value {
        Value::Object(members) => {
            members.contains_key(name) || members.values().any(|member| has_name(member, name))
        }
        Value::Array(items) => items.iter().any(|item| has_name(item, name)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
