//! A9: a budget for a batch, of which as much as possible is used and nothing beyond it.

use std::time::Duration;

use tidings::{
    proto::v1::{ChatCompletion, ChatMessage, TaskOptions, TaskSpec, TaskStatus, task_spec::Work},
    simulator::{self, AnswerTokens, CallRecord, Latency},
};

use crate::{
    client::{Batch, Told, Watch},
    report::{Finding, Outcome, percent},
    stage::{Bench, Stage},
};

/// Dollars a token, as the price table of the case's configuration has them.
const PRICES: (f64, f64) = (1.0 / 1e6, 4.0 / 1e6);
const TASKS: usize = 2_000;
const MAX_TOKENS: u32 = 200;
/// What about half of the tasks cost.
const BUDGET: f64 = 0.6;

/// The whole case.
pub(crate) async fn kept(bench: Bench) -> Outcome {
    let behaviour = simulator::Config {
        latency: Latency::Fixed(Duration::from_millis(200)),
        answer_tokens: Some(AnswerTokens { min: 50, max: 200 }),
        ..simulator::Config::default()
    };
    let mut stage = Stage::start(&bench, "budget", behaviour, "prices.toml").await?;
    let mut batch = Batch {
        budget_nanos: Some((BUDGET * 1e9) as u64),
        ..Batch::default()
    };
    let specs = (0..TASKS).map(spec).collect();
    let options = TaskOptions::default();
    batch.add(&mut stage.client, specs, &options, false).await?;
    let watch = Watch::start(vec![stage.client.clone()], batch.id.clone());
    let parked = |told: &Told| {
        let progress = told.progress.as_ref();
        progress.is_some_and(|progress| progress.parked.is_some() && progress.processing == 0)
    };
    let is_parked = watch.until(Duration::from_secs(120), parked).await;
    let failed = watch.sees(|told| told.count(TaskStatus::Error));
    let spent: f64 = stage.upstream.calls().iter().map(cost).sum();
    let share = spent / BUDGET;
    Ok(vec![
        Finding::check(
            format!("billed {} of the budget", percent(share)),
            share <= 1.0,
        ),
        Finding::check("and no less than 95 %", share >= 0.95),
        Finding::check(
            format!("paused: {is_parked}, {failed} failed"),
            is_parked && failed == 0,
        ),
    ])
}

fn cost(call: &CallRecord) -> f64 {
    let input = call.input_tokens.min(call.billed_tokens);
    let output = call.billed_tokens - input;
    input as f64 * PRICES.0 + output as f64 * PRICES.1
}

fn spec(number: usize) -> TaskSpec {
    let message = ChatMessage {
        role: "user".to_owned(),
        content: format!(
            "budget: what is said of number {number}?{}",
            " Say more.".repeat(30)
        ),
        ..ChatMessage::default()
    };
    TaskSpec {
        work: Some(Work::ChatCompletion(ChatCompletion {
            messages: vec![message],
            max_tokens: Some(MAX_TOKENS),
            ..ChatCompletion::default()
        })),
        ..TaskSpec::default()
    }
}
