//! A11: every tenth call is told to wait 89 s, for two minutes.

use std::time::Duration;

use tidings::simulator::{self, Fault, Faults, Headers, Limits, RetryAfter, Rule};

use crate::{
    case::paced::{RPM, limits},
    judge::{Quota, TRAILING, Unit},
    report::{Finding, Outcome, after},
    stage::{Bench, Stage, like_a_model, prompts},
};

/// The whole case.
pub(crate) async fn outlived(bench: Bench) -> Outcome {
    let wait = 89.0;
    let (stops, length) = (bench.lasting(120.0), bench.lasting(120.0) + wait + 90.0);
    let quota = Quota::steady(RPM);
    let secs = Duration::from_secs_f64;
    let behaviour = simulator::Config {
        latency: like_a_model(),
        limits: Limits {
            headers: Headers::Absent,
            retry_after: RetryAfter::Absent,
            ..limits()
        },
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
