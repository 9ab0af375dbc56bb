//! What a running attempt has put out so far: shown while it runs, and gone with it.

use super::Store;
use crate::model::{Fence, Status, Task, TaskId};

/// Bytes of output that are kept of an attempt; what goes beyond comes with the result alone.
pub const OUTPUT_MAX: usize = 4 << 20;
/// Bytes of output that one read answers at most. What a watcher holds that has stopped reading is no more.
pub const OUTPUT_PAGE: usize = 64 << 10;

/// A piece of output to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The task.
    pub id: TaskId,
    /// The fence under which its attempt runs.
    pub fence: Fence,
    /// Bytes that the attempt has put out before.
    pub offset: u64,
    /// What follows them.
    pub text: String,
}

/// A piece of the output of a running attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The revision with which the attempt began.
    pub revision: u64,
    /// Bytes before `text`.
    pub offset: u64,
    /// What follows them; empty when nothing does yet.
    pub text: String,
}

impl Output {
    /// The page of `text` that begins with byte `from`. Both ends lie between characters.
    pub fn page(revision: u64, text: &str, from: u64) -> Self {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let from = boundary(text, from);
        let end = boundary(text, from + OUTPUT_PAGE);
        Output {
            revision,
            offset: from as u64,
            text: text[from..end].to_owned(),
        }
    }
}

/// What the running attempt of a task has put out, as far as one read tells; empty where nothing is known of it.
pub async fn so_far(store: &dyn Store, task: &Task) -> String {
    if !task.spec.stream || task.status() != Status::Processing {
        return String::new();
    }
    match store.output(task.id, 0).await {
        Ok(Some(output)) if output.revision == task.revision() => output.text,
        Ok(_) => String::new(),
        Err(error) => {
            tracing::debug!(%error, task = %task.id, "what a task had put out could not be kept");
            String::new()
        }
    }
}

/// The last place between characters up to `at`.
fn boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The part of an extension that is not there yet, where `known` bytes are; none when the extension cannot be taken.
pub fn fresh(extension: &Extension, known: usize) -> Option<&str> {
    let offset = usize::try_from(extension.offset).ok()?;
    let end = offset.checked_add(extension.text.len())?;
    if offset > known || end > OUTPUT_MAX {
        return None;
    }
    extension
        .text
        .get((known - offset).min(extension.text.len())..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, model::IdRange};

    #[test]
    fn pages_follow_each_other_between_characters() {
        let text = "数🦀a".repeat(OUTPUT_PAGE / 3);
        let (mut seen, mut pages) = (String::new(), 0);
        while seen.len() < text.len() {
            let page = Output::page(7, &text, seen.len() as u64);
            assert_eq!((page.revision, page.offset), (7, seen.len() as u64));
            assert!(!page.text.is_empty() && page.text.len() <= OUTPUT_PAGE);
            seen.push_str(&page.text);
            pages += 1;
        }
        assert!(seen == text, "the pages are not the text");
        assert_eq!(pages, 3);
        assert_eq!(Output::page(7, "ab", 9).offset, 2);
    }

    #[test]
    fn what_is_there_already_is_skipped_and_a_gap_is_refused() {
        let extension = |offset, text: &str| Extension {
            id: IdRange::new(Timestamp(1), 0, 1, 1).first,
            fence: Fence {
                epoch: 1,
                revision: 2,
            },
            offset,
            text: text.to_owned(),
        };
        assert_eq!(fresh(&extension(0, "abc"), 0), Some("abc"));
        assert_eq!(fresh(&extension(1, "bc"), 2), Some("c"));
        assert_eq!(fresh(&extension(0, "ab"), 5), Some(""));
        assert_eq!(fresh(&extension(3, "d"), 2), None);
        assert_eq!(fresh(&extension(OUTPUT_MAX as u64, "x"), OUTPUT_MAX), None);
        assert_eq!(fresh(&extension(u64::MAX, "x"), 0), None);
    }
}
