//! One server on its directory, killed and started again under load.

use std::time::Duration;

use super::{
    fleet::Setup,
    kills::{Storm, rage},
    load::Watching,
    run::{Run, Title, upstream},
};
use crate::support::{chance::Seed, scale::scale};

const LIMIT: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_on_its_directory_comes_back_with_everything() {
    let seed = Seed::of("a_server_killed_on_its_directory_comes_back");
    let folder = tempfile::tempdir().unwrap();
    let store = format!("embedded:{}", folder.path().join("data").display());
    let upstream = upstream(100, 500).await;
    let url = upstream.base_url();
    let setup = Setup {
        replicas: 1,
        lease: Duration::from_secs(2),
        concurrency: 16,
        grace: Duration::from_secs(5),
        settings: "",
        store: Box::new(move |_| store.clone()),
        upstream: Box::new(move |_| url.clone()),
    };
    let mut run = Run::start(seed, setup, upstream, Watching::Tasks).await;
    let kills = scale(2, 100);
    let storm = Storm {
        strikes: kills,
        between: 300..1_500,
        away: 0..200,
        freezes: false,
    };
    let (fleet, mut rng) = (run.fleet.clone(), run.seed.rng(0));
    let submitting = async {
        for _ in 0..kills {
            run.load.submit(40, 20).await;
        }
    };
    tokio::join!(rage(&fleet, storm, &mut rng), submitting);
    let evidence = run.evidence(LIMIT).await;
    let title = Title {
        fault: "kill -9 of the server, restarted on its directory".into(),
        on: "embedded, 1 process, lease 2 s".into(),
        times: kills,
        note: String::new(),
    };
    run.conclude(title, &evidence);
}
