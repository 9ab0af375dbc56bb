//! W4: what open watches cost, how soon they are told, and what they and those that nobody reads do to the others.

mod crowd;

use std::time::Duration;

use super::{
    Bench, Fallible,
    check::sound,
    client::{Begun, Client, Job, PER_CALL, patient, streams},
    process::Setup,
    report::{Report, percentile},
    stage::{Kind, Stage},
    throughput::{PAYLOAD, Rates, rounds},
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
/// What they change is looked for more often than the rest: it is less than rounds differ.
const LOOKS: usize = 3;
/// Streams that nobody reads, each of a whole batch with its results.
const UNREAD: usize = 100;
/// And the connections that they share.
const CONNECTIONS: usize = 10;
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
        let outcome = unread(bench, report, kind, &case).await;
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
    let half = crowd.len() / 2;
    let told = crowd.tell(&stage, half, Some(PER_SECOND)).await?;
    soon(report, name, &told.millis);
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
    report.add(W4, case, "p50 ms, transition to client", half);
    report.add(W4, case, "p99 ms, transition to client", most);
    Ok(())
}

fn soon(report: &mut Report, case: &str, samples: &[f64]) {
    let at = |share| percentile(samples, share).into_iter().collect();
    report.add(W4, case, "p50 ms, transition to client", at(0.5));
    report.add(W4, case, "p99 ms, transition to client", at(0.99));
}

/// W1 with and without streams of its batch that nobody reads, in turns. They are stalled before the clock starts: the
/// first call says more than their windows hold.
async fn unread(bench: &Bench, report: &mut Report, kind: Kind, case: &str) -> Fallible<()> {
    let stage = Stage::start(&bench.folder, kind, 1, setup())?;
    let clients = stage.clients().await?;
    let (job, count) = (
        Job::Echo(PAYLOAD),
        bench.scaled(TASKS * 2).max(2 * PER_CALL),
    );
    Rates::default()
        .round(bench, &stage, &clients, job, count)
        .await?;
    let server = stage.servers.first().ok_or("no server")?;
    let mut rates = [Rates::default(), Rates::default()];
    for _ in 0..LOOKS * bench.rounds {
        for (rates, unread) in rates.iter_mut().zip([0, UNREAD]) {
            let mut others: Vec<Client> = Vec::new();
            for _ in 0..CONNECTIONS {
                others.push(patient(&server.endpoint).await?);
            }
            let begun = Begun::new(&clients, job, count).await?;
            let _unread = streams(&others, &begun.batch, unread).await?;
            stage.rest().await?;
            let used = stage.cpu_seconds()?;
            let round = begun.finish(&clients).await?;
            let used = stage.cpu_seconds()? - used;
            sound(&round, job, count)?;
            let tasks = (count - PER_CALL) as f64;
            rates.tasks.push(tasks / round.rest_took.as_secs_f64());
            rates.server.push(used * 1e6 / tasks);
        }
    }
    let [without, with] = rates;
    for (rates, tasks, server) in [
        (
            without,
            "tasks/s of W1 without",
            "server CPU µs a task without",
        ),
        (
            with,
            "tasks/s of W1 beside 100 unread streams",
            "server CPU µs a task beside 100 unread streams",
        ),
    ] {
        report.add(W4, case, tasks, rates.tasks);
        report.add(W4, case, server, rates.server);
    }
    Ok(())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
