//! W3: work shaped as that of a language model, answers that take 50 ms, 256 of them under way.

use super::{
    Bench, Fallible,
    check::sound,
    client::{self, Job},
    disk::{LONGEST_SYNC, Probe},
    process::{Setup, Upstream},
    report::Report,
    stage::{Kind, Stage},
};

/// Tasks a round.
const TASKS: usize = 5_000;
/// Tasks of the round before those that count.
const WARM_UP: usize = 512;
/// Calls under way, as the configuration says by itself.
const IN_FLIGHT: usize = 256;
/// What a call takes.
const SECONDS: f64 = 0.05;
/// The name in the tables.
const W3: &str = "W3";

/// Measures every store.
pub(crate) async fn measure(bench: &Bench, report: &mut Report) {
    for kind in bench.chosen(Kind::ALL) {
        let outcome = of_store(bench, report, kind).await;
        report.hold(W3, kind.name(), outcome);
    }
}

async fn of_store(bench: &Bench, report: &mut Report, kind: Kind) -> Fallible<()> {
    let upstream = Upstream::start("50ms")?;
    let setup = Setup {
        upstream: upstream.url.clone(),
        config: format!("concurrency = {IN_FLIGHT}\n"),
        ..Setup::default()
    };
    let stage = Stage::start(&bench.folder, kind, 1, setup)?;
    let clients = stage.clients().await?;
    let count = bench.scaled(TASKS);
    let warm_up = client::run(&clients, Job::Prompt, WARM_UP).await?;
    sound(&warm_up, Job::Prompt, WARM_UP)?;
    let ideal = count as f64 * SECONDS / IN_FLIGHT as f64;
    let (mut wall, mut cpu, mut synced) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let probe = Probe::beside(bench, kind)?;
        let before = stage.cpu_seconds()?;
        let round = client::run(&clients, Job::Prompt, count).await?;
        cpu.push((stage.cpu_seconds()? - before) * 1e3 / count as f64);
        synced.extend(probe.map(Probe::longest).transpose()?.flatten());
        sound(&round, Job::Prompt, count)?;
        wall.push(round.took.as_secs_f64() / ideal);
    }
    report.add(W3, kind.name(), "wall ÷ ideal", wall);
    report.add(W3, kind.name(), "CPU ms a task", cpu);
    if kind == Kind::Embedded {
        report.add(W3, kind.name(), LONGEST_SYNC, synced);
    }
    let peak = stage.memory("VmHWM")? / f64::from(1 << 20);
    report.add(
        W3,
        kind.name(),
        "peak memory of the server, MiB",
        vec![peak],
    );
    Ok(())
}
