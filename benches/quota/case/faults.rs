//! A6, A7, A8, A11, A12: what the upstream does wrong, and what comes of it.

use std::{collections::BTreeSet, time::Duration};

use tidings::{
    proto::v1::{GetBatchRequest, ResumeBatchRequest, TaskOptions, TaskStatus, WaitReason},
    simulator::{self, Ended, Fault, Faults, Headers, Latency, Limits, RetryAfter, Rule},
};
use tokio::time::sleep;

use crate::{
    case::paced::RPM,
    client::{Batch, Watch, connect},
    judge::{Log, Quota, TRAILING, Unit},
    process::{Server, Setup},
    report::{Finding, Outcome, Stop, after, percent},
    stage::{Bench, CONCURRENCY, Run, Stage, key_of, like_a_model, prompts, upstream},
};

/// A quota that is told, as in A1.
fn limited(headers: Headers, retry_after: RetryAfter) -> Limits {
    Limits {
        requests_per_minute: Some(RPM),
        charge_refused: true,
        headers,
        retry_after,
        ..Limits::default()
    }
}

/// A6: errors, resets and torn answers, each of them once for a prompt at most, so that every task can succeed.
pub(crate) async fn mixed(bench: Bench) -> Outcome {
    let tasks = bench.lasting(10_000.0) as usize;
    let behaviour = simulator::Config {
        latency: Latency::Fixed(Duration::from_millis(500)),
        seed: 6,
        faults: Faults {
            rates: vec![
                (Fault::Status(500), 0.05),
                (Fault::Reset, 0.02),
                (Fault::Truncated, 0.02),
            ],
            first_attempts: Some(1),
            ..Faults::default()
        },
        ..simulator::Config::default()
    };
    let mut stage = Stage::start(&bench, "mixed", behaviour, "plain.toml").await?;
    let run = stage
        .run(prompts("mixed", tasks), Duration::from_secs(180))
        .await?;
    let log = run.log(Unit::Requests);
    let calls = log.calls.len() as f64 / tasks as f64;
    let lost_answer = |fault: &str| fault == "reset" || fault == "truncated";
    let ambiguous: BTreeSet<&str> = log
        .calls
        .iter()
        .filter(|call| {
            call.fault.as_deref().is_some_and(lost_answer) || call.ended == Ended::HungUp
        })
        .map(|call| call.task.as_str())
        .collect();
    let twice = log.billed_twice();
    let unexplained = twice.difference(&ambiguous).count();
    let dup = format!(
        "Dup {}, of them {unexplained} not among the {} ambiguous",
        twice.len(),
        ambiguous.len()
    );
    Ok(vec![
        run.lost(),
        Finding::check(format!("{calls:.3} calls a task"), calls <= 1.10),
        Finding::check(dup, unexplained == 0),
        Finding::note(format!("Overspend {}", percent(log.overspend()))),
    ])
}

/// A7: nothing but 503 for a minute.
pub(crate) async fn outage(bench: Bench) -> Outcome {
    let (from, to, length) = (
        bench.lasting(60.0),
        bench.lasting(120.0),
        bench.lasting(200.0),
    );
    let quota = Quota::steady(RPM);
    let secs = Duration::from_secs_f64;
    let behaviour = simulator::Config {
        latency: like_a_model(),
        limits: limited(Headers::OpenAi, RetryAfter::Both),
        faults: Faults {
            rules: vec![Rule {
                during: Some(secs(from)..secs(to)),
                ..Rule::new(Fault::Status(503))
            }],
            ..Faults::default()
        },
        ..simulator::Config::default()
    };
    let mut stage = Stage::start(&bench, "outage", behaviour, "plain.toml").await?;
    let tasks = quota.between(0.0, length - (to - from)).ceil() as usize;
    let run = stage
        .run(prompts("outage", tasks), secs(length + 120.0))
        .await?;
    let log = run.log(Unit::Requests);
    let (wasted, probes) = outage_calls(&log);
    let recovery = log.convergence(to, TRAILING / 2.0, &quota);
    Ok(vec![
        Finding::check(
            format!("{wasted} calls wasted before the breaker opened"),
            wasted <= 20,
        ),
        Finding::check(format!("at most {probes} probes in a second"), probes <= 1),
        Finding::check(
            format!("≥ 95 % over 5 s {} after the end", after(recovery)),
            recovery.is_some_and(|time| time <= 15.0),
        ),
        run.lost(),
    ])
}

/// How many calls met the outage before there first was half a second without one; and the most that came within a
/// second after that. Two probes a second apart arrive a little less than that apart at times.
fn outage_calls(log: &Log) -> (usize, usize) {
    let met: Vec<f64> = log
        .calls
        .iter()
        .filter(|call| call.fault.as_deref() == Some("503"))
        .map(|call| call.at)
        .collect();
    let pause = met.windows(2).position(|pair| pair[1] - pair[0] >= 0.5);
    let wasted = pause.map_or(met.len(), |place| place + 1);
    let probes = &met[wasted..];
    let within = |at: &f64| {
        probes
            .iter()
            .filter(|other| (*at..*at + 0.9).contains(*other))
            .count()
    };
    (wasted, probes.iter().map(within).max().unwrap_or(0))
}

/// A8: the money runs out, is paid, and the batch goes on.
pub(crate) async fn no_money(bench: Bench) -> Outcome {
    let (good, tasks) = (bench.lasting(300.0) as u64, bench.lasting(900.0) as usize);
    let behaviour = simulator::Config {
        latency: like_a_model(),
        limits: limited(Headers::OpenAi, RetryAfter::Both),
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
    let parked = |told: &crate::client::Told| {
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
    let refused = |call: &&crate::judge::Call| call.fault.as_deref() == Some("insufficient-quota");
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

/// A11: every tenth call is told to wait 89 s, for two minutes.
pub(crate) async fn long_waits(bench: Bench) -> Outcome {
    let wait = 89.0;
    let (stops, length) = (bench.lasting(120.0), bench.lasting(120.0) + wait + 90.0);
    let quota = Quota::steady(RPM);
    let secs = Duration::from_secs_f64;
    let behaviour = simulator::Config {
        latency: like_a_model(),
        limits: limited(Headers::Absent, RetryAfter::Absent),
        faults: Faults {
            rules: vec![Rule {
                every: 10,
                during: Some(Duration::ZERO..secs(stops)),
                ..Rule::new(Fault::RetryAfter(secs(wait)))
            }],
            ..Faults::default()
        },
        ..simulator::Config::default()
    };
    let mut stage = Stage::start(&bench, "long-waits", behaviour, "plain.toml").await?;
    let tasks = quota.between(0.0, 90.0).ceil() as usize;
    let run = stage
        .run(prompts("long-waits", tasks), secs(length + 120.0))
        .await?;
    let log = run.log(Unit::Requests);
    let gaps = log.calls.windows(2).map(|pair| pair[1].at - pair[0].at);
    let longest = gaps.fold(0.0, f64::max);
    let recovery = log.convergence(stops, TRAILING, &quota);
    Ok(vec![
        Finding::check(
            format!("longest silence {longest:.1} s"),
            longest <= wait * 1.1 + 5.0,
        ),
        Finding::check(
            format!(
                "≥ 95 % {} after the last such answer could come",
                after(recovery)
            ),
            recovery.is_some_and(|time| time <= wait * 1.1 + 45.0),
        ),
        run.lost(),
    ])
}

/// A12: one endpoint says to come back tomorrow, the other is free.
pub(crate) async fn tomorrow(bench: Bench) -> Outcome {
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
    let shown = |told: &crate::client::Told| {
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
