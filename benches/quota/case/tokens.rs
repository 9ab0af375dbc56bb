//! A4: a quota of tokens, prompts of very different sizes, and each rule by which tokens are charged.

use std::{collections::HashMap, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use tidings::{
    proto::v1::{ChatCompletion, ChatMessage, TaskOptions, TaskSpec, task_spec::Work},
    simulator::{self, AnswerTokens, Limits, TokenCharge},
};
use tokio::time::{Instant, sleep_until};

use crate::{
    client::{Batch, Watch},
    judge::{Quota, Unit},
    report::{Finding, Outcome, percent},
    stage::{Bench, Run, Stage, like_a_model},
};

/// Tokens a minute: some ten calls a second.
const TPM: u64 = 1_200_000;
/// What is charged after the answer comes two seconds late and out of order: twenty calls of a seventh of a second's tokens
/// each make a bucket of one second run over as often as dry. Servers that charge so hold a minute's worth.
const BURST_OF_ACTUAL: Duration = Duration::from_secs(10);
/// How long tasks keep coming.
const LENGTH: f64 = 240.0;
/// The backlog to begin with. From then on as much comes in as the quota lets through, so that every task has about as
/// long to wait as any other.
const BACKLOG: f64 = 30.0;
/// Sizes of prompts, in tokens; their logarithms are spread evenly.
const SIZES: (f64, f64) = (50.0, 8_000.0);
const SECOND: Duration = Duration::from_secs(1);
const MAX_TOKENS: u32 = 400;
const ANSWERS: AnswerTokens = AnswerTokens { min: 50, max: 400 };
const BYTES_PER_TOKEN: usize = 4;

/// All three rules, side by side.
pub(crate) async fn all(bench: Bench) -> Outcome {
    let (sum, larger, actual) = tokio::join!(
        one(&bench, TokenCharge::Sum, SECOND),
        one(&bench, TokenCharge::Larger, SECOND),
        one(&bench, TokenCharge::Actual, BURST_OF_ACTUAL),
    );
    let mut findings = sum?;
    findings.extend(larger?);
    findings.extend(actual?);
    Ok(findings)
}

/// W4. Tokens charged after the answer, in buckets of one second.
pub(crate) async fn actual(bench: Bench) -> Outcome {
    let findings = one(&bench, TokenCharge::Actual, SECOND).await?;
    Ok(findings.into_iter().map(Finding::noted).collect())
}

async fn one(bench: &Bench, charge: TokenCharge, burst: Duration) -> Outcome {
    let name = format!("tokens-{charge}-{}", burst.as_secs());
    let quota = Quota::steady(TPM);
    let mut stage = Stage::start(bench, &name, behaviour(charge, burst), "plain.toml").await?;
    let mut source = Source::new(charge);
    let length = bench
        .lasting(LENGTH)
        .max(2.0 * BACKLOG.min(bench.lasting(BACKLOG)));
    let backlog = bench.lasting(BACKLOG).max(2.0);
    let options = TaskOptions::default();
    let mut batch = Batch::default();
    let first = source.tasks(quota.per_second * backlog);
    let start = Instant::now();
    batch.add(&mut stage.client, first, &options, true).await?;
    let watch = Watch::start(vec![stage.client.clone()], batch.id.clone());
    let seconds = (length - backlog).ceil() as u64;
    for second in 1..=seconds {
        sleep_until(start + Duration::from_secs(second)).await;
        let more = source.tasks(quota.per_second);
        batch
            .add(&mut stage.client, more, &options, second < seconds)
            .await?;
    }
    let patience = Duration::from_secs_f64(length * 0.5 + 60.0);
    let told = watch.end(patience).await;
    let run = Run::new(batch, told, &stage.upstream);
    Ok(judge(&run, charge, &quota))
}

fn judge(run: &Run, charge: TokenCharge, quota: &Quota) -> Vec<Finding> {
    let log = run.log(Unit::Tokens);
    let window = log.window(run.batch.tasks.len(), quota);
    let used = log.utilisation(window, quota);
    let mut first = HashMap::new();
    for call in log.admitted() {
        first.entry(call.task.as_str()).or_insert(call.at);
    }
    let submitted = run.batch.tasks.iter();
    let waits: Vec<f64> = submitted
        .filter_map(|(task, at)| Some(first.get(task.as_str())? - log.time(*at)))
        .collect();
    let mean = waits.iter().sum::<f64>() / waits.len() as f64;
    let longest = waits.iter().copied().fold(0.0, f64::max);
    let shares = format!(
        "U(TPM) {}, R {}",
        percent(used),
        percent(log.throttled(window))
    );
    vec![
        Finding::check(format!("charge {charge}: {shares}"), used >= 0.93),
        Finding::check(
            format!("longest wait {longest:.1} s, mean {mean:.1} s"),
            longest <= 2.0 * mean,
        ),
        run.lost(),
    ]
}

fn behaviour(charge: TokenCharge, burst: Duration) -> simulator::Config {
    simulator::Config {
        latency: like_a_model(),
        answer_tokens: Some(ANSWERS),
        limits: Limits {
            tokens_per_minute: Some(TPM),
            token_charge: charge,
            charge_refused: true,
            burst,
            ..Limits::default()
        },
        ..simulator::Config::default()
    }
}

/// Where tasks come from.
struct Source {
    charge: TokenCharge,
    rng: SmallRng,
    made: usize,
    /// Units that were asked for and not yet made of tasks.
    owed: f64,
}

impl Source {
    fn new(charge: TokenCharge) -> Self {
        Source {
            charge,
            rng: SmallRng::seed_from_u64(4),
            made: 0,
            owed: 0.0,
        }
    }

    /// Tasks that will be charged about so many units.
    fn tasks(&mut self, units: f64) -> Vec<TaskSpec> {
        self.owed += units;
        let mut tasks = Vec::new();
        while self.owed > 0.0 {
            let (least, most) = (SIZES.0.ln(), SIZES.1.ln());
            let size = self.rng.random_range(least..most).exp();
            self.owed -= self.charged(size);
            tasks.push(self.task(size as usize));
        }
        tasks
    }

    fn charged(&self, size: f64) -> f64 {
        let mean_answer = (ANSWERS.min + ANSWERS.max) as f64 / 2.0;
        match self.charge {
            TokenCharge::Sum => size + f64::from(MAX_TOKENS),
            TokenCharge::Larger => size.max(f64::from(MAX_TOKENS)),
            TokenCharge::Actual => size + mean_answer,
        }
    }

    fn task(&mut self, size: usize) -> TaskSpec {
        self.made += 1;
        let mut content = format!("text number {}:", self.made);
        let missing = (size * BYTES_PER_TOKEN).saturating_sub(content.len());
        content.extend(" and one word more".chars().cycle().take(missing));
        let message = ChatMessage {
            role: "user".to_owned(),
            content,
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
}
