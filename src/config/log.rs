//! What is logged, and how it looks.

use tracing_subscriber::EnvFilter;

use super::{
    fault::{Faults, nearest},
    key,
    layers::Layers,
    value::shown,
};

/// The words that name a level by themselves.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What is logged, and how it looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A filter as `tracing_subscriber::EnvFilter` reads it; has been read once without fault.
    pub filter: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// One line for people.
    Pretty,
}

impl LogFormat {
    /// The word that names it.
    pub fn word(self) -> &'static str {
        match self {
            LogFormat::Json => "json",
            LogFormat::Pretty => "pretty",
        }
    }
}

pub(super) fn read(layers: &Layers, faults: &mut Faults) -> Option<LogConfig> {
    let filter = layers.read(&key::LOG_FILTER, faults, filter);
    let format = layers.read(&key::LOG_FORMAT, faults, format);
    Some(LogConfig {
        filter: filter?,
        format: format?,
    })
}

fn filter(text: &str) -> Result<String, String> {
    const RIGHT: &str = "write a level (off, error, warn, info, debug, trace) or a list such as info,tidings::worker=debug";
    if text.trim().is_empty() {
        return Err(format!("must not be empty; {RIGHT}"));
    }
    EnvFilter::try_new(text)
        .map_err(|error| format!("{} is not a log filter ({error}); {RIGHT}", shown(text)))?;
    // A bare word that is no level names a module, so a mistyped level would silence the log without a word.
    let bare = |word: &&str| !word.contains(['=', '[']);
    for word in text.split(',').map(str::trim).filter(bare) {
        let is_level = LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level));
        if let Some(level) = nearest(&word.to_ascii_lowercase(), LEVELS).filter(|_| !is_level) {
            return Err(format!(
                "{} is not a level; did you mean `{level}`?",
                shown(word)
            ));
        }
    }
    Ok(text.to_owned())
}

fn format(text: &str) -> Result<LogFormat, String> {
    match text {
        "json" => Ok(LogFormat::Json),
        "pretty" => Ok(LogFormat::Pretty),
        _ => Err(format!("{} is neither json nor pretty", shown(text))),
    }
}
