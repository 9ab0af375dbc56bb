//! A task's output over streams that break: every piece once.

use crate::proto::v1;

/// How much of an attempt's output was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    attempt: u32,
    bytes: u64,
}

impl Told {
    /// What of a piece is new: a stream that is opened again tells all of it again.
    pub(super) fn fresh(&mut self, delta: v1::OutputDelta) -> Option<v1::OutputDelta> {
        if delta.attempt != self.attempt {
            *self = Told {
                attempt: delta.attempt,
                bytes: 0,
            };
        }
        let known = usize::try_from(self.bytes.checked_sub(delta.offset)?).ok()?;
        let text = delta.text.get(known..).filter(|text| !text.is_empty())?;
        let offset = self.bytes;
        self.bytes += text.len() as u64;
        Some(v1::OutputDelta {
            text: text.to_owned(),
            offset,
            ..delta
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_told_once_however_often_it_comes() {
        let mut told = Told::default();
        let mut tell = |attempt, offset, text: &str| {
            let delta = v1::OutputDelta {
                text: text.to_owned(),
                attempt,
                offset,
                ..v1::OutputDelta::default()
            };
            told.fresh(delta).map(|delta| (delta.offset, delta.text))
        };
        let piece = |offset, text: &str| Some((offset, text.to_owned()));
        assert_eq!(tell(1, 0, "数"), piece(0, "数"));
        assert_eq!(tell(1, 0, "数a"), piece(3, "a"), "opened again");
        assert_eq!(tell(1, 0, "数a"), None);
        assert_eq!(tell(1, 9, "x"), None, "something before it is missing");
        assert_eq!(tell(1, 4, "b"), piece(4, "b"));
        assert_eq!(tell(2, 0, "new"), piece(0, "new"));
    }
}
