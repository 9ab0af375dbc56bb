//! A14: a tenant with ten tasks beside one with a hundred thousand.

use std::{collections::HashMap, time::Duration};

use tidings::simulator;
use tokio::time::{Instant, sleep};

use crate::{
    built,
    case::paced::Scene,
    client::{Batch, channel},
    extra,
    judge::{Log, Unit, percentile},
    report::{Finding, Outcome, Stop},
    stage::{Bench, Stage, prompts},
};

const BIG: f64 = 100_000.0;
const SMALL: usize = 10;
/// The big one has been at it for so long when the small one comes.
const HEAD_START: f64 = 60.0;

/// The whole case.
pub(crate) async fn two(bench: Bench) -> Outcome {
    let scene = Scene::told(&bench);
    let behaviour: simulator::Config = scene.behaviour();
    let (big, small) = (of_tenant("big")?, of_tenant("small")?);
    let stage = Stage::start(&bench, "tenants", behaviour, "plain.toml").await?;
    let channel = channel(&stage.server.endpoint).await?;
    let tasks = bench.lasting(BIG) as usize;
    let mut of_big = Batch::default();
    of_big
        .add_with(&channel, prompts("big", tasks), big)
        .await?;
    sleep(Duration::from_secs_f64(bench.lasting(HEAD_START))).await;
    let mut of_small = Batch::default();
    of_small
        .add_with(&channel, prompts("small", SMALL), small)
        .await?;
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let mut waits = waits(&stage, &of_small);
        if waits.len() == SMALL {
            let p99 = percentile(&mut waits, 0.99);
            let text = format!("p99 wait {p99:.2} s");
            return Ok(vec![Finding::check(text, p99 <= 2.0)]);
        }
        if Instant::now() > until {
            let text = format!("{} of {SMALL} sent within a minute", waits.len());
            return Ok(vec![Finding::check(text, false)]);
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// How long each task waited until it was let through.
fn waits(stage: &Stage, batch: &Batch) -> Vec<f64> {
    let log = Log::read(&stage.upstream.calls(), Unit::Requests);
    let mut first = HashMap::new();
    for call in log.admitted() {
        first.entry(call.task.clone()).or_insert(call.at);
    }
    let tasks = batch.tasks.iter();
    tasks
        .filter_map(|(task, at)| Some(first.get(task)? - log.time(*at)))
        .collect()
}

/// The bytes that make a batch a tenant's, wherever its name stands.
fn of_tenant(name: &str) -> Result<Vec<u8>, Stop> {
    let request = "tidings.v1.SubmitBatchRequest";
    if let Ok(field) = built::field(request, "tenant") {
        return Ok(extra::text(&field, name));
    }
    let field = built::field("tidings.v1.TaskOptions", "tenant")?;
    let options = built::field(request, "options")?;
    Ok(extra::nested(&options, &extra::text(&field, name)))
}
