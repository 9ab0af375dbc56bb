//! A10: tasks of which many ask the same, and a cache that lets them share calls.

use std::{collections::BTreeSet, time::Duration};

use tidings::{
    proto::v1::{ChatCompletion, ChatMessage, TaskSpec, task_spec::Work},
    simulator::{self, Latency},
};

use crate::{
    judge::Unit,
    report::{Finding, Outcome},
    stage::{Bench, Stage},
};

const TASKS: f64 = 100_000.0;
/// Of ten tasks so many ask what no other asks first.
const UNIQUE_OF_TEN: usize = 7;

/// The whole case.
pub(crate) async fn shared(bench: Bench) -> Outcome {
    let tasks = bench.lasting(TASKS) as usize;
    let behaviour = simulator::Config {
        latency: Latency::Fixed(Duration::from_millis(20)),
        ..simulator::Config::default()
    };
    let mut stage = Stage::start(&bench, "cache", behaviour, "plain.toml").await?;
    let numbers: Vec<usize> = (0..tasks).map(number).collect();
    let unique = numbers.iter().collect::<BTreeSet<_>>().len();
    let specs = numbers.iter().map(|number| spec(*number)).collect();
    let run = stage.run(specs, Duration::from_secs(420)).await?;
    let log = run.log(Unit::Requests);
    let calls = log.calls.len();
    let usage = run
        .told
        .progress
        .as_ref()
        .and_then(|progress| progress.usage);
    let counted = usage.map(|usage| usage.input_tokens + usage.output_tokens);
    let billed = log.billed();
    Ok(vec![
        Finding::check(
            format!("{calls} calls for {unique} unique prompts"),
            calls == unique,
        ),
        run.lost(),
        Finding::check(
            format!(
                "the batch counts {} tokens, billed are {billed}",
                counted.unwrap_or(0)
            ),
            counted == Some(billed),
        ),
    ])
}

/// What a task asks: of ten in a row the last three repeat the first three.
fn number(task: usize) -> usize {
    let (ten, place) = (task / 10, task % 10);
    ten * UNIQUE_OF_TEN + place % UNIQUE_OF_TEN
}

fn spec(number: usize) -> TaskSpec {
    let message = ChatMessage {
        role: "user".to_owned(),
        content: format!("cache: what is said of number {number}?"),
        ..ChatMessage::default()
    };
    TaskSpec {
        work: Some(Work::ChatCompletion(ChatCompletion {
            messages: vec![message],
            temperature: Some(0.0),
            ..ChatCompletion::default()
        })),
        ..TaskSpec::default()
    }
}
