//! A8: the money runs out, is paid, and the batch goes on.

use std::time::Duration;

use tidings::{
    proto::v1::{GetBatchRequest, ResumeBatchRequest, TaskOptions, TaskStatus},
    simulator::{self, Fault, Faults, Rule},
};
use tokio::time::sleep;

use crate::{
    case::paced::limits,
    client::{Batch, Told, Watch},
    judge::{Call, Log, Unit},
    report::{Finding, Outcome},
    stage::{Bench, Run, Stage, like_a_model, prompts},
};

/// The whole case.
pub(crate) async fn paid(bench: Bench) -> Outcome {
    let (good, tasks) = (bench.lasting(300.0) as u64, bench.lasting(900.0) as usize);
    let behaviour = simulator::Config {
        latency: like_a_model(),
        limits: limits(),
        faults: Faults {
            rules: vec![Rule {
                from: good.max(5),
                ..Rule::new(Fault::InsufficientQuota)
            }],
            ..Faults::default()
        },
        ..simulator::Config::default()
    };
    let mut stage = Stage::start(&bench, "no-money", behaviour, "plain.toml").await?;
    let mut batch = Batch::default();
    let specs = prompts("no-money", tasks);
    batch
        .add(&mut stage.client, specs, &TaskOptions::default(), false)
        .await?;
    let watch = Watch::start(vec![stage.client.clone()], batch.id.clone());
    let parked = |told: &Told| {
        told.progress
            .as_ref()
            .is_some_and(|progress| progress.parked.is_some())
    };
    let told_parked = watch.until(Duration::from_secs(120), parked).await;
    // Whatever else were to be sent would be sent by now.
    sleep(Duration::from_secs(15)).await;
    let before = Log::read(&stage.upstream.calls(), Unit::Requests);
    let request = GetBatchRequest {
        batch_id: batch.id.clone(),
    };
    let shown = stage.client.get_batch(request).await?.into_inner().batch;
    let is_parked = shown.is_some_and(|batch| batch.parked.is_some());
    let failed = watch.sees(|told| told.count(TaskStatus::Error));
    stage.upstream.set_faults(Faults::default())?;
    let resume = ResumeBatchRequest {
        budget_nanos: None,
        batch_id: batch.id.clone(),
    };
    stage.client.resume_batch(resume).await?;
    let told = watch.end(Duration::from_secs(180)).await;
    let run = Run::new(batch, told, &stage.upstream);
    let (further, in_flight) = after_first_refusal(&before);
    Ok(vec![
        Finding::check(
            format!("{further} further calls, in flight {in_flight}"),
            further <= in_flight + 1,
        ),
        Finding::check(
            format!("parked: {is_parked}, told to the watch: {told_parked}"),
            is_parked && told_parked,
        ),
        Finding::check(format!("{failed} tasks failed"), failed == 0),
        run.lost(),
    ])
}

/// Calls that came after the first that was told of no money, and calls that were open when it was told so.
fn after_first_refusal(log: &Log) -> (usize, usize) {
    let refused = |call: &&Call| call.fault.as_deref() == Some("insufficient-quota");
    let Some(first) = log
        .calls
        .iter()
        .filter(refused)
        .map(|call| call.end)
        .reduce(f64::min)
    else {
        return (usize::MAX, 0);
    };
    let further = log.calls.iter().filter(|call| call.at > first).count();
    (further, log.open_at(first))
}
