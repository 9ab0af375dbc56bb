//! How most people do it today: three small, honest baselines, against upstreams of their own like those of A1 to A3.

mod aimd;
mod call;
mod cookbook;
mod sdk;

use std::sync::Arc;

use futures::future::BoxFuture;

use super::{
    case::paced::{Figures, Scene},
    judge::{Log, Unit},
    report::Stop,
    stage::{Bench, key_of, upstream},
};
use call::Caller;

/// One way to get through.
pub(crate) struct Baseline {
    /// What it is called.
    pub(crate) name: &'static str,
    /// Runs so many tasks.
    run: fn(Arc<Caller>, usize) -> BoxFuture<'static, ()>,
    /// A part of file names.
    word: &'static str,
}

/// All of them, in the order of the table.
pub(crate) const ALL: &[Baseline] = &[
    Baseline {
        name: "OpenAI SDK's retries, pool of 64",
        run: |caller, tasks| Box::pin(sdk::run(caller, tasks)),
        word: "sdk",
    },
    Baseline {
        name: "cookbook's request bucket, pause of 15 s",
        run: |caller, tasks| Box::pin(cookbook::run(caller, tasks)),
        word: "cookbook",
    },
    Baseline {
        name: "AIMD on concurrency",
        run: |caller, tasks| Box::pin(aimd::run(caller, tasks)),
        word: "aimd",
    },
];

/// What a baseline came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ran {
    /// U, R and Conv.
    pub(crate) figures: Figures,
    /// Tasks without an answer.
    pub(crate) lost: usize,
    /// All tasks.
    pub(crate) tasks: usize,
}

/// Runs a baseline in a scene.
pub(crate) async fn run(baseline: &Baseline, scene: &Scene, bench: &Bench) -> Result<Ran, Stop> {
    let name = format!("{}-{}", baseline.word, scene.name);
    let folder = bench.folder_of(&name)?;
    let upstream = upstream(&folder, "calls", scene.behaviour()).await?;
    let caller = Arc::new(Caller::new(&upstream.base_url(), &key_of(&name))?);
    let ran = (baseline.run)(caller.clone(), scene.tasks);
    // What is not answered by then is lost, which is all that matters here.
    let _ = tokio::time::timeout(scene.patience(), ran).await;
    Ok(Ran {
        figures: scene.figures(&Log::read(&upstream.calls(), Unit::Requests)),
        lost: scene.tasks - caller.answered(),
        tasks: scene.tasks,
    })
}
