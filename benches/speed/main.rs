//! How fast Tidings is, beside what the machine could do at best and what other task queues do in the same run. A real
//! server, Redis, upstream and client, each in a process of its own; the history of every task is checked in the same
//! round: one that lost or repeated something counts as zero. Figures are medians of several rounds.
//!
//! `cargo bench --bench speed -- --only W1,limit --scale 0.1` runs two workloads at a tenth of their size.

mod check;
mod client;
mod disk;
mod goal;
#[expect(
    dead_code,
    unused_imports,
    reason = "the tests use all of it, a bench the check alone"
)]
#[path = "../../tests/it/support/history.rs"]
mod history;
mod latency;
mod limit;
mod peers;
mod process;
mod report;
mod scale;
mod stage;
mod throughput;
mod upstream;
mod watchers;

use std::{error::Error, path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser as _;

use report::Report;
use stage::Kind;

/// What a workload came to; any error counts as zero.
pub(crate) type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Runs the workloads and prints their tables.
#[derive(Debug, clap::Parser)]
struct Args {
    /// Only these workloads, such as W1,limit
    #[arg(long, value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(WORKLOADS), ignore_case = true)]
    only: Vec<String>,
    /// Only these stores, where a workload runs on several
    #[arg(long, value_enum, value_delimiter = ',')]
    stores: Vec<Kind>,
    /// How many tasks, as a share of the full number
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Rounds of each, of which the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// What scripts/bench-peers printed
    #[arg(long)]
    peers: Option<PathBuf>,
    /// Where stores and logs go while they are needed
    #[arg(long, default_value = "target/bench-speed")]
    folder: PathBuf,
    /// Be the server of the echo stream
    #[arg(long, hide = true)]
    serve_echoes: bool,
    /// Cargo says so to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// What can be asked for.
const WORKLOADS: [&str; 6] = ["limit", "W1", "W2", "W3", "W4", "W5"];

/// What all workloads share.
#[derive(Clone, Debug)]
pub(crate) struct Bench {
    /// Where stores and logs go.
    pub(crate) folder: PathBuf,
    /// Rounds of each.
    pub(crate) rounds: usize,
    scale: f64,
    stores: Vec<Kind>,
}

impl Bench {
    /// So many of the full number, and at least one.
    pub(crate) fn scaled(&self, count: usize) -> usize {
        ((count as f64 * self.scale).round() as usize).max(1)
    }

    /// Those of these stores that are asked for.
    pub(crate) fn chosen<const N: usize>(&self, kinds: [Kind; N]) -> impl Iterator<Item = Kind> {
        let is_chosen = |kind: &Kind| self.stores.is_empty() || self.stores.contains(kind);
        kinds.into_iter().filter(move |kind| is_chosen(kind))
    }
}

// One thread, as a client with one event loop has: on machines of few cores a second one only gets in the servers' way.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Fallible<ExitCode> {
    let args = Args::parse();
    if args.serve_echoes {
        limit::serve().await?;
        return Ok(ExitCode::SUCCESS);
    }
    let began = Instant::now();
    std::fs::create_dir_all(&args.folder)?;
    let bench = Bench {
        folder: args.folder.clone(),
        rounds: usize::try_from(args.rounds)?,
        scale: args.scale,
        stores: args.stores.clone(),
    };
    let mut report = Report::default();
    let settings = match &args.peers {
        Some(peers) => peers::read(peers, &mut report)?,
        None => String::new(),
    };
    let asks_for = |name: &str| {
        args.only.is_empty() || args.only.iter().any(|only| only.eq_ignore_ascii_case(name))
    };
    if asks_for("limit") {
        limit::measure(&bench, &mut report).await;
    }
    if asks_for("W1") {
        throughput::measure(&bench, &mut report).await;
    }
    if asks_for("W2") {
        latency::measure(&bench, &mut report).await;
    }
    if asks_for("W3") {
        upstream::measure(&bench, &mut report).await;
    }
    if asks_for("W4") {
        watchers::measure(&bench, &mut report).await;
    }
    if asks_for("W5") {
        scale::measure(&bench, &mut report).await;
    }
    println!("{}", report.goals(goal::ALL));
    println!("{}", report.table());
    if !settings.is_empty() {
        println!("Settings of the peers:\n\n{settings}");
    }
    println!(
        "All of it took {:.0} min.",
        began.elapsed().as_secs_f64() / 60.0
    );
    Ok(if report.is_sound() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
