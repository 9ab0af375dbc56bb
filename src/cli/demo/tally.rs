//! What the demo was told: shown while it happens, summed up at the end.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::{Ending, error::Error, json, output::Output, target::Event, text};
use crate::proto::v1::{self, TaskStatus, TransitionCause};

/// How often the counters are printed where no bar is shown.
const EVERY: Duration = Duration::from_millis(500);

/// Everything told so far.
pub(super) struct Tally {
    output: Output,
    transitions: u64,
    /// Failed attempts that were followed by another.
    retries: u64,
    /// Tasks that completed after at least one retry.
    healed: u64,
    progress: v1::BatchProgress,
    printed: Instant,
}

impl Tally {
    /// Nothing yet.
    pub(super) fn new(output: Output) -> Self {
        Tally {
            output,
            transitions: 0,
            retries: 0,
            healed: 0,
            progress: v1::BatchProgress::default(),
            printed: Instant::now(),
        }
    }

    /// Takes note of an event and shows what is worth it.
    pub(super) fn hear(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Task(task) => self.transition(&task),
            Event::Progress(progress) => {
                self.progress = progress;
                self.counters();
            }
            Event::Notice(_) | Event::Delta(_) | Event::Reset | Event::Alive => {}
        }
        Ok(())
    }

    fn transition(&mut self, task: &v1::Task) {
        self.transitions += 1;
        let failed = |attempt: &v1::TaskAttempt| attempt.outcome() == TransitionCause::Retried;
        if task.cause() == TransitionCause::Retried {
            self.retries += 1;
            self.output.note(&text::task(task));
        }
        if task.status() == TaskStatus::Completed && task.attempts.iter().any(failed) {
            self.healed += 1;
        }
        if task.status() == TaskStatus::Error {
            self.output.note(&text::task(task));
        }
    }

    /// The bar on a terminal, now and then a line elsewhere.
    fn counters(&mut self) {
        self.output.progress(&self.progress);
        if !self.output.shows_bar() && (self.progress.done || self.printed.elapsed() >= EVERY) {
            self.printed = Instant::now();
            self.output.note(&text::summary(&self.progress));
        }
    }

    /// How it went.
    pub(super) fn summary(self, took: Duration, injected: BTreeMap<String, u64>) -> Summary {
        Summary {
            tally: self,
            took,
            injected,
        }
    }
}

/// How it went.
pub(super) struct Summary {
    tally: Tally,
    took: Duration,
    /// The faults that the simulated upstream was made to show, by kind.
    injected: BTreeMap<String, u64>,
}

impl Summary {
    /// For people.
    pub(super) fn text(&self) -> String {
        let tally = &self.tally;
        let mut text = format!("\n{}\n", text::summary(&tally.progress));
        let _ = writeln!(
            text,
            "{} upstream calls were made to fail ({}): {} attempts retried, {} tasks healed by it, the rest waited out",
            self.injected.values().sum::<u64>(),
            self.kinds(),
            tally.retries,
            tally.healed,
        );
        let _ = writeln!(
            text,
            "{} transitions, each pushed; the server was never asked for a status",
            tally.transitions
        );
        let _ = writeln!(
            text,
            "{:.1} s from submit to the last answer, {:.0} tasks/s at a concurrency of this demo's choice",
            self.took.as_secs_f64(),
            self.rate()
        );
        text.push_str(
            "The upstream was simulated: its answers and failures are made up, and so are the tokens.\n\
             For real ones: OPENAI_API_KEY=… tidings serve, then tidings submit FILE --watch",
        );
        text
    }

    /// For scripts.
    pub(super) fn json(&self) -> Value {
        json!({"summary": {
            "progress": json::progress(&self.tally.progress),
            "transitions": self.tally.transitions,
            "injected": self.injected,
            "retries": self.tally.retries,
            "healed": self.tally.healed,
            "seconds": self.took.as_secs_f64(),
            "tasks_per_second": self.rate(),
            "simulated_upstream": true,
        }})
    }

    /// Well only when every task was answered.
    pub(super) fn ending(&self) -> Ending {
        let progress = &self.tally.progress;
        if progress.done && progress.completed == progress.total {
            Ending::Done
        } else {
            Ending::TaskFailed
        }
    }

    fn rate(&self) -> f64 {
        self.tally.progress.total as f64 / self.took.as_secs_f64().max(f64::EPSILON)
    }

    fn kinds(&self) -> String {
        let kinds = self
            .injected
            .iter()
            .map(|(kind, count)| format!("{count} × {kind}"));
        kinds.collect::<Vec<_>>().join(", ")
    }
}
