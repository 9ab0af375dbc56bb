//! Reads replies leniently: what cannot be understood is an error, never a panic.

use redis::Value;

use crate::{
    model::{IdRange, TaskId},
    store::Error,
};

/// Bytes of an id range: first id, u32 count.
pub(super) const RANGE_LEN: usize = 20;

/// A reply that makes no sense.
pub(super) fn odd(what: &str) -> Error {
    Error::Corrupt(format!("the reply about {what} is not understood"))
}

/// A whole number, however it was written.
pub(super) fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Double(number) => Some(*number as i64),
        Value::BulkString(bytes) => number(std::str::from_utf8(bytes).ok()?),
        Value::SimpleString(text) => number(text),
        _ => None,
    }
}

fn number(text: &str) -> Option<i64> {
    // Scores are floating-point numbers and may be written as such.
    text.parse()
        .ok()
        .or_else(|| text.parse::<f64>().ok().map(|number| number as i64))
}

/// A number that cannot be negative; nil counts as 0.
pub(super) fn count(value: &Value) -> Option<u64> {
    match value {
        Value::Nil => Some(0),
        value => int(value).map(|number| number.max(0).unsigned_abs()),
    }
}

/// An epoch.
pub(super) fn epoch(value: &Value) -> Option<u32> {
    count(value).and_then(|number| u32::try_from(number).ok())
}

/// Bytes.
pub(super) fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

/// A list.
pub(super) fn array(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(values) | Value::Set(values) => Some(values),
        _ => None,
    }
}

/// 16 bytes of an id.
pub(super) fn id(value: &Value) -> Option<[u8; 16]> {
    bytes(value)?.try_into().ok()
}

/// An id range in its 20 bytes.
pub(super) fn encode_range(range: IdRange) -> [u8; RANGE_LEN] {
    let mut bytes = [0; RANGE_LEN];
    bytes[..16].copy_from_slice(range.first.as_bytes());
    bytes[16..].copy_from_slice(&range.count.to_be_bytes());
    bytes
}

/// Reads what [`encode_range`] wrote.
pub(super) fn decode_range(bytes: &[u8]) -> Option<IdRange> {
    let bytes: &[u8; RANGE_LEN] = bytes.try_into().ok()?;
    let (first, count) = bytes.split_first_chunk::<16>()?;
    Some(IdRange {
        first: TaskId::from_bytes(*first),
        count: u32::from_be_bytes(count.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn numbers_are_read_however_they_are_written() {
        for value in [
            Value::Int(1_700_000_000_000),
            Value::Double(1.7e12),
            Value::BulkString(b"1700000000000".to_vec()),
            Value::BulkString(b"1.7e+12".to_vec()),
        ] {
            assert_eq!(int(&value), Some(1_700_000_000_000), "{value:?}");
        }
        assert_eq!(int(&Value::Okay), None);
        assert_eq!(int(&Value::BulkString(b"x".to_vec())), None);
        assert_eq!(count(&Value::Nil), Some(0));
    }

    #[test]
    fn a_range_comes_back_as_it_was_written() {
        let range = IdRange::new(Timestamp(7), 1, 99, 1_000);
        assert_eq!(decode_range(&encode_range(range)), Some(range));
        assert_eq!(decode_range(&[0; 19]), None);
    }
}
