//! A12: one endpoint says to come back tomorrow, the other is free.

use std::time::Duration;

use tidings::{
    proto::v1::{TaskOptions, WaitReason},
    simulator::{self, Fault, Faults, Latency},
};

use crate::{
    client::{Batch, Told, Watch, connect},
    process::{Server, Setup},
    report::{Finding, Outcome, Stop},
    stage::{Bench, CONCURRENCY, Run, Stage, key_of, prompts, upstream},
};

/// The whole case.
pub(crate) async fn passed_over(bench: Bench) -> Outcome {
    let name = "tomorrow";
    let folder = bench.folder_of(name)?;
    let day = Duration::from_secs(86_400);
    let closed = simulator::Config {
        faults: Faults::always(Fault::RetryAfter(day)),
        ..simulator::Config::default()
    };
    let free = simulator::Config {
        latency: Latency::Fixed(Duration::from_millis(100)),
        ..simulator::Config::default()
    };
    let closed = upstream(&folder, "closed", closed).await?;
    let free = upstream(&folder, "free", free).await?;
    let server = Server::start(&Setup {
        folder: &folder,
        name: "server",
        store: &format!("embedded:{}", folder.join("data").display()),
        key: &key_of(name),
        config: "two-endpoints.toml",
        words: &[("@CLOSED@", closed.base_url()), ("@FREE@", free.base_url())],
        concurrency: CONCURRENCY,
    })?;
    let mut client = connect(&server.endpoint).await?;
    let mut batch = Batch::default();
    let specs = prompts(name, 500);
    batch
        .add(&mut client, specs, &TaskOptions::default(), false)
        .await?;
    let watch = Watch::start(vec![client.clone()], batch.id.clone());
    let told = watch.end(Duration::from_secs(60)).await;
    let first = closed.calls().iter().map(|call| call.time_in).min();
    let moved = free.calls().iter().map(|call| call.time_in).min();
    let late = |start| {
        closed
            .calls()
            .iter()
            .filter(|call| call.time_in.0 - start > 1_000)
            .count()
    };
    let run = Run::new(batch, told, &free);
    let mut findings = vec![run.lost()];
    if let (Some(first), Some(moved)) = (first, moved) {
        let took = moved.since(first).as_secs_f64();
        let late = late(first.0);
        findings.push(Finding::check(
            format!("moved on after {took:.2} s"),
            took <= 1.0,
        ));
        findings.push(Finding::check(
            format!("{late} calls to it later"),
            late == 0,
        ));
    } else {
        findings.push(Finding::check("the closed endpoint was never tried", false));
    }
    findings.push(shown_wait(&bench, day).await?);
    Ok(findings)
}

/// With the closed endpoint alone, its wait is shown on the tasks.
async fn shown_wait(bench: &Bench, day: Duration) -> Result<Finding, Stop> {
    let closed = simulator::Config {
        faults: Faults::always(Fault::RetryAfter(day)),
        ..simulator::Config::default()
    };
    let mut stage = Stage::start(bench, "tomorrow-alone", closed, "plain.toml").await?;
    let mut batch = Batch::default();
    let specs = prompts("tomorrow-alone", 1);
    batch
        .add(&mut stage.client, specs, &TaskOptions::default(), false)
        .await?;
    let watch = Watch::start(vec![stage.client.clone()], batch.id.clone());
    let shown = |told: &Told| {
        told.latest.values().any(|task| {
            let until = task.wait_until.as_ref().map(|time| time.seconds);
            let since = task.create_time.as_ref().map(|time| time.seconds);
            let long = until
                .zip(since)
                .is_some_and(|(until, since)| until - since >= 86_000);
            task.wait_reason() == WaitReason::RateLimited && long
        })
    };
    let is_shown = watch.until(Duration::from_secs(20), shown).await;
    Ok(Finding::check(
        format!("alone, its tasks show until when they wait: {is_shown}"),
        is_shown,
    ))
}
