//! Logs on stderr, as the configuration asks, with a cap on what other crates may say.

use std::panic;

use tracing::{Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::filter_fn, fmt, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::config::{LogConfig, LogFormat};

/// Our own targets begin so.
const OURS: &str = "tidings";
/// What another crate may say when the filter does not name it.
const UNNAMED: LevelFilter = LevelFilter::WARN;
/// What another crate may say at most: below it HTTP and Redis clients show what they carry.
const FOREIGN: LevelFilter = LevelFilter::INFO;

/// Installs the process's logger. Does nothing when there is one already.
pub(super) fn install(config: &LogConfig) {
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(console::colors_enabled_stderr())
        // A closed stderr must not stop the server.
        .log_internal_errors(false);
    let lines = match config.format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Pretty => lines.boxed(),
    };
    // An error means that a logger is there already, which a caller of this library may have wanted.
    let _ = Registry::default()
        .with(capped(lines, &config.filter))
        .try_init();
    panic::set_hook(Box::new(|info| {
        // Its message may hold a piece of a task's input.
        let place = info.location().map(ToString::to_string);
        tracing::error!(place, "panicked");
    }));
}

/// Lines that the filter lets through, under the cap.
fn capped<L: Layer<Registry>>(lines: L, filter: &str) -> impl Layer<Registry> + use<L> {
    let named = named_targets(filter);
    let cap = filter_fn(move |metadata| allowed(metadata, &named));
    // The configuration has read the filter once already, so that it cannot be at fault here. It comes last: the last one
    // says from which level on nobody need ask, and the cap does not know.
    lines.with_filter(cap).with_filter(EnvFilter::new(filter))
}

fn allowed(metadata: &Metadata<'_>, named: &[String]) -> bool {
    let target = metadata.target();
    if is_within(target, OURS) {
        return true;
    }
    let is_named = named.iter().any(|name| is_within(target, name));
    *metadata.level() <= if is_named { FOREIGN } else { UNNAMED }
}

/// Whether a target is a module or one inside it.
fn is_within(target: &str, module: &str) -> bool {
    target
        .strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The modules that a filter names: `h2` in `info,h2=debug`.
fn named_targets(filter: &str) -> Vec<String> {
    filter
        .split(',')
        .filter_map(|directive| directive.split(['=', '[']).next())
        .map(|target| target.trim().to_owned())
        .filter(|target| !target.is_empty() && target.parse::<LevelFilter>().is_err())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What passes under this filter, of one line per crate and level.
    fn passed(filter: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = fmt::layer()
            .with_writer(move || writer.clone())
            .with_ansi(false);
        let subscriber = Registry::default().with(capped(layer, filter));
        tracing::subscriber::with_default(subscriber, || {
            tracing::trace!(target: "tidings::worker", "ours-trace");
            tracing::warn!(target: "h2::frame", "h2-warn");
            tracing::info!(target: "h2::frame", "h2-info");
            tracing::debug!(target: "h2::frame", "h2-debug");
            tracing::info!(target: "hyper", "hyper-info");
            tracing::debug!(target: "tidingsish", "stranger-debug");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn other_crates_are_capped_whatever_the_filter_says() {
        let all = passed("trace");
        assert!(
            all.contains("ours-trace") && all.contains("h2-warn"),
            "{all}"
        );
        for line in ["h2-info", "h2-debug", "hyper-info", "stranger-debug"] {
            assert!(!all.contains(line), "{all}");
        }
    }

    /// Every crate has lines for its developers on its hottest paths; to ask of each whether it is wanted took 4 % of the
    /// time of a busy server.
    #[test]
    fn what_no_filter_asks_for_is_not_even_looked_at() {
        let level = |filter| Registry::default().with(capped(fmt::layer(), filter));
        let level = |filter| tracing::Subscriber::max_level_hint(&level(filter));
        assert_eq!(level("info"), Some(LevelFilter::INFO));
        assert_eq!(level("warn,tidings=debug"), Some(LevelFilter::DEBUG));
    }

    #[test]
    fn a_crate_that_is_named_may_say_more_but_never_what_it_carries() {
        let named = passed("warn,h2=trace");
        assert!(named.contains("h2-info"), "{named}");
        for line in ["h2-debug", "hyper-info", "ours-trace"] {
            assert!(!named.contains(line), "{named}");
        }
        assert!(!passed("h2=off").contains("h2-warn"));
    }
}
