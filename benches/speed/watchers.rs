//! W4: what open watches cost, how soon they are told, and what they and those that nobody reads do to the others.

mod crowd;
mod unread;

use std::time::Duration;

use super::{
    Bench, Fallible,
    client::Job,
    disk::{LONGEST_SYNC, Probe},
    process::Setup,
    report::{Report, percentile},
    stage::{Kind, Stage},
    throughput::{PAYLOAD, rounds},
};
use crowd::Crowd;

/// Watches open at once on one server.
const WATCHES: usize = 100_000;
/// Watches open at once on three.
const SPREAD: usize = 10_000;
const REPLICAS: usize = 3;
/// Transitions a second at which the time to the client is taken.
const PER_SECOND: usize = 20_000;
/// Tasks of W1 in between.
const TASKS: usize = 20_000;
/// The name in the tables.
const W4: &str = "W4";
/// No watch ends by age while it is measured.
const CONFIG: &str = "[limits]\nwatch_age = \"1h\"\n";

/// Measures all of it.
pub(crate) async fn measure(bench: &Bench, report: &mut Report) {
    for kind in bench.chosen([Kind::Embedded, Kind::Redis]) {
        let outcome = open(bench, report, kind).await;
        report.hold(W4, kind.name(), outcome);
        let case = format!("{}, unread", kind.name());
        let outcome = unread::measure(bench, report, kind, &case).await;
        report.hold(W4, &case, outcome);
    }
    let outcome = spread(bench, report, "redis, 3 replicas").await;
    report.hold(W4, "redis, 3 replicas", outcome);
}

fn setup() -> Setup {
    Setup {
        config: CONFIG.to_owned(),
        ..Setup::default()
    }
}

/// A crowd on one server: its memory, W1 beside it, and how soon it hears.
async fn open(bench: &Bench, report: &mut Report, kind: Kind) -> Fallible<()> {
    let stage = Stage::start(&bench.folder, kind, 1, setup())?;
    let job = Job::Echo(PAYLOAD);
    let alone = rounds(bench, &stage, job, bench.scaled(TASKS), bench.rounds).await?;
    let ids = crowd::waiting(&stage, bench.scaled(WATCHES)).await?;
    let before = stage.memory("VmRSS")?;
    let mut crowd = Crowd::open(&stage, ids).await?;
    let grown = stage.memory("VmRSS")? - before;
    let name = kind.name();
    report.add(W4, name, "watches", vec![crowd.len() as f64]);
    report.add(W4, name, "bytes a watch", vec![grown / crowd.len() as f64]);
    let beside = rounds(bench, &stage, job, bench.scaled(TASKS), bench.rounds).await?;
    report.add(W4, name, "tasks/s of W1 before", alone.tasks);
    report.add(W4, name, "tasks/s of W1 beside them", beside.tasks);
    let share = (crowd.len() / 2 / bench.rounds).max(1);
    let (mut half, mut most, mut synced) = (Vec::new(), Vec::new(), Vec::new());
    let mut all = Vec::new();
    for _ in 0..bench.rounds {
        let probe = Probe::beside(bench, kind)?;
        let told = crowd.tell(&stage, share, Some(PER_SECOND)).await?;
        synced.extend(probe.map(Probe::longest).transpose()?.flatten());
        half.extend(percentile(&told.millis, 0.5));
        most.extend(percentile(&told.millis, 0.99));
        all.extend(told.millis);
    }
    soon(report, name, half, most);
    let most = percentile(&all, 0.99).into_iter().collect();
    report.add(W4, name, "p99 ms of all rounds together", most);
    if kind == Kind::Embedded {
        report.add(W4, name, LONGEST_SYNC, synced);
    }
    let rest = crowd.len();
    let told = crowd.tell(&stage, rest, None).await?;
    let rate = rest as f64 / told.took.as_secs_f64();
    report.add(
        W4,
        name,
        "ms until half of them know, at once",
        vec![millis(told.took)],
    );
    report.add(W4, name, "watches told a second, at once", vec![rate]);
    Ok(())
}

/// A crowd on three servers.
async fn spread(bench: &Bench, report: &mut Report, case: &str) -> Fallible<()> {
    let stage = Stage::start(&bench.folder, Kind::Redis, REPLICAS, setup())?;
    let mut half = Vec::new();
    let mut most = Vec::new();
    for _ in 0..bench.rounds {
        let ids = crowd::waiting(&stage, bench.scaled(SPREAD)).await?;
        let mut crowd = Crowd::open(&stage, ids).await?;
        let all = crowd.len();
        let told = crowd.tell(&stage, all, Some(PER_SECOND)).await?;
        half.extend(percentile(&told.millis, 0.5));
        most.extend(percentile(&told.millis, 0.99));
    }
    soon(report, case, half, most);
    Ok(())
}

fn soon(report: &mut Report, case: &str, half: Vec<f64>, most: Vec<f64>) {
    report.add(W4, case, "p50 ms, transition to client", half);
    report.add(W4, case, "p99 ms, transition to client", most);
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
