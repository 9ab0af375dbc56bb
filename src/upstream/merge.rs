//! How the pieces of a streamed answer grow together: text is joined, lists are lengthened, names stand.

use serde_json::{Map, Value};

/// Members that come whole, and in some servers' streams again with every piece.
const NAMES: [&str; 5] = ["id", "type", "name", "role", "format"];

/// Takes a member over, if nothing is known of it yet.
pub(super) fn set_once(into: &mut Map<String, Value>, member: String, value: Value) {
    match into.get(&member) {
        Some(known) if !is_nothing(known) => {}
        _ => set_latest(into, member, value),
    }
}

/// Takes a member over; nothing does not hide something.
pub(super) fn set_latest(into: &mut Map<String, Value>, member: String, value: Value) {
    if !(value.is_null() && into.contains_key(&member)) {
        into.insert(member, value);
    }
}

/// Joins a member's value to what there is of it.
pub(super) fn append(into: &mut Map<String, Value>, member: String, value: Value) {
    if NAMES.contains(&member.as_str()) {
        return set_once(into, member, value);
    }
    match (into.get_mut(&member), value) {
        (Some(Value::String(text)), Value::String(more)) => text.push_str(&more),
        (Some(Value::Array(list)), Value::Array(more)) => add_all(list, more),
        (Some(Value::Object(known)), Value::Object(more)) => {
            for (member, value) in more {
                append(known, member, value);
            }
        }
        // Content in parts, after or before content as text.
        (Some(Value::Array(list)), Value::String(more)) => list.push(part(more)),
        (Some(known @ Value::String(_)), Value::Array(more)) => {
            let before = known.as_str().filter(|text| !text.is_empty());
            let mut list: Vec<Value> = before
                .map(|text| part(text.to_owned()))
                .into_iter()
                .collect();
            add_all(&mut list, more);
            *known = Value::Array(list);
        }
        (_, Value::Array(more)) => {
            let mut list = Vec::new();
            add_all(&mut list, more);
            into.insert(member, Value::Array(list));
        }
        (_, value) => set_latest(into, member, value),
    }
}

/// Joins a delta to a choice's message.
pub(super) fn add_delta(choice: &mut Map<String, Value>, delta: Map<String, Value>) {
    let message = choice
        .entry("message")
        .or_insert_with(|| Value::Object(Map::from_iter([("content".to_owned(), Value::Null)])));
    let Value::Object(message) = message else {
        return;
    };
    for (member, value) in delta {
        match (member.as_str(), value) {
            ("tool_calls", Value::Array(pieces)) => {
                let calls = message.entry(member).or_insert(Value::Null);
                if !calls.is_array() {
                    *calls = Value::Array(Vec::new());
                }
                if let Value::Array(calls) = calls {
                    pieces.into_iter().for_each(|piece| add_call(calls, piece));
                }
            }
            (_, value) => append(message, member, value),
        }
    }
}

/// The choice as it stands in an answer that comes in one piece.
pub(super) fn settle(mut choice: Map<String, Value>) -> Value {
    let message = choice.get_mut("message");
    if let Some(Value::Array(calls)) = message.and_then(|it| it.get_mut("tool_calls")) {
        for call in calls.iter_mut().filter_map(Value::as_object_mut) {
            // There the place in the list says it.
            call.remove("index");
        }
    }
    Value::Object(choice)
}

/// Whether a delta says anything beyond who speaks.
pub(super) fn is_output(delta: &Map<String, Value>) -> bool {
    let mut said = delta.iter().filter(|(member, _)| *member != "role");
    said.any(|(_, value)| !is_nothing(value))
}

/// Tells the text with which `piece` goes on where `choice` is: the content, or a refusal where there is none.
pub(super) fn say(
    choice: &Map<String, Value>,
    piece: &Map<String, Value>,
    say: &mut dyn FnMut(&str),
) {
    let mut tell = |text: &str| {
        if !text.is_empty() {
            say(text);
        }
    };
    let known = choice.get("message").and_then(Value::as_object);
    let whole = piece.get("message").filter(|_| known.is_none());
    let Some(delta) = piece.get("delta").or(whole) else {
        return tell(string(piece.get("text")));
    };
    match delta.get("content") {
        Some(Value::Array(parts)) => {
            for part in parts {
                tell(string(part.get("text")));
            }
        }
        content if !string(content).is_empty() => tell(string(content)),
        _ => {
            let content = known.and_then(|message| message.get("content"));
            if content.is_none_or(is_nothing) {
                tell(string(delta.get("refusal")));
            }
        }
    }
}

/// Joins a piece of a tool call to the call that it belongs to.
fn add_call(calls: &mut Vec<Value>, piece: Value) {
    let id = string(piece.get("id"));
    let place = match piece.get("index") {
        // Some gateways count every call of an answer as the first.
        Some(index) => calls.iter().rposition(|call| {
            call.get("index") == Some(index) && !differs(string(call.get("id")), id)
        }),
        None if id.is_empty() && piece.pointer("/function/name").is_none_or(is_nothing) => {
            calls.len().checked_sub(1)
        }
        None => calls
            .iter()
            .rposition(|call| !id.is_empty() && string(call.get("id")) == id),
    };
    match (place.and_then(|place| calls.get_mut(place)), piece) {
        (Some(Value::Object(call)), Value::Object(piece)) => {
            for (member, value) in piece {
                append(call, member, value);
            }
        }
        (_, piece) => calls.push(piece),
    }
}

/// Two names that are both known and not the same.
fn differs(one: &str, other: &str) -> bool {
    !one.is_empty() && !other.is_empty() && one != other
}

/// Lengthens a list. Pieces that carry a place of their own are joined to what has the same place and kind.
fn add_all(list: &mut Vec<Value>, more: Vec<Value>) {
    for item in more {
        let place = item.get("index").and_then(|index| {
            list.iter().rposition(|known| {
                known.get("index") == Some(index) && known.get("type") == item.get("type")
            })
        });
        match (place.and_then(|place| list.get_mut(place)), item) {
            (Some(Value::Object(known)), Value::Object(item)) => {
                for (member, value) in item {
                    append(known, member, value);
                }
            }
            (_, item) => list.push(item),
        }
    }
}

fn part(text: String) -> Value {
    let members = [("type", Value::from("text")), ("text", Value::from(text))];
    Value::Object(
        members
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect(),
    )
}

fn string(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Number(number) => number.as_u64() == Some(0),
        Value::Bool(_) => false,
    }
}

/// About how many bytes a value takes.
pub(super) fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.len() + list.iter().map(weight).sum::<usize>(),
        Value::Object(members) => members
            .iter()
            .map(|(member, value)| member.len() + weight(value))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}
