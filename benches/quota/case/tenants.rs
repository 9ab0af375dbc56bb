//! A14: a tenant with ten tasks beside one with a hundred thousand, in a batch each: batches are what takes turns.

use std::{collections::HashMap, time::Duration};

use tidings::{proto::v1::TaskOptions, simulator};
use tokio::time::{Instant, sleep};

use crate::{
    case::paced::Scene,
    client::{Batch, connect},
    judge::{Log, Unit, percentile},
    report::{Finding, Outcome},
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
    let stage = Stage::start(&bench, "tenants", behaviour, "plain.toml").await?;
    let mut client = connect(&stage.server.endpoint).await?;
    let options = TaskOptions::default();
    let tasks = bench.lasting(BIG) as usize;
    let mut of_big = Batch::default();
    of_big
        .add(&mut client, prompts("big", tasks), &options, false)
        .await?;
    sleep(Duration::from_secs_f64(bench.lasting(HEAD_START))).await;
    let mut of_small = Batch::default();
    of_small
        .add(&mut client, prompts("small", SMALL), &options, false)
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
