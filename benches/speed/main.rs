//! How fast Tidings is, beside what the machine could do at best and what other task queues do in the same run. A real
//! server, Redis, upstream and client, each in a process of its own; the history of every task is checked in the same
//! round: one that lost or repeated something counts as zero. Figures are medians of several rounds.
//!
//! `cargo bench --bench speed -- --only W1,limit --scale 0.1` runs two workloads at a tenth of their size.

mod check;
mod client;
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

use report::{Ratio, Report};

/// What a workload came to; any error counts as zero.
pub(crate) type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Runs the workloads and prints their tables.
#[derive(Debug, clap::Parser)]
struct Args {
    /// Only these workloads, such as W1,limit
    #[arg(long, value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(WORKLOADS), ignore_case = true)]
    only: Vec<String>,
    /// How many tasks, as a share of the full number
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Rounds of each, of which the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
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
}

impl Bench {
    /// So many of the full number, and at least one.
    pub(crate) fn scaled(&self, count: usize) -> usize {
        ((count as f64 * self.scale).round() as usize).max(1)
    }
}

#[tokio::main]
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
    println!("{}", report.ratios(RATIOS));
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

/// What the figures are measured by.
const RATIOS: &[Ratio] = &[
    Ratio {
        text: "W1 on Redis ÷ bare scripts, 1,000 a call",
        of: ("W1", "redis", "tasks/s"),
        to: ("limit", "scripts bare, 1,000 a call", "tasks/s"),
        goal: "≥ 0.6",
    },
    Ratio {
        text: "W1 on Redis ÷ bare scripts, 256 a call",
        of: ("W1", "redis", "tasks/s"),
        to: ("limit", "scripts bare, 256 a call", "tasks/s"),
        goal: "",
    },
    Ratio {
        text: "W1 on Redis ÷ BullMQ",
        of: ("W1", "redis", "tasks/s"),
        to: ("W1", "bullmq", "tasks/s"),
        goal: "≥ 3",
    },
    Ratio {
        text: "W1 on Redis ÷ Celery",
        of: ("W1", "redis", "tasks/s"),
        to: ("W1", "celery", "tasks/s"),
        goal: "≥ 30",
    },
    Ratio {
        text: "W1 on Redis ÷ apalis with its locks off",
        of: ("W1", "redis", "tasks/s"),
        to: ("W1", "apalis-unlocked", "tasks/s"),
        goal: "1 if possible",
    },
    Ratio {
        text: "W1 embedded ÷ W1 on Redis",
        of: ("W1", "embedded", "tasks/s"),
        to: ("W1", "redis", "tasks/s"),
        goal: "≥ 1.5",
    },
    Ratio {
        text: "W1 on Redis with AOF ÷ without",
        of: ("W1", "redis, AOF everysec", "tasks/s"),
        to: ("W1", "redis", "tasks/s"),
        goal: "",
    },
    Ratio {
        text: "W2 p50 on Redis ÷ BullMQ",
        of: ("W2", "redis", "p50 ms"),
        to: ("W2", "bullmq", "p50 ms"),
        goal: "≤ 0.33",
    },
    Ratio {
        text: "W2 p99 on Redis ÷ BullMQ",
        of: ("W2", "redis", "p99 ms"),
        to: ("W2", "bullmq", "p99 ms"),
        goal: "≤ 0.33",
    },
    Ratio {
        text: "W3 wall on Redis ÷ the bare load generator",
        of: ("W3", "redis", "wall ÷ ideal"),
        to: ("W3", "load-generator", "wall ÷ ideal"),
        goal: "≤ 1.05",
    },
    Ratio {
        text: "W3 CPU a task on Redis ÷ BullMQ",
        of: ("W3", "redis", "CPU ms a task"),
        to: ("W3", "bullmq", "CPU ms a task"),
        goal: "≤ 1",
    },
    Ratio {
        text: "W3 CPU a task on Redis ÷ apalis",
        of: ("W3", "redis", "CPU ms a task"),
        to: ("W3", "apalis", "CPU ms a task"),
        goal: "1 if possible",
    },
    Ratio {
        text: "W4 tasks/s embedded, beside open watches ÷ before",
        of: ("W4", "embedded", "tasks/s of W1 beside them"),
        to: ("W4", "embedded", "tasks/s of W1 before"),
        goal: "",
    },
    Ratio {
        text: "W4 tasks/s on Redis, beside open watches ÷ before",
        of: ("W4", "redis", "tasks/s of W1 beside them"),
        to: ("W4", "redis", "tasks/s of W1 before"),
        goal: "",
    },
    Ratio {
        text: "W4 tasks/s embedded, beside unread streams ÷ without",
        of: (
            "W4",
            "embedded, unread",
            "tasks/s of W1 beside 100 unread streams",
        ),
        to: ("W4", "embedded, unread", "tasks/s of W1 without"),
        goal: "> 0.95",
    },
    Ratio {
        text: "W4 tasks/s on Redis, beside unread streams ÷ without",
        of: (
            "W4",
            "redis, unread",
            "tasks/s of W1 beside 100 unread streams",
        ),
        to: ("W4", "redis, unread", "tasks/s of W1 without"),
        goal: "> 0.95",
    },
    Ratio {
        text: "W5 server CPU a task, embedded, 1,000,000 waiting ÷ 1,000",
        of: ("W5", "embedded, 1,000,000 waiting", "server CPU µs a task"),
        to: ("W5", "embedded, 1,000 waiting", "server CPU µs a task"),
        goal: "≤ 1.2",
    },
    Ratio {
        text: "W5 Redis CPU a task, 1,000,000 waiting ÷ 1,000",
        of: ("W5", "redis, 1,000,000 waiting", "Redis CPU µs a task"),
        to: ("W5", "redis, 1,000 waiting", "Redis CPU µs a task"),
        goal: "≤ 1.2",
    },
    Ratio {
        text: "W5 tasks/s embedded, 1,000,000 in one go ÷ 10,000",
        of: ("W5", "embedded, 1,000,000 in one go", "tasks/s"),
        to: ("W5", "embedded, 10,000 in one go", "tasks/s"),
        goal: "≥ 0.83",
    },
    Ratio {
        text: "W5 tasks/s on Redis, 1,000,000 in one go ÷ 10,000",
        of: ("W5", "redis, 1,000,000 in one go", "tasks/s"),
        to: ("W5", "redis, 10,000 in one go", "tasks/s"),
        goal: "≥ 0.83",
    },
    Ratio {
        text: "W5 tasks/s on Redis, 4 replicas ÷ 1",
        of: ("W5", "redis, 4 replicas", "tasks/s"),
        to: ("W5", "redis, 1 replica", "tasks/s"),
        goal: "",
    },
];
