//! A1 to A3: one server against a quota of requests that it is told, is not told, and that changes without a word.

use std::time::Duration;

use tidings::simulator::{self, Headers, Limits, QuotaChange, RetryAfter};

use crate::{
    judge::{Log, Quota, TRAILING, Unit},
    report::{Finding, Outcome, after, percent},
    stage::{Bench, Stage, like_a_model, prompts},
};

/// Requests a minute.
pub(crate) const RPM: u64 = 600;
/// How long A1 to A3 last.
const LENGTH: f64 = 600.0;
/// When the quota of A3 is halved, and when it is back.
const HALVED: (f64, f64) = (200.0, 500.0);

/// An upstream of these cases, and what of it the judge and the tables need to know.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    /// Its name, which is also that of its key.
    pub(crate) name: &'static str,
    /// The upstream.
    pub(crate) limits: Limits,
    /// What it lets through.
    pub(crate) quota: Quota,
    /// How many tasks keep it busy for the length of the case.
    pub(crate) tasks: usize,
}

impl Scene {
    /// A1: everything is told.
    pub(crate) fn told(bench: &Bench) -> Self {
        Scene::new(bench, "told", Headers::OpenAi, RetryAfter::Both, false)
    }

    /// A2: nothing is told.
    pub(crate) fn untold(bench: &Bench) -> Self {
        Scene::new(bench, "untold", Headers::Absent, RetryAfter::Absent, false)
    }

    /// A3: nothing is told, and the quota changes.
    pub(crate) fn halved(bench: &Bench) -> Self {
        Scene::new(bench, "halved", Headers::Absent, RetryAfter::Absent, true)
    }

    fn new(
        bench: &Bench,
        name: &'static str,
        headers: Headers,
        retry_after: RetryAfter,
        changes: bool,
    ) -> Self {
        let mut quota = Quota::steady(RPM);
        if changes {
            let (fall, rise) = (bench.lasting(HALVED.0), bench.lasting(HALVED.1));
            quota.changes = vec![(fall, 0.5), (rise, 1.0)];
        }
        let change = |(after, factor): &(f64, f64)| QuotaChange {
            after: Duration::from_secs_f64(*after),
            factor: *factor,
        };
        Scene {
            name,
            limits: Limits {
                requests_per_minute: Some(RPM),
                charge_refused: true,
                headers,
                retry_after,
                changes: quota.changes.iter().map(change).collect(),
                ..Limits::default()
            },
            tasks: quota.between(0.0, bench.lasting(LENGTH)).ceil() as usize,
            quota,
        }
    }

    /// The upstream's whole behaviour.
    pub(crate) fn behaviour(&self) -> simulator::Config {
        simulator::Config {
            latency: like_a_model(),
            limits: self.limits.clone(),
            ..simulator::Config::default()
        }
    }

    /// How long an arm may take before it is judged by what it has done: half as long again as with a perfect pace.
    pub(crate) fn patience(&self, bench: &Bench) -> Duration {
        Duration::from_secs_f64(bench.lasting(LENGTH) * 1.5 + 30.0)
    }

    /// What is judged of every arm.
    pub(crate) fn figures(&self, log: &Log) -> Figures {
        let window = log.window(self.tasks, &self.quota);
        Figures {
            utilisation: log.utilisation(window, &self.quota),
            throttled: log.throttled(window),
            convergence: log.convergence(0.0, TRAILING, &self.quota),
        }
    }
}

/// Utilisation, share of 429s, and time to converge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// U.
    pub(crate) utilisation: f64,
    /// R.
    pub(crate) throttled: f64,
    /// Conv, from the start.
    pub(crate) convergence: Option<f64>,
}

impl Figures {
    /// The figures beside what they must not fall short of or exceed.
    pub(crate) fn check(&self, least: f64, throttled: f64, convergence: f64) -> Vec<Finding> {
        let converged = self.convergence.is_some_and(|time| time <= convergence);
        let text = format!("Conv {}", after(self.convergence));
        vec![
            Finding::check(
                format!("U {}", percent(self.utilisation)),
                self.utilisation >= least,
            ),
            Finding::check(
                format!("R {:.2} %", self.throttled * 100.0),
                self.throttled <= throttled,
            ),
            Finding::check(text, converged),
        ]
    }
}

/// A1.
pub(crate) async fn told(bench: Bench) -> Outcome {
    let scene = Scene::told(&bench);
    steady(bench, scene, (0.97, 0.005, 10.0)).await
}

/// A2.
pub(crate) async fn untold(bench: Bench) -> Outcome {
    let scene = Scene::untold(&bench);
    steady(bench, scene, (0.95, 0.02, 45.0)).await
}

async fn steady(
    bench: Bench,
    scene: Scene,
    (least, throttled, convergence): (f64, f64, f64),
) -> Outcome {
    let name = scene.name;
    let mut stage = Stage::start(&bench, name, scene.behaviour(), "plain.toml").await?;
    let run = stage
        .run(prompts(name, scene.tasks), scene.patience(&bench))
        .await?;
    let figures = scene.figures(&run.log(Unit::Requests));
    let mut findings = figures.check(least, throttled, convergence);
    findings.extend([run.lost(), run.lag()]);
    Ok(findings)
}

/// A3.
pub(crate) async fn halved(bench: Bench) -> Outcome {
    let scene = Scene::halved(&bench);
    let name = scene.name;
    let mut stage = Stage::start(&bench, name, scene.behaviour(), "plain.toml").await?;
    let run = stage
        .run(prompts(name, scene.tasks), scene.patience(&bench))
        .await?;
    let log = run.log(Unit::Requests);
    let figures = scene.figures(&log);
    let mut findings = figures.check(0.88, 0.02, f64::INFINITY);
    for (number, what, within) in [(0, "fall", 30.0), (1, "rise", 60.0)] {
        let change = scene.quota.changes[number].0;
        let time = log.convergence(change, TRAILING, &scene.quota);
        let text = format!("{} after the {what}", after(time));
        findings.push(Finding::check(
            text,
            time.is_some_and(|time| time <= within),
        ));
    }
    findings.extend([run.lost(), run.lag()]);
    Ok(findings)
}
