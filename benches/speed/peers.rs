//! The figures of other task queues, as scripts/bench-peers printed them in the same run.

use std::path::Path;

use serde::Deserialize;

use super::{Fallible, report::Report};

/// One line of scripts/bench-peers.
#[derive(Debug, Deserialize)]
struct Line {
    peer: String,
    workload: String,
    store: String,
    version: String,
    settings: serde_json::Value,
    lost: i64,
    repeated: i64,
    tasks_per_s: Option<f64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    wall_over_ideal: Option<f64>,
    cpu_ms_per_task: Option<f64>,
}

/// Adds the peers' figures to the report, and answers with which settings they were made.
pub(crate) fn read(path: &Path, report: &mut Report) -> Fallible<String> {
    let mut settings = String::new();
    for text in std::fs::read_to_string(path)?.lines() {
        let line: Line = serde_json::from_str(text)?;
        let workload = match line.workload.as_str() {
            "w1" => "W1",
            "w2" => "W2",
            "w3" => "W3",
            other => return Err(format!("no workload is called {other}").into()),
        };
        let aof = if line.store.contains("aof") {
            ", AOF everysec"
        } else {
            ""
        };
        let case = format!("{}{aof}", line.peer);
        settings += &format!(
            "- {workload}, {case} {}: `{}`\n",
            line.version, line.settings
        );
        if line.lost != 0 || line.repeated != 0 {
            let why = format!("{} lost, {} repeated", line.lost, line.repeated);
            report.zero(workload, &case, &why);
        }
        let figures = [
            ("tasks/s", line.tasks_per_s),
            ("p50 ms", line.p50_ms),
            ("p99 ms", line.p99_ms),
            ("wall ÷ ideal", line.wall_over_ideal),
            ("CPU ms a task", line.cpu_ms_per_task),
        ];
        for (what, figure) in figures {
            if let Some(figure) = figure {
                report.add(workload, &case, what, vec![figure]);
            }
        }
    }
    Ok(settings)
}
