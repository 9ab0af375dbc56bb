//! Server-sent events, read leniently: bytes in as they come, events out. Pure, and nothing a server sends makes it
//! hold more than its bound.
//!
//! Line ends may be LF, CR LF or CR, a chunk may end anywhere, a byte order mark may stand first. Comments and fields
//! that say nothing here are skipped.

/// A byte order mark in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// What its `event` field says; empty where it has none.
    pub(super) name: Vec<u8>,
    /// Its data, the lines of it joined by line feeds.
    pub(super) data: Vec<u8>,
}

/// An event, or a line, is larger than the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Oversized;

/// Puts events together from chunks.
#[derive(Debug)]
pub(super) struct Parser {
    /// Bytes that one event may take.
    max: usize,
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// The event that has not ended yet, and whether it has data.
    event: Event,
    has_data: bool,
    /// The last chunk ended with a CR; an LF that comes next belongs to it.
    after_cr: bool,
    /// No line has ended yet.
    at_start: bool,
}

impl Parser {
    /// A parser of events of at most so many bytes.
    pub(super) fn new(max: usize) -> Self {
        Parser {
            max,
            line: Vec::new(),
            event: Event::default(),
            has_data: false,
            after_cr: false,
            at_start: true,
        }
    }

    /// Reads a chunk and adds the events that end in it.
    ///
    /// # Errors
    /// An event is larger than the bound; the rest cannot be trusted.
    pub(super) fn push(&mut self, chunk: &[u8], events: &mut Vec<Event>) -> Result<(), Oversized> {
        let mut rest = chunk;
        if self.after_cr
            && let Some((first, tail)) = rest.split_first()
        {
            self.after_cr = false;
            if *first == b'\n' {
                rest = tail;
            }
        }
        while let Some(end) = rest.iter().position(|byte| b"\r\n".contains(byte)) {
            let (line, tail) = rest.split_at(end);
            self.add(line)?;
            events.extend(self.end_line());
            rest = match tail {
                [b'\r', b'\n', tail @ ..] => tail,
                [end, tail @ ..] => {
                    self.after_cr = *end == b'\r' && tail.is_empty();
                    tail
                }
                [] => tail,
            };
        }
        self.add(rest)
    }

    /// The event that the end of the stream has cut off, or that was sent without its last line ends.
    pub(super) fn finish(mut self) -> Option<Event> {
        self.end_line().or_else(|| self.end_event())
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), Oversized> {
        let held = self.line.len() + self.event.data.len() + self.event.name.len();
        if held + bytes.len() > self.max {
            return Err(Oversized);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let was_start = std::mem::replace(&mut self.at_start, false);
        let text = match line.strip_prefix(MARK) {
            Some(text) if was_start => text,
            _ => &line[..],
        };
        if text.is_empty() {
            return self.end_event();
        }
        let (field, value) = match text.iter().position(|byte| *byte == b':') {
            Some(colon) => (&text[..colon], &text[colon + 1..]),
            None => (text, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push(b'\n');
                }
                self.event.data.extend_from_slice(value);
            }
            b"event" => self.event.name = value.to_vec(),
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<Event> {
        let event = std::mem::take(&mut self.event);
        std::mem::replace(&mut self.has_data, false).then_some(event)
    }
}

#[cfg(test)]
#[path = "sse_tests.rs"]
mod tests;
