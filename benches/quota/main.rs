//! How close to its quota Tidings keeps an upstream, and what it does when the upstream fails: the table of A1 to A14,
//! beside three baselines. Real servers, real sockets; the upstream is simulated, and its log alone is judged.
//!
//! `cargo bench --bench quota -- --only A1,A2 --scale 0.1` runs two cases at a tenth of their length.

mod baseline;
mod built;
mod case;
mod client;
mod extra;
mod judge;
mod process;
mod report;
mod stage;

use std::{path::PathBuf, time::Instant};

use clap::Parser as _;
use tokio::task::JoinHandle;

use baseline::{Baseline, Ran};
use case::{Case, Turn, paced::Scene};
use report::{Outcome, Stop, after, cells, percent};
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

/// The arms of a baseline, one for each scene.
type Arms = Vec<JoinHandle<Result<Ran, Stop>>>;

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let began = Instant::now();
    let bench = Bench {
        folder: args.folder.clone(),
        scale: args.scale,
    };
    let baselines: Vec<(&Baseline, Arms)> = if args.asks_for("baselines") {
        baseline::ALL
            .iter()
            .map(|baseline| (baseline, arms(baseline, &bench)))
            .collect()
    } else {
        Vec::new()
    };
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
    if !baselines.is_empty() {
        compare(baselines).await;
    }
    println!(
        "\nAll of it took {:.0} min.",
        began.elapsed().as_secs_f64() / 60.0
    );
}

/// Runs those that may run beside others, then the others one by one.
async fn run(args: &Args, bench: &Bench) -> Vec<(&'static Case, Option<Outcome>)> {
    let asked: Vec<&Case> = case::ALL
        .iter()
        .filter(|case| args.asks_for(case.id))
        .collect();
    let together: Vec<_> = asked
        .iter()
        .map(|case| (case.turn == Turn::Together).then(|| start(case, bench)))
        .collect();
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
            *outcome = Some(ended(case, start(case, bench)).await);
        }
    }
    outcomes
}

fn start(case: &Case, bench: &Bench) -> JoinHandle<Outcome> {
    tokio::spawn((case.run)(bench.clone()))
}

async fn ended(case: &Case, running: JoinHandle<Outcome>) -> Outcome {
    let outcome = running.await.unwrap_or_else(|error| Err(error.into()));
    let (measured, verdict) = cells(&outcome);
    eprintln!("{}: {verdict}: {measured}", case.id);
    outcome
}

fn scenes(bench: &Bench) -> [Scene; 3] {
    [
        Scene::told(bench),
        Scene::untold(bench),
        Scene::halved(bench),
    ]
}

fn arms(baseline: &'static Baseline, bench: &Bench) -> Arms {
    let start = |scene: Scene| {
        let bench = bench.clone();
        tokio::spawn(async move { baseline::run(baseline, &scene, &bench).await })
    };
    scenes(bench).map(start).into()
}

async fn compare(baselines: Vec<(&Baseline, Arms)>) {
    println!("\n| baseline | as A1 | as A2 | as A3 |\n|---|---|---|---|");
    for (baseline, arms) in baselines {
        let mut row = format!("| {} |", baseline.name);
        for arm in arms {
            let ran = arm.await.unwrap_or_else(|error| Err(error.into()));
            row += &match ran {
                Ok(ran) => format!(
                    " U {}, R {}, Conv {}, lost {} of {} |",
                    percent(ran.figures.utilisation),
                    percent(ran.figures.throttled),
                    after(ran.figures.convergence),
                    ran.lost,
                    ran.tasks
                ),
                Err(stop) => format!(" {} |", cells(&Err(stop)).0),
            };
        }
        println!("{row}");
    }
}
