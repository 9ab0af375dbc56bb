//! A7: nothing but 503 for a minute.

use std::time::Duration;

use tidings::simulator::{self, Fault, Faults, Rule};

use crate::{
    case::paced::{RPM, limits},
    judge::{Log, Quota, TRAILING, Unit},
    report::{Finding, Outcome, after},
    stage::{Bench, Stage, like_a_model, prompts},
};

/// The whole case.
pub(crate) async fn survived(bench: Bench) -> Outcome {
    let (from, to, length) = (
        bench.lasting(60.0),
        bench.lasting(120.0),
        bench.lasting(200.0),
    );
    let quota = Quota::steady(RPM);
    let secs = Duration::from_secs_f64;
    let behaviour = simulator::Config {
        latency: like_a_model(),
        limits: limits(),
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
