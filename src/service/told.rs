//! What many watchers of one batch are told, encoded once.

use quick_cache::{Weighter, sync::Cache};

use crate::{
    model::{BatchId, Waiting},
    proto::{Encoded, v1::WatchBatchResponse},
    watch::Resume,
};

/// Bytes of messages that are kept for those who are to be told the same.
const ROOM: u64 = 8 << 20;
/// About how long messages are: how many fit is reckoned by it.
const USUAL: usize = 512;
/// What a kept message costs besides its bytes.
const OVERHEAD: usize = 128;

/// All that a message about a task depends on: a place in a log tells the same of it each time, but for what may change
/// without a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) batch: BatchId,
    pub(super) resume: Resume,
    pub(super) results: bool,
    pub(super) compacted: bool,
    /// What the task waits for, and how far it is, where it is told as it stands.
    pub(super) now: Option<(Option<Waiting>, u8)>,
}

#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<Place, Encoded<WatchBatchResponse>> for Bytes {
    fn weight(&self, _: &Place, message: &Encoded<WatchBatchResponse>) -> u64 {
        (message.bytes().len() + OVERHEAD) as u64
    }
}

/// Messages of late that others may be told as well.
#[derive(Debug)]
pub(super) struct Told(Cache<Place, Encoded<WatchBatchResponse>, Bytes>);

impl Default for Told {
    fn default() -> Self {
        let fit = ROOM as usize / (USUAL + OVERHEAD);
        Told(Cache::with_weighter(fit, ROOM, Bytes))
    }
}

impl Told {
    /// The message about that place: the one that is kept, or else what `encode` makes.
    pub(super) fn at(
        &self,
        place: Place,
        encode: impl FnOnce() -> Encoded<WatchBatchResponse>,
    ) -> Encoded<WatchBatchResponse> {
        if let Some(message) = self.0.get(&place) {
            return message;
        }
        let message = encode();
        self.0.insert(place, message.clone());
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(after: u64) -> Place {
        Place {
            batch: BatchId::from_bytes([7; 16]),
            resume: Resume { after, epoch: 1 },
            results: true,
            compacted: false,
            now: None,
        }
    }

    fn message(bytes: usize) -> Encoded<WatchBatchResponse> {
        let message = WatchBatchResponse {
            resume_token: "r".repeat(bytes),
            ..WatchBatchResponse::default()
        };
        Encoded::from(&message)
    }

    #[test]
    fn what_was_told_of_a_place_is_told_again_in_the_same_bytes() {
        let told = Told::default();
        let first = told.at(place(1), || message(300));
        let again = told.at(place(1), || unreachable!("it is kept"));
        assert_eq!(first.bytes().as_ptr(), again.bytes().as_ptr());
        let later = Place {
            now: Some((None, 40)),
            ..place(1)
        };
        let other = told.at(later, || message(200));
        assert_ne!(first.bytes(), other.bytes(), "something has changed since");
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let told = Told::default();
        for after in 0..1_000 {
            told.at(place(after), || message(64 << 10));
        }
        assert!(told.0.weight() <= ROOM);
        assert!(told.0.len() > 10, "it keeps some");
    }
}
