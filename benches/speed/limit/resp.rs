//! As much of Redis's protocol as it takes to read what a client has sent.

use std::ops::Range;

use crate::Fallible;

/// One command as it was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// Its bytes, in all that was sent.
    pub(super) whole: Range<usize>,
    /// Its words.
    pub(super) words: Vec<Range<usize>>,
}

/// Splits what a client has sent into commands.
pub(super) fn commands(bytes: &[u8]) -> Fallible<Vec<Sent>> {
    let mut commands = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let begin = at;
        let count = number(bytes, &mut at, b'*')?;
        let mut words = Vec::with_capacity(count);
        for _ in 0..count {
            let length = number(bytes, &mut at, b'$')?;
            words.push(at..at + length);
            at += length + 2;
        }
        commands.push(Sent {
            whole: begin..at,
            words,
        });
    }
    Ok(commands)
}

/// Reads a line that holds a mark and a number, and steps behind it.
fn number(bytes: &[u8], at: &mut usize, mark: u8) -> Fallible<usize> {
    let rest = bytes.get(*at..).ok_or("a command is cut off")?;
    let end = rest
        .windows(2)
        .position(|pair| pair == b"\r\n")
        .ok_or("a command is cut off")?;
    let digits = rest[..end]
        .strip_prefix(&[mark])
        .ok_or("what was sent is no command")?;
    *at += end + 2;
    Ok(std::str::from_utf8(digits)?.parse()?)
}
