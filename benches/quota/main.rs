//! How close to its quota Tidings keeps an upstream, and what it does when the upstream fails: the table of A1 to A14,
//! beside three baselines. Real servers, real sockets; the upstream is simulated, and its log alone is judged.
//!
//! `cargo bench --bench quota -- --only A1,A2 --scale 0.1` runs two cases at a tenth of their length.

mod baseline;
mod case;
mod client;
mod comparison;
mod judge;
mod process;
mod report;
mod stage;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Parser as _;
use tokio::{task::JoinHandle, time::sleep};

use case::{Case, Turn};
use comparison::Comparison;
use report::{Outcome, cells};
use stage::Bench;

/// Runs the cases and prints their table.
#[derive(Debug, clap::Parser)]
struct Args {
    /// Only these cases, such as A1,A2 or baselines
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How long the cases last, as a share of their full length
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Where logs and stores go
    #[arg(long, default_value = "target/bench-quota")]
    folder: PathBuf,
    /// Cargo says so to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    fn asks_for(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only.eq_ignore_ascii_case(name))
    }
}

/// Cases that run side by side start so long after each other: what one takes to start must not slow another down while
/// it looks for its pace.
const APART: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let began = Instant::now();
    let bench = Bench {
        folder: args.folder.clone(),
        scale: args.scale,
    };
    let comparison = args
        .asks_for("baselines")
        .then(|| Comparison::start(&bench));
    let outcomes = run(&args, &bench).await;
    println!("| # | case | passes with | measured | |\n|---|---|---|---|---|");
    for (case, outcome) in &outcomes {
        let (measured, verdict) = match outcome {
            Some(outcome) => cells(outcome),
            None => ("measured by the speed bench".to_owned(), "–"),
        };
        println!(
            "| {} | {} | {} | {measured} | {verdict} |",
            case.id, case.what, case.pass
        );
    }
    if let Some(comparison) = comparison {
        comparison.print(&outcomes).await;
    }
    println!(
        "\nAll of it took {:.0} min.",
        began.elapsed().as_secs_f64() / 60.0
    );
}

/// The cases that were asked for, and what they came to; none for those measured elsewhere.
type Outcomes = Vec<(&'static Case, Option<Outcome>)>;

/// Runs those that may run beside others, then the others one by one.
async fn run(args: &Args, bench: &Bench) -> Outcomes {
    let asked: Vec<&Case> = case::ALL
        .iter()
        .filter(|case| args.asks_for(case.id))
        .collect();
    let together = asked.iter().enumerate().map(|(number, case)| {
        let start = || {
            start(
                case,
                bench,
                APART * u32::try_from(number).unwrap_or_default(),
            )
        };
        (case.turn == Turn::Together).then(start)
    });
    let together: Vec<_> = together.collect();
    let mut outcomes = Vec::new();
    for (case, running) in asked.into_iter().zip(together) {
        let outcome = match running {
            Some(running) => Some(ended(case, running).await),
            None => None,
        };
        outcomes.push((case, outcome));
    }
    for (case, outcome) in &mut outcomes {
        if case.turn == Turn::Alone {
            *outcome = Some(ended(case, start(case, bench, Duration::ZERO)).await);
        }
    }
    outcomes
}

fn start(case: &Case, bench: &Bench, after: Duration) -> JoinHandle<Outcome> {
    let (run, bench) = (case.run, bench.clone());
    tokio::spawn(async move {
        sleep(after).await;
        run(bench).await
    })
}

async fn ended(case: &Case, running: JoinHandle<Outcome>) -> Outcome {
    let outcome = running.await.unwrap_or_else(|error| Err(error.into()));
    let (measured, verdict) = cells(&outcome);
    eprintln!("{}: {verdict}: {measured}", case.id);
    outcome
}
