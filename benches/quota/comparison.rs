//! The second table: the baselines beside Tidings, where limits are those of A1 to A3, and where refused calls cost nothing.

use tidings::proto::v1::TaskStatus;
use tokio::task::JoinHandle;

use super::{
    Outcomes,
    baseline::{self, Ran},
    case::paced::{Scene, play},
    judge::Unit,
    report::{Outcome, Stop, after, cells, percent},
    stage::Bench,
};

/// An arm that runs.
type Arm = JoinHandle<Result<Ran, Stop>>;

/// All arms.
pub(crate) struct Comparison {
    baselines: Vec<(&'static str, Vec<Arm>)>,
    /// The one scene that is no case of the first table.
    forgiving: Arm,
}

impl Comparison {
    /// Starts them.
    pub(crate) fn start(bench: &Bench) -> Self {
        let arms = |baseline: &'static baseline::Baseline| {
            let start = |scene: Scene| {
                let bench = bench.clone();
                tokio::spawn(async move { baseline::run(baseline, &scene, &bench).await })
            };
            (
                baseline.name,
                scenes(bench).into_iter().map(start).collect(),
            )
        };
        let own = bench.clone();
        Comparison {
            baselines: baseline::ALL.iter().map(arms).collect(),
            forgiving: tokio::spawn(async move { tidings(&own, &Scene::forgiving(&own)).await }),
        }
    }

    /// Waits for them and prints the table; Tidings' own figures are those of its cases.
    pub(crate) async fn print(self, outcomes: &Outcomes) {
        println!(
            "\n| | as A1 | as A2 | as A3 | as A1, refused calls cost nothing |\n|---|---|---|---|---|"
        );
        let mut row = "| Tidings |".to_owned();
        for id in ["A1", "A2", "A3"] {
            row += &format!(" {} |", measured(outcomes, id));
        }
        println!("{row} {} |", cell(self.forgiving).await);
        for (name, arms) in self.baselines {
            let mut row = format!("| {name} |");
            for arm in arms {
                row += &format!(" {} |", cell(arm).await);
            }
            println!("{row}");
        }
    }
}

fn scenes(bench: &Bench) -> [Scene; 4] {
    [
        Scene::told(bench),
        Scene::untold(bench),
        Scene::halved(bench),
        Scene::forgiving(bench),
    ]
}

async fn tidings(bench: &Bench, scene: &Scene) -> Result<Ran, Stop> {
    let run = play(bench, scene).await?;
    Ok(Ran {
        figures: scene.figures(&run.log(Unit::Requests)),
        lost: scene.tasks - run.told.count(TaskStatus::Completed),
        tasks: scene.tasks,
    })
}

fn measured(outcomes: &Outcomes, id: &str) -> String {
    let found = outcomes.iter().find(|(case, _)| case.id == id);
    let outcome: Option<&Outcome> = found.and_then(|(_, outcome)| outcome.as_ref());
    outcome.map_or_else(|| "not run".to_owned(), |outcome| cells(outcome).0)
}

async fn cell(arm: Arm) -> String {
    match arm.await.unwrap_or_else(|error| Err(error.into())) {
        Ok(ran) => format!(
            "U {}, R {}, Conv {}, lost {} of {}",
            percent(ran.figures.utilisation),
            percent(ran.figures.throttled),
            after(ran.figures.convergence),
            ran.lost,
            ran.tasks
        ),
        Err(stop) => cells(&Err(stop)).0,
    }
}
