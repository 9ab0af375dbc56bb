//! W1: how many no-op tasks a second are submitted, run, and known to their submitter with their results.

use super::{
    Bench, Fallible,
    check::sound,
    client::{self, Client, Job},
    process::{Setup, cpu_seconds_of},
    report::Report,
    stage::{Kind, Stage},
};

/// Tasks a round.
const TASKS: usize = 50_000;
/// What the arguments of a task come to.
pub(crate) const PAYLOAD: usize = 200;
/// Tasks of a round at least; smaller batches are repeated until they come to it.
const ENOUGH: usize = 10_000;
/// Tasks of the round before those that count, at most.
const WARM_UP: usize = 20_000;
/// The name in the tables.
const W1: &str = "W1";

/// Rounds of the same, one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rates {
    /// Tasks a second.
    pub(crate) tasks: Vec<f64>,
    /// Microseconds of CPU time of all servers a task.
    pub(crate) server: Vec<f64>,
    /// The same of Redis.
    pub(crate) redis: Vec<f64>,
    /// The same of the client, which shares the cores.
    pub(crate) client: Vec<f64>,
}

impl Rates {
    /// Runs one more round, which counts only if nothing was lost or repeated.
    pub(crate) async fn round(
        &mut self,
        bench: &Bench,
        stage: &Stage,
        clients: &[Client],
        job: Job,
        count: usize,
    ) -> Fallible<()> {
        // CPU time comes in steps of 10 ms, and few tasks are over before the clock has moved.
        let times = bench.scaled(ENOUGH).div_ceil(count);
        let (mut took, mut server, mut redis, mut client) = (0.0, 0.0, 0.0, 0.0);
        for _ in 0..times {
            let before = (stage.cpu_seconds()?, stage.redis_cpu_seconds()?);
            let client_before = cpu_seconds_of("self")?;
            let round = client::run(clients, job, count).await?;
            server += stage.cpu_seconds()? - before.0;
            redis += stage.redis_cpu_seconds()? - before.1;
            client += cpu_seconds_of("self")? - client_before;
            took += round.took.as_secs_f64();
            sound(&round, job, count)?;
        }
        let tasks = (count * times) as f64;
        self.tasks.push(tasks / took);
        self.server.push(server * 1e6 / tasks);
        self.redis.push(redis * 1e6 / tasks);
        self.client.push(client * 1e6 / tasks);
        Ok(())
    }

    /// Puts them into the report.
    pub(crate) fn tell(self, report: &mut Report, workload: &'static str, case: &str, kind: Kind) {
        report.add(workload, case, "tasks/s", self.tasks);
        report.add(workload, case, "server CPU µs a task", self.server);
        if kind != Kind::Embedded {
            report.add(workload, case, "Redis CPU µs a task", self.redis);
        }
        report.add(workload, case, "client CPU µs a task", self.client);
    }
}

/// One round to warm up, and then those that count.
pub(crate) async fn rounds(
    bench: &Bench,
    stage: &Stage,
    job: Job,
    count: usize,
    rounds: usize,
) -> Fallible<Rates> {
    let clients = stage.clients().await?;
    let warm_up = count.min(WARM_UP);
    Rates::default()
        .round(bench, stage, &clients, job, warm_up)
        .await?;
    let mut rates = Rates::default();
    for _ in 0..rounds {
        rates.round(bench, stage, &clients, job, count).await?;
    }
    Ok(rates)
}

/// Measures every store.
pub(crate) async fn measure(bench: &Bench, report: &mut Report) {
    for kind in bench.chosen(Kind::ALL) {
        let outcome = of_store(bench, report, kind).await;
        report.hold(W1, kind.name(), outcome);
    }
}

async fn of_store(bench: &Bench, report: &mut Report, kind: Kind) -> Fallible<()> {
    let stage = Stage::start(&bench.folder, kind, 1, Setup::default())?;
    let rates = rounds(
        bench,
        &stage,
        Job::Echo(PAYLOAD),
        bench.scaled(TASKS),
        bench.rounds,
    )
    .await?;
    rates.tell(report, W1, kind.name(), kind);
    let peak = stage.memory("VmHWM")? / f64::from(1 << 20);
    report.add(
        W1,
        kind.name(),
        "peak memory of the server, MiB",
        vec![peak],
    );
    Ok(())
}
