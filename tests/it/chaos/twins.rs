//! Replicas that are told exactly the same are still somebody each.

use std::{collections::BTreeSet, time::Duration};

use super::{
    kills::on_redis,
    load::Watching,
    run::{Run, Title, upstream},
};
use crate::support::{chance::Seed, redis::RedisServer, scale::scale};

const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn replicas_told_the_same_have_names_of_their_own_at_every_start() {
    let seed = Seed::of("replicas_told_the_same_have_names_of_their_own");
    let redis = RedisServer::start(&["--appendonly", "yes"]).await;
    let upstream = upstream(20, 100).await;
    let mut setup = on_redis(&redis, &upstream, Duration::from_secs(2));
    setup.replicas = 2;
    let mut run = Run::start(seed, setup, upstream, Watching::Batch).await;
    let (mut names, starts) = (BTreeSet::new(), scale(2, 20));
    for start in 0..starts {
        if start > 0 {
            for index in 0..run.fleet.len() {
                run.fleet.kill(index);
                run.fleet.restart(index).await;
            }
        }
        names.extend((0..run.fleet.len()).map(|index| run.fleet.worker(index)));
        assert_eq!(names.len(), (start + 1) * run.fleet.len());
        run.load.submit(40, 20).await;
        // A process that lives for less than a second reaps nothing; two that take turns at it would leave tasks be.
        run.others_finish(0).await;
    }
    let evidence = run.evidence(LIMIT).await;
    let attempts = evidence.ends.values().flat_map(|task| &task.attempts);
    let workers: BTreeSet<String> = attempts.map(|attempt| attempt.worker.clone()).collect();
    assert!(workers.is_subset(&names), "{workers:?} and {names:?}");
    let title = Title {
        fault: "replicas started with the same host and configuration".into(),
        on: "Redis, 2 replicas, lease 2 s".into(),
        times: names.len(),
        note: format!("{} names", names.len()),
    };
    run.conclude(title, &evidence);
}
