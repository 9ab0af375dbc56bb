//! A6: errors, resets and torn answers.

use std::{collections::BTreeSet, time::Duration};

use tidings::simulator::{self, Ended, Fault, Faults, Latency};

use crate::{
    judge::Unit,
    report::{Finding, Outcome, percent},
    stage::{Bench, Stage, prompts},
};

/// Each of them once for a prompt at most, so that every task can succeed.
pub(crate) async fn healed(bench: Bench) -> Outcome {
    let tasks = bench.lasting(10_000.0) as usize;
    let behaviour = simulator::Config {
        latency: Latency::Fixed(Duration::from_millis(500)),
        seed: 6,
        faults: Faults {
            rates: vec![
                (Fault::Status(500), 0.05),
                (Fault::Reset, 0.02),
                (Fault::Truncated, 0.02),
            ],
            first_attempts: Some(1),
            ..Faults::default()
        },
        ..simulator::Config::default()
    };
    let mut stage = Stage::start(&bench, "mixed", behaviour, "plain.toml").await?;
    let run = stage
        .run(prompts("mixed", tasks), Duration::from_secs(180))
        .await?;
    let log = run.log(Unit::Requests);
    let calls = log.calls.len() as f64 / tasks as f64;
    let lost_answer = |fault: &str| fault == "reset" || fault == "truncated";
    let ambiguous: BTreeSet<&str> = log
        .calls
        .iter()
        .filter(|call| {
            call.fault.as_deref().is_some_and(lost_answer) || call.ended == Ended::HungUp
        })
        .map(|call| call.task.as_str())
        .collect();
    let twice = log.billed_twice();
    let unexplained = twice.difference(&ambiguous).count();
    let dup = format!(
        "Dup {}, of them {unexplained} not among the {} ambiguous",
        twice.len(),
        ambiguous.len()
    );
    Ok(vec![
        run.lost(),
        Finding::check(format!("{calls:.3} calls a task"), calls <= 1.10),
        Finding::check(dup, unexplained == 0),
        Finding::note(format!("Overspend {}", percent(log.overspend()))),
    ])
}
