//! The fields of a batch, in the order in which scripts read and answer them.

use redis::Value;

use super::reply;
use crate::{
    clock::Timestamp,
    model::{Batch, BatchId, Counts, Funds, Parked, Usage},
    store::{Error, record},
};

/// All of them, by the names that they have in the hash. `keep` is until when its tasks are kept.
pub(super) const NAMES: [&str; 19] = [
    "open", "q", "p", "end", "keep", "parked", "budget", "spent", "reserved", "short", "create",
    "c", "e", "x", "ui", "uo", "uc", "ur", "um",
];
/// The first ones say how the batch stands; the others are sums that are of no use to a script.
const STATE: usize = 10;
/// What scripts call the places of those that they look at.
const PLACES: [(&str, &str); 10] = [
    ("AT_OPEN", "open"),
    ("AT_QUEUED", "q"),
    ("AT_PROCESSING", "p"),
    ("AT_END", "end"),
    ("AT_KEEP", "keep"),
    ("AT_PARKED", "parked"),
    ("AT_BUDGET", "budget"),
    ("AT_SPENT", "spent"),
    ("AT_RESERVED", "reserved"),
    ("AT_SHORT", "short"),
];

/// Where a field stands, as Lua counts.
pub(super) fn place(name: &str) -> usize {
    let before = NAMES.iter().position(|it| *it == name);
    before.map_or(0, |before| before + 1)
}

/// The lists of fields and the places in them, as Lua expressions.
pub(super) fn lua_names() -> Vec<(&'static str, String)> {
    let list = |names: &[&str]| format!("'{}'", names.join("', '"));
    let mut values = vec![
        ("BATCH_FIELDS", list(&NAMES)),
        ("BATCH_STATE", list(&NAMES[..STATE])),
        ("AT_CREATE", place("create").to_string()),
    ];
    values.extend(PLACES.map(|(place_name, field)| (place_name, place(field).to_string())));
    values
}

/// Reads a batch's fields; none when there is no such batch.
pub(super) fn decode(id: BatchId, fields: &Value) -> Result<Option<Batch>, Error> {
    let odd = || reply::odd("a batch");
    let fields = reply::array(fields).ok_or_else(odd)?;
    let [
        open,
        queued,
        processing,
        end,
        _keep,
        parked,
        budget,
        spent,
        reserved,
        short,
        create,
        completed,
        error,
        cancelled,
        usage @ ..,
    ] = fields
    else {
        return Err(odd());
    };
    if matches!(open, Value::Nil) {
        return Ok(None);
    }
    let counts = [queued, processing, completed, error, cancelled];
    Ok(Some(Batch {
        id,
        counts: decode_counts(counts).ok_or_else(odd)?,
        usage: decode_usage(usage).ok_or_else(odd)?,
        open: reply::int(open) == Some(1),
        create_time: Timestamp(reply::int(create).ok_or_else(odd)?),
        // 0 is what a sum without an end leaves behind.
        last_end_time: reply::int(end).filter(|end| *end != 0).map(Timestamp),
        parked: reply::bytes(parked).map(decode_parked).transpose()?,
        funds: decode_funds([budget, spent, reserved, short]).ok_or_else(odd)?,
    }))
}

fn decode_counts(numbers: [&Value; 5]) -> Option<Counts> {
    let [queued, processing, completed, error, cancelled] = numbers.map(reply::count);
    Some(Counts {
        queued: queued?,
        processing: processing?,
        completed: completed?,
        error: error?,
        cancelled: cancelled?,
    })
}

fn decode_usage(numbers: &[Value]) -> Option<Usage> {
    let [input, output, cached, reasoning, cost] = numbers else {
        return None;
    };
    Some(Usage {
        input_tokens: reply::count(input)?,
        output_tokens: reply::count(output)?,
        cached_input_tokens: reply::count(cached)?,
        reasoning_tokens: reply::count(reasoning)?,
        cost_nanos: reply::count(cost)?,
    })
}

/// What a batch may spend, has spent, holds ready, and is short of.
fn decode_funds(fields: [&Value; 4]) -> Option<Option<Funds>> {
    let number = |value: &Value| match value {
        Value::Nil => Some(None),
        value => reply::count(value).map(Some),
    };
    let [budget, spent, reserved, short] = fields;
    let Some(budget) = number(budget)? else {
        return Some(None);
    };
    Some(Some(Funds {
        budget,
        spent: number(spent)?.unwrap_or_default(),
        reserved: number(reserved)?.unwrap_or_default(),
        short: number(short)?,
    }))
}

fn decode_parked(bytes: &[u8]) -> Result<Parked, Error> {
    record::from_cbor(bytes, "parking of a batch")
        .map_err(|fault| Error::Corrupt(fault.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_that_a_script_looks_at_has_a_place() {
        for (name, value) in lua_names().into_iter().skip(2) {
            assert_ne!(value, "0", "{name}");
        }
        for (_, field) in PLACES {
            assert!(place(field) <= STATE, "{field}");
        }
    }
}
