//! A whole server while its store is replaced by one that has less.

use std::time::Duration;

use futures::future::join_all;
use tidings::{
    config::StoreConfig,
    proto::v1::TaskStatus,
    simulator::{Config, Latency},
};

use crate::support::{
    false_sentinel::FalseSentinel,
    redis::config,
    server::{Kind, TestServer, prompt, soon, status, status_of, submit, watch_task},
};

use super::{SOON, loss::Pair};

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_batch_is_finished_again_and_nobody_watches_for_ever() {
    let pair = Pair::start().await;
    let sentinel = FalseSentinel::naming(pair.first.port(), 1).await;
    let upstream = Config {
        latency: Latency::Fixed(Duration::from_millis(300)),
        ..Config::default()
    };
    let mut server = TestServer::start_with(Kind::Embedded, upstream, |it| {
        it.store = StoreConfig::Redis(config(&sentinel.url()));
        it.concurrency = 2;
        it.lease = Duration::from_secs(2);
    })
    .await;
    let made = submit(&mut server.client, (0..12).map(|n| prompt(format!("{n}")))).await;
    let watches = made.task_ids.iter().cloned().map(|id| {
        let mut client = server.client.clone();
        tokio::spawn(async move { watch_task(&mut client, &id, 0).await })
    });
    let watches = join_all(watches.collect::<Vec<_>>());
    let is_done = async |client: &mut _, id: &str| {
        status_of(&status(client, id).await) == TaskStatus::Completed
    };
    soon("one is done", async || {
        is_done(&mut server.client.clone(), &made.task_ids[0]).await
    })
    .await;
    pair.is_level().await;
    pair.promote().await;
    soon("more is done, and will be lost", async || {
        is_done(&mut server.client.clone(), &made.task_ids[5]).await
    })
    .await;
    sentinel.name(pair.second.port());
    let told = tokio::time::timeout(SOON, watches).await;
    for told in told.expect("every watch comes to its end") {
        let last = told.unwrap().pop().expect("something is told");
        assert_eq!(status_of(&last), TaskStatus::Completed);
    }
    for id in &made.task_ids {
        soon("what was rolled back is done again", async || {
            is_done(&mut server.client.clone(), id).await
        })
        .await;
    }
    server.stop().await;
}
