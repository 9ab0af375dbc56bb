//! A5: four processes share one key through Redis, and one of them is killed.

use std::time::Duration;

use tidings::proto::v1::TaskOptions;
use tokio::time::sleep;

use crate::{
    case::paced::{Scene, limits},
    client::{Batch, Watch, connect},
    judge::Unit,
    process::{Redis, Server, Setup},
    report::{Finding, Outcome},
    stage::{Bench, CONCURRENCY, Run, key_of, prompts, upstream},
};

const PROCESSES: usize = 4;
const LENGTH: f64 = 300.0;
/// A call that was open when its process died hangs up within this.
const AT_ONCE: f64 = 1.0;

/// The whole case.
pub(crate) async fn killed(bench: Bench) -> Outcome {
    let name = "fleet";
    let folder = bench.folder_of(name)?;
    let length = bench.lasting(LENGTH);
    let scene = Scene::of(name, limits(), length);
    let upstream = upstream(&folder, "calls", scene.behaviour()).await?;
    let redis = Redis::start(&folder)?;
    let mut servers = Vec::new();
    for number in 0..PROCESSES {
        servers.push(Server::start(&Setup {
            folder: &folder,
            name: &format!("server-{number}"),
            store: &redis.url,
            key: &key_of(name),
            config: "plain.toml",
            words: &[("@UPSTREAM@", upstream.base_url())],
            concurrency: CONCURRENCY,
        })?);
    }
    let mut clients = Vec::new();
    for server in &servers {
        clients.push(connect(&server.endpoint).await?);
    }
    let mut batch = Batch::default();
    let specs = prompts(name, scene.tasks);
    batch
        .add(&mut clients[0], specs, &TaskOptions::default(), false)
        .await?;
    let watch = Watch::start(clients, batch.id.clone());
    sleep(Duration::from_secs_f64(length / 2.0)).await;
    let killed_at = now();
    servers[PROCESSES - 1].process.kill();
    let told = watch.end(Duration::from_secs_f64(length + 60.0)).await;
    let run = Run::new(batch, told, &upstream);
    let log = run.log(Unit::Requests);
    let at = log.time(killed_at);
    let in_flight = log.hung_up_within((at, at + AT_ONCE));
    let twice = log.billed_twice().len();
    let mut findings = scene.figures(&log).check(0.95, 0.005, 10.0);
    let text = format!("Dup {twice}, in flight when killed {in_flight}");
    findings.extend([
        Finding::check(text, twice <= in_flight),
        run.lost(),
        run.lag(),
    ]);
    Ok(findings)
}

fn now() -> tidings::clock::Timestamp {
    use tidings::clock::Clock as _;
    tidings::clock::SystemClock.now()
}
