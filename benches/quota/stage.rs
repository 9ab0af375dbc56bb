//! What a case plays on: an upstream, servers that call it, and what both of them recorded.

use std::{
    fs::File,
    io::BufWriter,
    path::{Path, PathBuf},
    time::Duration,
};

use tidings::{
    clock::Timestamp,
    proto::v1::{TaskOptions, TaskSpec, TaskStatus, task_spec::Work},
    simulator::{self, CallRecord, Ended, Latency, LogWriter, Running, Simulator},
};

use super::{
    client::{Batch, Client, Told, Watch, connect},
    judge::{Log, Unit, percentile, task_of},
    process::{Server, Setup},
    report::{Finding, Stop, percent},
};

/// The model that all calls ask for.
pub(crate) const MODEL: &str = "simulated-model";
/// More than any case keeps busy, and no more: pacing has to hold them back, not this.
pub(crate) const CONCURRENCY: usize = 256;

/// What all cases share.
#[derive(Clone, Debug)]
pub(crate) struct Bench {
    /// Where logs and stores go.
    pub(crate) folder: PathBuf,
    /// How long cases last, as a share of their full length.
    pub(crate) scale: f64,
}

impl Bench {
    /// So many seconds of the full length.
    pub(crate) fn lasting(&self, secs: f64) -> f64 {
        secs * self.scale
    }

    /// A folder of a case's own, empty.
    pub(crate) fn folder_of(&self, name: &str) -> Result<PathBuf, Stop> {
        let folder = self.folder.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

/// How long real models take.
pub(crate) fn like_a_model() -> Latency {
    Latency::LogNormal {
        mean: Duration::from_secs(2),
        sigma: 0.6,
    }
}

/// A key for each case and arm, so that none shares a quota with another.
pub(crate) fn key_of(name: &str) -> String {
    format!("sk-simulated-{name}")
}

/// Starts an upstream on a port of its own, with its log in the folder too, for people to look at.
pub(crate) async fn upstream(
    folder: &Path,
    name: &str,
    config: simulator::Config,
) -> Result<Running, Stop> {
    let file = BufWriter::new(File::create(folder.join(format!("{name}.jsonl")))?);
    let config = simulator::Config {
        log: Some(LogWriter::new(file)),
        ..config
    };
    Ok(Simulator::start(config, ([127, 0, 0, 1], 0).into()).await?)
}

/// An upstream, and one server that calls it.
pub(crate) struct Stage {
    /// The judge.
    pub(crate) upstream: Running,
    /// What is judged.
    pub(crate) server: Server,
    /// The user's connection.
    pub(crate) client: Client,
}

impl Stage {
    /// Starts both. `config` is the server's file.
    pub(crate) async fn start(
        bench: &Bench,
        name: &str,
        behaviour: simulator::Config,
        config: &str,
    ) -> Result<Stage, Stop> {
        let folder = bench.folder_of(name)?;
        let upstream = upstream(&folder, "calls", behaviour).await?;
        let server = Server::start(&Setup {
            folder: &folder,
            name: "server",
            store: &format!("embedded:{}", folder.join("data").display()),
            key: &key_of(name),
            config,
            words: &[("@UPSTREAM@", upstream.base_url())],
            concurrency: CONCURRENCY,
        })?;
        let client = connect(&server.endpoint).await?;
        Ok(Stage {
            upstream,
            server,
            client,
        })
    }

    /// Submits all tasks at once, and watches them to their end or for so long.
    pub(crate) async fn run(
        &mut self,
        specs: Vec<TaskSpec>,
        within: Duration,
    ) -> Result<Run, Stop> {
        let mut batch = Batch::default();
        let options = TaskOptions::default();
        batch.add(&mut self.client, specs, &options, false).await?;
        let watch = Watch::start(vec![self.client.clone()], batch.id.clone());
        let told = watch.end(within).await;
        Ok(Run::new(batch, told, &self.upstream))
    }
}

/// What was submitted, what was told, and what the upstream saw.
#[derive(Debug)]
pub(crate) struct Run {
    /// The tasks.
    pub(crate) batch: Batch,
    /// What the watch told.
    pub(crate) told: Told,
    /// The upstream's log.
    pub(crate) records: Vec<CallRecord>,
}

impl Run {
    /// Puts them together.
    pub(crate) fn new(batch: Batch, told: Told, upstream: &Running) -> Self {
        Run {
            batch,
            told,
            records: upstream.calls(),
        }
    }

    /// The log, for one dimension of the quota.
    pub(crate) fn log(&self, unit: Unit) -> Log {
        Log::read(&self.records, unit)
    }

    /// Loss: what was submitted and did not come to an answer.
    pub(crate) fn lost(&self) -> Finding {
        let (submitted, told) = (self.batch.tasks.len(), &self.told);
        let lost = submitted - told.ends.len();
        let failed = submitted - lost - told.count(TaskStatus::Completed);
        let mut text = format!("Loss {lost} of {submitted}");
        if failed > 0 {
            text += &format!(", {failed} failed");
        }
        Finding::check(text, lost + failed == 0)
    }

    /// Dup and Overspend.
    pub(crate) fn waste(&self) -> Finding {
        let log = self.log(Unit::Requests);
        let (twice, beyond) = (log.billed_twice().len(), percent(log.overspend()));
        Finding::note(format!("Dup {twice}, Overspend {beyond}"))
    }

    /// How long after the upstream's answer the watch told of it.
    pub(crate) fn lag(&self) -> Finding {
        let answered = self
            .records
            .iter()
            .filter(|call| call.ended == Ended::Answered);
        let mut lags: Vec<f64> = answered
            .filter_map(|call| {
                let task = task_of(call.client_request_id.as_deref()?);
                let (_, heard) = self.told.ends.get(task)?;
                Some(millis(*heard, call.time_out))
            })
            .collect();
        let (half, most) = (percentile(&mut lags, 0.5), percentile(&mut lags, 0.99));
        Finding::note(format!("Lag p50 {half:.0} ms, p99 {most:.0} ms"))
    }
}

fn millis(later: Timestamp, earlier: Timestamp) -> f64 {
    (later.0 - earlier.0) as f64
}

/// Tasks with a prompt each, none like another.
pub(crate) fn prompts(name: &str, count: usize) -> Vec<TaskSpec> {
    let spec = |number| prompt(format!("{name}: what is said of number {number}?"));
    (0..count).map(spec).collect()
}

/// A task with this prompt.
pub(crate) fn prompt(text: String) -> TaskSpec {
    TaskSpec {
        work: Some(Work::Prompt(text)),
        ..TaskSpec::default()
    }
}
