//! A1 to A3: one server against a quota of requests that it is told, is not told, and that changes without a word.

use std::time::Duration;

use tidings::simulator::{self, Headers, Limits, QuotaChange, RetryAfter};

use crate::{
    judge::{Log, Quota, TRAILING, Unit},
    report::{Finding, Outcome, Stop, after, percent},
    stage::{Bench, Run, Stage, like_a_model, prompts},
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
    /// How long the case lasts at a perfect pace.
    pub(crate) length: f64,
    /// The server's configuration.
    pub(crate) config: &'static str,
}

/// The limits of A1, which the others change: everything is told, and refused calls use them up too.
pub(crate) fn limits() -> Limits {
    Limits {
        requests_per_minute: Some(RPM),
        charge_refused: true,
        ..Limits::default()
    }
}

impl Scene {
    /// A1: everything is told.
    pub(crate) fn told(bench: &Bench) -> Self {
        Scene::of("told", limits(), bench.lasting(LENGTH))
    }

    /// A2: nothing is told.
    pub(crate) fn untold(bench: &Bench) -> Self {
        Scene::of("untold", silent(), bench.lasting(LENGTH))
    }

    /// A3: nothing is told, and the quota changes.
    pub(crate) fn halved(bench: &Bench) -> Self {
        let change = |secs, factor| QuotaChange {
            after: Duration::from_secs_f64(bench.lasting(secs)),
            factor,
        };
        let limits = Limits {
            changes: vec![change(HALVED.0, 0.5), change(HALVED.1, 1.0)],
            ..silent()
        };
        Scene::of("halved", limits, bench.lasting(LENGTH))
    }

    /// As A1, but a refused call costs nothing.
    pub(crate) fn forgiving(bench: &Bench) -> Self {
        let limits = Limits {
            charge_refused: false,
            ..limits()
        };
        Scene::of("forgiving", limits, bench.lasting(LENGTH))
    }

    /// So many seconds of work for these limits.
    pub(crate) fn of(name: &'static str, limits: Limits, length: f64) -> Self {
        let changes = limits.changes.iter();
        let quota = Quota {
            changes: changes
                .map(|change| (change.after.as_secs_f64(), change.factor))
                .collect(),
            ..Quota::steady(RPM)
        };
        Scene {
            name,
            limits,
            tasks: quota.between(0.0, length).ceil() as usize,
            quota,
            length,
            config: "plain.toml",
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
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.length * 1.5 + 30.0)
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
    steady(&bench, &Scene::told(&bench), LIKE_A1).await
}

/// A2.
pub(crate) async fn untold(bench: Bench) -> Outcome {
    steady(&bench, &Scene::untold(&bench), LIKE_A2).await
}

/// What is asked of utilisation, 429s, and time to converge, wherever limits are told.
pub(crate) const LIKE_A1: (f64, f64, f64) = (0.97, 0.005, 10.0);
/// And wherever they are not.
pub(crate) const LIKE_A2: (f64, f64, f64) = (0.95, 0.02, 45.0);

/// A quota that stays as it is.
pub(crate) async fn steady(
    bench: &Bench,
    scene: &Scene,
    (least, most, time): (f64, f64, f64),
) -> Outcome {
    let run = play(bench, scene).await?;
    let figures = scene.figures(&run.log(Unit::Requests));
    let mut findings = figures.check(least, most, time);
    findings.extend([run.lost(), run.waste(), run.lag()]);
    Ok(findings)
}

/// Runs a scene's tasks.
pub(crate) async fn play(bench: &Bench, scene: &Scene) -> Result<Run, Stop> {
    let mut stage = Stage::start(bench, scene.name, scene.behaviour(), scene.config).await?;
    stage
        .run(prompts(scene.name, scene.tasks), scene.patience())
        .await
}

/// A3.
pub(crate) async fn halved(bench: Bench) -> Outcome {
    let scene = Scene::halved(&bench);
    let run = play(&bench, &scene).await?;
    let log = run.log(Unit::Requests);
    let mut findings = scene.figures(&log).check(0.88, 0.02, f64::INFINITY);
    for (number, what, within) in [(0, "fall", 30.0), (1, "rise", 60.0)] {
        let change = scene.quota.changes[number].0;
        let time = log.convergence(change, TRAILING, &scene.quota);
        let text = format!("{} after the {what}", after(time));
        let in_time = time.is_some_and(|time| time <= within);
        findings.push(Finding::check(text, in_time));
    }
    findings.extend([run.lost(), run.waste(), run.lag()]);
    Ok(findings)
}

/// Limits that nothing is said of.
pub(crate) fn silent() -> Limits {
    Limits {
        headers: Headers::Absent,
        retry_after: RetryAfter::Absent,
        ..limits()
    }
}
