//! What a run of faults came to: a line for the table of `docs/evidence/faults.md`.

use std::{env, fs::OpenOptions, io::Write as _, time::Duration};

use serde::{Serialize, Serializer};

use super::scale::soaking;

/// One row of the table.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    /// What was done to it.
    pub(crate) fault: String,
    /// Which store, how many replicas, which lease.
    pub(crate) on: String,
    /// How many times it was done.
    pub(crate) times: usize,
    /// Tasks accepted meanwhile; this and what follows is none where it was not counted.
    pub(crate) tasks: Option<usize>,
    /// Tasks accepted that were not terminal at the end.
    pub(crate) lost: Option<usize>,
    /// Tasks told as ended more than once.
    pub(crate) double_terminals: Option<usize>,
    /// Upstream calls beyond the first of each task.
    pub(crate) duplicate_calls: Option<usize>,
    /// How many of those the faults explain.
    pub(crate) duplicates_allowed: Option<usize>,
    /// From the fault until the last of the tasks that it struck was processing elsewhere, or terminal.
    #[serde(serialize_with = "as_seconds")]
    pub(crate) longest_recovery: Option<Duration>,
    /// Whatever else was seen.
    pub(crate) note: String,
    /// The command that draws the same again.
    pub(crate) repeat: String,
}

impl Row {
    /// Adds the row to the file named by TIDINGS_FAULTS_REPORT, if there is one, and prints it.
    #[expect(
        clippy::disallowed_methods,
        reason = "what a test run is told is no configuration of the server"
    )]
    pub(crate) fn report(&self) {
        let line = serde_json::to_string(self).unwrap();
        println!("{line}");
        let Ok(path) = env::var("TIDINGS_FAULTS_REPORT") else {
            return;
        };
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let mut file = file.unwrap_or_else(|error| panic!("open {path}: {error}"));
        // In one write, so that rows of tests that run at once stay apart.
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// The command that runs a test again whose chance is the same each time.
pub(crate) fn repeat(test: &str) -> String {
    let long = if soaking() { "TIDINGS_SOAK=1 " } else { "" };
    format!("{long}cargo test --test it {test}")
}

fn as_seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| (time.as_secs_f64() * 100.0).round() / 100.0)
        .serialize(serializer)
}
