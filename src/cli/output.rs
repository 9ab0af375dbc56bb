//! What goes to stdout: lines for people, or one JSON object a line for scripts; and the progress bar on stderr.

use std::{
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{error::Error, json, text};
use crate::proto::v1;

/// What stdout holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The way to stdout. Clones share one progress bar.
#[derive(Clone, Debug)]
pub(super) struct Output {
    format: Format,
    bar: ProgressBar,
    /// The last line has not ended.
    mid_line: Arc<AtomicBool>,
}

impl Output {
    /// An output without a bar.
    pub(super) fn new(format: Format) -> Self {
        Output {
            format,
            bar: ProgressBar::hidden(),
            mid_line: Arc::default(),
        }
    }

    /// Adds a progress bar; it shows on a terminal only.
    pub(super) fn with_bar(mut self) -> Self {
        const LOOK: &str = "{bar:30} {pos}/{len} {msg} {elapsed}";
        let style = ProgressStyle::with_template(LOOK);
        self.bar =
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        self
    }

    /// Whether stdout is for scripts.
    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Writes a line to stdout. A closed pipe is an error, never a panic.
    pub(super) fn line(&self, line: &str) -> Result<(), Error> {
        let before = if self.mid_line.swap(false, Ordering::Relaxed) {
            "\n"
        } else {
            ""
        };
        self.bar
            .suspend(|| writeln!(io::stdout().lock(), "{before}{line}"))
            .map_err(Error::from)
    }

    /// Writes a piece of text to stdout at once; the next line begins below it.
    pub(super) fn piece(&self, text: &str) -> Result<(), Error> {
        self.mid_line
            .store(!text.ends_with('\n'), Ordering::Relaxed);
        let mut stdout = io::stdout().lock();
        write!(stdout, "{text}")?;
        Ok(stdout.flush()?)
    }

    /// Writes one or the other.
    pub(super) fn either(
        &self,
        text: impl FnOnce() -> String,
        json: impl FnOnce() -> Value,
    ) -> Result<(), Error> {
        match self.format {
            Format::Text => self.line(&text()),
            Format::Json => self.line(&json().to_string()),
        }
    }

    /// Writes a task.
    pub(super) fn task(&self, task: &v1::Task) -> Result<(), Error> {
        self.either(|| text::task(task), || json::task(task))
    }

    /// Tells a person something that is no result.
    pub(super) fn note(&self, line: &str) {
        // When stderr is closed there is nobody to tell.
        self.bar.suspend(|| {
            let _ = writeln!(io::stderr(), "{line}");
        });
    }

    /// Whether a person sees the bar.
    pub(super) fn shows_bar(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Moves the bar.
    pub(super) fn progress(&self, progress: &v1::BatchProgress) {
        self.bar.set_length(progress.total);
        self.bar
            .set_position(progress.completed + progress.error + progress.cancelled);
        self.bar.set_message(text::in_flight(progress));
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
