//! Opaque tokens: where to resume a batch's watch, and where a listing goes on.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{model::BatchId, store::Cursor};

/// First byte of every token, so that another layout can be told apart later.
const VERSION: u8 = 1;

/// A token that names a batch and a number.
pub(super) fn encode(kind: u8, batch: BatchId, number: u64) -> String {
    let mut bytes = Vec::with_capacity(26);
    bytes.extend_from_slice(&[VERSION, kind]);
    bytes.extend_from_slice(batch.as_bytes());
    bytes.extend_from_slice(&number.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What [`encode`] put into a token of this kind; none for anything else.
pub(super) fn decode(kind: u8, token: &str) -> Option<(BatchId, u64)> {
    let bytes: [u8; 26] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
    if bytes[..2] != [VERSION, kind] {
        return None;
    }
    let mut batch = [0; 16];
    batch.copy_from_slice(&bytes[2..18]);
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[18..]);
    Some((BatchId::from_bytes(batch), u64::from_be_bytes(number)))
}

const RESUME: u8 = b'w';
const PAGE: u8 = b'l';

/// Resumes a watch of `batch` at `position`.
pub(super) fn resume(batch: BatchId, position: u64) -> String {
    encode(RESUME, batch, position)
}

/// The position in a resume token of `batch`; none for any other token.
pub(super) fn position(batch: BatchId, token: &str) -> Option<u64> {
    decode(RESUME, token)
        .filter(|(of, _)| *of == batch)
        .map(|(_, position)| position)
}

/// Goes on with a listing.
pub(super) fn page(cursor: Cursor) -> String {
    encode(PAGE, cursor.batch, cursor.offset)
}

/// The place in a page token; none for any other token.
pub(super) fn cursor(token: &str) -> Option<Cursor> {
    decode(PAGE, token).map(|(batch, offset)| Cursor { batch, offset })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn a_token_is_read_only_as_what_it_was_made_for() {
        let batch = BatchId::new(Timestamp(1), 0, 1);
        let other = BatchId::new(Timestamp(1), 0, 2);
        let token = resume(batch, 7);
        assert_eq!(position(batch, &token), Some(7));
        assert_eq!(position(other, &token), None);
        assert_eq!(cursor(&token), None);
        assert_eq!(position(batch, "nonsense"), None);
    }
}
