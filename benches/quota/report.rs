//! What a case found, and the tables.

use std::fmt::Write as _;

/// One thing that was measured.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    text: String,
    /// None where nothing is asked of it.
    holds: Option<bool>,
}

impl Finding {
    /// A figure that has to hold.
    pub(crate) fn check(text: impl Into<String>, holds: bool) -> Self {
        Finding {
            text: text.into(),
            holds: Some(holds),
        }
    }

    /// A figure that is told beside the others.
    pub(crate) fn note(text: impl Into<String>) -> Self {
        Finding {
            text: text.into(),
            holds: None,
        }
    }

    /// The same, of which nothing is asked.
    pub(crate) fn noted(self) -> Self {
        Finding {
            holds: None,
            ..self
        }
    }
}

/// Why a case came to no figures.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The server does not know what the case is about.
    NotBuilt(String),
    /// It could not be carried through.
    Broken(String),
}

impl<E: std::error::Error> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Broken(chain(&error))
    }
}

/// What a case came to.
pub(crate) type Outcome = Result<Vec<Finding>, Stop>;

/// Says what was measured, and whether that passes.
pub(crate) fn cells(outcome: &Outcome) -> (String, &'static str) {
    match outcome {
        Ok(findings) => {
            let mut text = String::new();
            for finding in findings {
                let mark = if finding.holds == Some(false) {
                    "**"
                } else {
                    ""
                };
                let _ = write!(
                    text,
                    "{}{mark}{}{mark}",
                    if text.is_empty() { "" } else { "; " },
                    finding.text
                );
            }
            let held = findings.iter().all(|finding| finding.holds != Some(false));
            (text, if held { "pass" } else { "**fail**" })
        }
        Err(Stop::NotBuilt(why)) => (one_line(why), "not built"),
        Err(Stop::Broken(why)) => (one_line(why), "**broken**"),
    }
}

/// A share as people read it.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A time as people read it, or that it never came.
pub(crate) fn after(time: Option<f64>) -> String {
    time.map_or_else(|| "never".to_owned(), |time| format!("{time:.1} s"))
}

fn one_line(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "/")
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let _ = write!(text, ": {inner}");
        cause = inner.source();
    }
    text
}
