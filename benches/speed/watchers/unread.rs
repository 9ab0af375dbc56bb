//! W1 with and without streams of its batch that nobody reads.

use super::{TASKS, W4, setup};
use crate::{
    Bench, Fallible,
    check::sound,
    client::{Begun, Client, Job, PER_CALL, patient, streams},
    report::Report,
    stage::{Kind, Stage},
    throughput::{PAYLOAD, Rates},
};

/// What they change is looked for more often than the rest: it is less than rounds differ.
const LOOKS: usize = 5;
/// Streams that nobody reads, each of a whole batch with its results.
const UNREAD: usize = 100;
/// And the connections that they share.
const CONNECTIONS: usize = 10;
const JOB: Job = Job::Echo(PAYLOAD);

/// Tasks a second, and microseconds of CPU time of the server a task.
#[derive(Clone, Copy, Debug)]
struct Look {
    rate: f64,
    server: f64,
}

/// A look without the streams, and one beside them.
type Pair = (Look, Look);
type Figure = (&'static str, fn(&Pair) -> f64);

/// What is told of the pairs.
const FIGURES: [Figure; 5] = [
    ("tasks/s of W1 without", |(without, _)| without.rate),
    ("tasks/s of W1 beside 100 unread streams", |(_, beside)| {
        beside.rate
    }),
    (
        "tasks/s beside ÷ without, by pairs",
        |(without, beside)| beside.rate / without.rate,
    ),
    ("server CPU µs a task without", |(without, _)| {
        without.server
    }),
    (
        "server CPU a task beside ÷ without, by pairs",
        |(without, beside)| beside.server / without.server,
    ),
];

/// Measures in pairs, one behind the other, of which every second begins with the streams: the machine's speed drifts by
/// more than they change.
pub(super) async fn measure(
    bench: &Bench,
    report: &mut Report,
    kind: Kind,
    case: &str,
) -> Fallible<()> {
    let stage = Stage::start(&bench.folder, kind, 1, setup())?;
    let clients = stage.clients().await?;
    let count = bench.scaled(TASKS * 2).max(2 * PER_CALL);
    Rates::default()
        .round(bench, &stage, &clients, JOB, count)
        .await?;
    let mut pairs = Vec::new();
    for pair in 0..LOOKS * bench.rounds {
        pairs.push(if pair % 2 == 0 {
            let without = look(&stage, &clients, count, 0).await?;
            (without, look(&stage, &clients, count, UNREAD).await?)
        } else {
            let beside = look(&stage, &clients, count, UNREAD).await?;
            (look(&stage, &clients, count, 0).await?, beside)
        });
    }
    for (what, of) in FIGURES {
        report.add(W4, case, what, pairs.iter().map(of).collect());
    }
    Ok(())
}

/// One round of W1. The streams are stalled before the clock starts: the first call says more than their windows hold.
async fn look(stage: &Stage, clients: &[Client], count: usize, unread: usize) -> Fallible<Look> {
    let server = stage.servers.first().ok_or("no server")?;
    let mut others: Vec<Client> = Vec::new();
    for _ in 0..CONNECTIONS {
        others.push(patient(&server.endpoint).await?);
    }
    let begun = Begun::new(clients, JOB, count).await?;
    let _unread = streams(&others, &begun.batch, unread).await?;
    stage.rest().await?;
    let used = stage.cpu_seconds()?;
    let round = begun.finish(clients).await?;
    let used = stage.cpu_seconds()? - used;
    sound(&round, JOB, count)?;
    let tasks = (count - PER_CALL) as f64;
    Ok(Look {
        rate: tasks / round.rest_took.as_secs_f64(),
        server: used * 1e6 / tasks,
    })
}
