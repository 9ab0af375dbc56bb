//! W5: what a task costs where many wait, where many servers share a Redis, and where payloads are large; and how long a
//! server takes to start.

use std::time::{Duration, SystemTime};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tidings::proto::v1::{ListTasksRequest, SubmitBatchRequest, TaskOptions, TaskStatus};

use super::{
    Bench, Fallible,
    client::{CALLS_IN_FLIGHT, Client, Job, PER_CALL},
    process::Setup,
    report::{Report, thousands},
    stage::{Kind, Stage},
    throughput::{PAYLOAD, rounds},
};

/// Tasks that wait while others run.
const WAITING: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Tasks submitted, run and known at a time.
const WHOLE: [usize; 4] = WAITING;
/// Servers on one Redis.
const REPLICAS: [(usize, &str); 3] = [(1, "1 replica"), (2, "2 replicas"), (4, "4 replicas")];
/// Bytes of a payload, and so many tasks that they come to the like of it in all.
const PAYLOADS: [(usize, usize, &str); 3] = [
    (PAYLOAD, 50_000, "200 B"),
    (4 << 10, 20_000, "4 KiB"),
    (64 << 10, 2_000, "64 KiB"),
];
/// Tasks that run beside those that wait, and on the replicas.
const TASKS: usize = 20_000;
/// From this size on a round is long enough by itself.
const LARGE: usize = 100_000;
/// Starts on an empty store.
const STARTS: usize = 5;
/// The name in the tables.
const W5: &str = "W5";
const MIB: f64 = (1 << 20) as f64;

/// Measures all of it.
pub(crate) async fn measure(bench: &Bench, report: &mut Report) {
    let outcome = size_and_start(bench, report);
    report.hold(W5, "start", outcome);
    for kind in bench.chosen([Kind::Embedded, Kind::Redis]) {
        let outcome = waiting(bench, report, kind).await;
        report.hold(W5, &format!("{}, many waiting", kind.name()), outcome);
        for count in WHOLE {
            let whole = thousands(bench.scaled(count) as f64);
            let case = format!("{}, {whole} in one go", kind.name());
            let repeat = if count > LARGE { 1 } else { bench.rounds };
            let outcome = one(
                bench,
                report,
                kind,
                (1, Job::Echo(PAYLOAD), count, repeat),
                &case,
            )
            .await;
            report.hold(W5, &case, outcome);
        }
        for (bytes, count, what) in PAYLOADS {
            let case = format!("{}, payloads of {what}", kind.name());
            let outcome = one(
                bench,
                report,
                kind,
                (1, Job::Echo(bytes), count, bench.rounds),
                &case,
            )
            .await;
            report.hold(W5, &case, outcome);
        }
    }
    for (replicas, what) in REPLICAS {
        let case = format!("redis, {what}");
        let plan = (replicas, Job::Echo(PAYLOAD), TASKS, bench.rounds);
        let outcome = one(bench, report, Kind::Redis, plan, &case).await;
        report.hold(W5, &case, outcome);
    }
}

/// What a case runs: servers, job, tasks a round, rounds.
type Plan = (usize, Job, usize, usize);

async fn one(
    bench: &Bench,
    report: &mut Report,
    kind: Kind,
    plan: Plan,
    case: &str,
) -> Fallible<()> {
    let (replicas, job, count, repeat) = plan;
    let stage = Stage::start(&bench.folder, kind, replicas, Setup::default())?;
    let rates = rounds(bench, &stage, job, bench.scaled(count), repeat).await?;
    rates.tell(report, W5, case, kind);
    Ok(())
}

fn size_and_start(bench: &Bench, report: &mut Report) -> Fallible<()> {
    let size = std::fs::metadata(env!("CARGO_BIN_EXE_tidings"))?.len();
    report.add(W5, "binary", "MiB", vec![size as f64 / MIB]);
    for kind in bench.chosen([Kind::Embedded, Kind::Redis]) {
        let mut millis = Vec::new();
        for _ in 0..STARTS {
            let stage = Stage::start(&bench.folder, kind, 1, Setup::default())?;
            millis.extend(ready_after(&stage));
        }
        let case = format!("{}, empty", kind.name());
        report.add(W5, &case, "ms until ready", millis);
    }
    Ok(())
}

fn ready_after(stage: &Stage) -> Option<f64> {
    let server = stage.servers.last()?;
    Some(server.ready_after.as_secs_f64() * 1e3)
}

/// Fills the store step by step with tasks whose time has not come; at each step others run beside them. Then kills the
/// server, and sees how long the next one takes to serve what is there.
async fn waiting(bench: &Bench, report: &mut Report, kind: Kind) -> Fallible<()> {
    let mut stage = Stage::start(&bench.folder, kind, 1, Setup::default())?;
    let mut there = 0;
    let case_of = |wanted| format!("{}, {} waiting", kind.name(), thousands(wanted as f64));
    for wanted in WAITING.map(|count| bench.scaled(count)) {
        let case = case_of(wanted);
        let clients = stage.clients().await?;
        wait(clients, wanted.saturating_sub(there)).await?;
        there = wanted.max(there);
        report.add(
            W5,
            &case,
            "memory of the server, MiB",
            vec![stage.memory("VmRSS")? / MIB],
        );
        let rates = rounds(
            bench,
            &stage,
            Job::Echo(PAYLOAD),
            bench.scaled(TASKS),
            bench.rounds,
        )
        .await?;
        rates.tell(report, W5, &case, kind);
    }
    let case = case_of(there);
    report.add(
        W5,
        &case,
        "peak memory of the server, MiB",
        vec![stage.memory("VmHWM")? / MIB],
    );
    stage.restart()?;
    report.add(
        W5,
        &case,
        "ms until ready",
        ready_after(&stage).into_iter().collect(),
    );
    report.add(
        W5,
        &case,
        "memory once ready, MiB",
        vec![stage.memory("VmRSS")? / MIB],
    );
    still_there(&stage, there).await
}

/// Submits tasks that do not start within the hours to come. Answers their ids.
pub(crate) async fn wait(clients: Vec<Client>, count: usize) -> Fallible<Vec<String>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a benchmark runs by the machine's clock"
    )]
    let later = SystemTime::now() + Duration::from_secs(12 * 3_600);
    let client = clients.into_iter().next().ok_or("no server")?;
    let submits = (0..count).step_by(PER_CALL).map(|from| {
        let mut client = client.clone();
        let job = Job::Echo(PAYLOAD);
        let request = SubmitBatchRequest {
            tasks: (from..(from + PER_CALL).min(count))
                .map(|number| job.spec(number))
                .collect(),
            options: Some(TaskOptions {
                not_before: Some(later.into()),
                ..TaskOptions::default()
            }),
            ..SubmitBatchRequest::default()
        };
        async move { client.submit_batch(request).await }
    });
    let replies = stream::iter(submits).buffer_unordered(CALLS_IN_FLIGHT);
    let replies: Vec<_> = replies.try_collect().await?;
    let ids = replies
        .into_iter()
        .flat_map(|reply| reply.into_inner().task_ids);
    Ok(ids.collect())
}

/// Fails if the server counts fewer tasks that wait than were accepted.
async fn still_there(stage: &Stage, count: usize) -> Fallible<()> {
    let mut client = stage
        .clients()
        .await?
        .into_iter()
        .next()
        .ok_or("no server")?;
    let mut request = ListTasksRequest {
        page_size: 1_000,
        statuses: vec![TaskStatus::Queued as i32],
        ..ListTasksRequest::default()
    };
    let mut found = 0;
    loop {
        let page = client.list_tasks(request.clone()).await?.into_inner();
        found += page.tasks.len();
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if found != count {
        return Err(format!("{found} of {count} tasks are there after a restart").into());
    }
    Ok(())
}
