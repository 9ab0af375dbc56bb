//! Prompts as people keep them: JSON lines of three kinds, or plain text, mixed line by line.
//!
//! A line that begins with `{` must be a JSON object; any other line is a prompt as it stands. Blank lines are skipped.
//! Nothing inside a prompt is trimmed.

mod chunk;
mod line;
mod member;
mod option;

use std::fmt;

use crate::proto::v1::{TaskSpec, task_spec::Work};

pub(super) use chunk::chunks;
pub(super) use option::stretch;

/// How many faulty lines are named before the rest is only counted.
const NAMED_FAULTS: usize = 20;

/// One task and where it stood.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prompt {
    /// The line, from 1.
    pub(super) line: usize,
    /// The task.
    pub(super) spec: TaskSpec,
}

/// The faulty lines of an input. Holds no text of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FaultyLines(Vec<(usize, String)>);

impl fmt::Display for FaultyLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (line, message)) in self.0.iter().take(NAMED_FAULTS).enumerate() {
            let end = if index == 0 { "" } else { "\n  " };
            write!(f, "{end}line {line}: {message}")?;
        }
        match self.0.len().checked_sub(NAMED_FAULTS) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "\n  and {more} more faulty lines"),
        }
    }
}

/// Reads a whole input. With `field`, JSON lines are records of which that member is the prompt.
pub(super) fn read(input: &[u8], field: Option<&str>) -> Result<Vec<Prompt>, FaultyLines> {
    // A byte order mark is no part of the first prompt.
    let input = input.strip_prefix(b"\xef\xbb\xbf").unwrap_or(input);
    let mut prompts = Vec::new();
    let mut faults = Vec::new();
    for (index, raw) in input.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        match one(raw.strip_suffix(b"\r").unwrap_or(raw), field) {
            Ok(Some(spec)) => prompts.push(Prompt { line: number, spec }),
            Ok(None) => {}
            Err(message) => faults.push((number, message)),
        }
    }
    if faults.is_empty() {
        Ok(prompts)
    } else {
        Err(FaultyLines(faults))
    }
}

fn one(raw: &[u8], field: Option<&str>) -> Result<Option<TaskSpec>, String> {
    let text = std::str::from_utf8(raw).map_err(|_| "not UTF-8".to_owned())?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    if !text.trim_start().starts_with('{') {
        return Ok(Some(TaskSpec {
            work: Some(Work::Prompt(text.to_owned())),
            ..TaskSpec::default()
        }));
    }
    line::read(text, field).map(Some)
}

#[cfg(test)]
mod tests;
