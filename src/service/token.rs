//! Opaque tokens: where to resume a batch's watch, and where a listing goes on.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{model::BatchId, store::Cursor, watch::Resume};

/// The first two bytes of a token: the version of its layout, and what it is for.
const RESUME: [u8; 2] = [2, b'w'];
const PAGE: [u8; 2] = [1, b'l'];

/// Bytes of what every token begins with: its kind, a batch and a number.
const PLACE_LEN: usize = 26;
/// Bytes of a resume token: a place and an epoch.
const RESUME_LEN: usize = PLACE_LEN + 4;

fn place(kind: [u8; 2], batch: BatchId, number: u64) -> [u8; PLACE_LEN] {
    let mut bytes = [0; PLACE_LEN];
    bytes[..2].copy_from_slice(&kind);
    bytes[2..18].copy_from_slice(batch.as_bytes());
    bytes[18..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// What [`place`] put into a token of this kind; none for anything else.
fn placed(kind: [u8; 2], bytes: &[u8]) -> Option<(BatchId, u64)> {
    let (batch, number) = bytes.strip_prefix(&kind)?.split_first_chunk()?;
    let number = number.try_into().ok().map(u64::from_be_bytes)?;
    Some((BatchId::from_bytes(*batch), number))
}

/// Resumes a watch of `batch`.
pub(super) fn resume(batch: BatchId, resume: Resume) -> String {
    let mut bytes = [0; RESUME_LEN];
    bytes[..PLACE_LEN].copy_from_slice(&place(RESUME, batch, resume.after));
    bytes[PLACE_LEN..].copy_from_slice(&resume.epoch.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What is in a resume token of `batch`; none for any other token.
pub(super) fn resumed(batch: BatchId, token: &str) -> Option<Resume> {
    let bytes: [u8; RESUME_LEN] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
    let (bytes, epoch) = bytes.split_last_chunk()?;
    let (of, after) = placed(RESUME, bytes)?;
    let epoch = u32::from_be_bytes(*epoch);
    (of == batch).then_some(Resume { after, epoch })
}

/// Goes on with a listing.
pub(super) fn page(cursor: Cursor) -> String {
    URL_SAFE_NO_PAD.encode(place(PAGE, cursor.batch, cursor.offset))
}

/// The place in a page token; none for any other token.
pub(super) fn cursor(token: &str) -> Option<Cursor> {
    let bytes: [u8; PLACE_LEN] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
    placed(PAGE, &bytes).map(|(batch, offset)| Cursor { batch, offset })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn a_token_is_read_only_as_what_it_was_made_for() {
        let batch = BatchId::new(Timestamp(1), 0, 1);
        let other = BatchId::new(Timestamp(1), 0, 2);
        let place = Resume { after: 7, epoch: 3 };
        let token = resume(batch, place);
        assert_eq!(resumed(batch, &token), Some(place));
        assert_eq!(resumed(other, &token), None);
        assert_eq!(cursor(&token), None);
        assert_eq!(resumed(batch, "nonsense"), None);

        let cursor = Cursor { batch, offset: 7 };
        assert_eq!(super::cursor(&page(cursor)), Some(cursor));
        assert_eq!(resumed(batch, &page(cursor)), None);
    }

    #[test]
    fn a_token_from_before_epochs_were_kept_is_none() {
        let batch = BatchId::new(Timestamp(1), 0, 1);
        let old = URL_SAFE_NO_PAD.encode(super::place([1, b'w'], batch, 7));
        assert_eq!(resumed(batch, &old), None);
    }
}
