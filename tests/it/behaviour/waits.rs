//! Why a task waits: told with the task, and pushed when it changes without a transition.

use std::{num::NonZeroU64, time::Duration};

use tidings::{
    proto::v1::{
        CancelTasksRequest, ResumeBatchRequest, TaskStatus, WaitReason, WatchTaskRequest,
        WatchTaskResponse, watch_task_response::Event,
    },
    simulator::{self, Fault, Faults},
};
use tokio::time::timeout;
use tonic::Streaming;

use super::options::{from_now, with};
use crate::support::server::{
    Client, Kind, TestServer, function, on_each_store, prompt, status, status_of, submit,
};

on_each_store! {
    every_change_of_what_a_task_waits_for_is_pushed,
    a_task_whose_batch_is_held_back_says_so_and_says_when_it_goes_on,
    a_watcher_that_comes_back_is_told_what_its_task_waits_for,
    a_task_that_the_upstreams_limit_keeps_waiting_says_so,
}

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(60);

/// What a watcher was told: statuses, and the reasons between them.
#[derive(Debug, PartialEq)]
enum Told {
    Is(TaskStatus),
    WaitsFor(WaitReason),
}

async fn watch(client: &mut Client, id: &str, after: u64) -> Streaming<WatchTaskResponse> {
    let request = WatchTaskRequest {
        task_id: id.to_owned(),
        after_revision: after,
        ..WatchTaskRequest::default()
    };
    client.watch_task(request).await.unwrap().into_inner()
}

async fn next(stream: &mut Streaming<WatchTaskResponse>) -> Option<Told> {
    loop {
        let message = timeout(SOON, stream.message())
            .await
            .expect("news")
            .unwrap()?;
        match message.event.unwrap() {
            Event::Task(task) => return Some(Told::Is(status_of(&task))),
            Event::Notice(notice) if notice.progress_percent == 0 => {
                return Some(Told::WaitsFor(notice.wait_reason()));
            }
            _ => {}
        }
    }
}

async fn every_change_of_what_a_task_waits_for_is_pushed(kind: Kind) {
    let mut server = TestServer::start_with(kind, simulator::Config::default(), |config| {
        config.concurrency = 1;
    })
    .await;
    let sleep = function("debug.sleep", r#"{"seconds":600}"#);
    let busy = submit(&mut server.client, [sleep]).await.task_ids.remove(0);
    let mut blocker = watch(&mut server.client, &busy, 0).await;
    while next(&mut blocker).await != Some(Told::Is(TaskStatus::Processing)) {}
    let later = from_now(Duration::from_millis(1_500));
    let task = with(function("debug.echo", "1"), |o| o.not_before = later);
    let id = submit(&mut server.client, [task]).await.task_ids.remove(0);
    let mut stream = watch(&mut server.client, &id, 0).await;
    let first = stream.message().await.unwrap().unwrap().event.unwrap();
    let Event::Task(first) = first else {
        panic!("{first:?}");
    };
    assert_eq!(first.wait_reason(), WaitReason::NotBefore);
    let millis = |time: prost_types::Timestamp| (time.seconds, time.nanos / 1_000_000);
    assert_eq!(first.wait_until.map(millis), later.map(millis));
    let ready = Told::WaitsFor(WaitReason::Unspecified);
    assert_eq!(next(&mut stream).await, Some(ready));
    let stuck = Told::WaitsFor(WaitReason::NoWorker);
    assert_eq!(next(&mut stream).await, Some(stuck));
    let cancel = CancelTasksRequest {
        task_ids: vec![busy],
        ..CancelTasksRequest::default()
    };
    server.client.cancel_tasks(cancel).await.unwrap();
    for status in [TaskStatus::Processing, TaskStatus::Completed] {
        assert_eq!(next(&mut stream).await, Some(Told::Is(status)));
    }
    assert_eq!(next(&mut stream).await, None);
    server.stop().await;
}

/// Two tasks, of which the first parks the batch before the second starts. Answers the batch and the second.
async fn held_back(kind: Kind) -> (TestServer, String, String) {
    let refusing = simulator::Config {
        faults: Faults::always(Fault::Status(401)),
        ..simulator::Config::default()
    };
    let mut server = TestServer::start_with(kind, refusing, |config| config.concurrency = 1).await;
    let made = submit(&mut server.client, [prompt("first"), prompt("second")]).await;
    let second = made.task_ids[1].clone();
    (server, made.batch_id, second)
}

async fn resume(client: &mut Client, batch_id: String) {
    let request = ResumeBatchRequest {
        batch_id,
        budget_nanos: None,
    };
    client.resume_batch(request).await.unwrap();
}

async fn a_task_whose_batch_is_held_back_says_so_and_says_when_it_goes_on(kind: Kind) {
    let (mut server, batch, id) = held_back(kind).await;
    let mut stream = watch(&mut server.client, &id, 0).await;
    while next(&mut stream).await != Some(Told::WaitsFor(WaitReason::Parked)) {}
    server.upstream.set_faults(Faults::default()).unwrap();
    resume(&mut server.client, batch).await;
    let mut told = Vec::new();
    while let Some(news) = next(&mut stream).await {
        told.push(news);
    }
    let ends = [TaskStatus::Processing, TaskStatus::Completed].map(Told::Is);
    assert!(told.ends_with(&ends), "{told:?}");
    assert!(
        !told.contains(&Told::WaitsFor(WaitReason::Parked)),
        "{told:?}"
    );
    server.stop().await;
}

async fn a_watcher_that_comes_back_is_told_what_its_task_waits_for(kind: Kind) {
    let (mut server, _batch, id) = held_back(kind).await;
    let mut stream = watch(&mut server.client, &id, 0).await;
    while next(&mut stream).await != Some(Told::WaitsFor(WaitReason::Parked)) {}
    drop(stream);
    let mut stream = watch(&mut server.client, &id, 1).await;
    let parked = Told::WaitsFor(WaitReason::Parked);
    assert_eq!(next(&mut stream).await, Some(parked));
    server.stop().await;
}

async fn a_task_that_the_upstreams_limit_keeps_waiting_says_so(kind: Kind) {
    let upstream = simulator::Config::default();
    let mut server = TestServer::start_with(kind, upstream, |config| {
        config.upstream.requests_per_minute = NonZeroU64::new(120);
    })
    .await;
    let made = submit(&mut server.client, (0..16).map(|n| prompt(format!("{n}")))).await;
    let id = made.task_ids.last().unwrap();
    let mut stream = watch(&mut server.client, id, 0).await;
    let queued = Told::Is(TaskStatus::Queued);
    assert_eq!(next(&mut stream).await, Some(queued));
    let limited = Told::WaitsFor(WaitReason::RateLimited);
    assert_eq!(next(&mut stream).await, Some(limited));
    let task = status(&mut server.client, id).await;
    assert_eq!(task.wait_reason(), WaitReason::RateLimited);
    assert_eq!(task.wait_until, None, "nobody asked for a pause");
    for status in [TaskStatus::Processing, TaskStatus::Completed] {
        assert_eq!(next(&mut stream).await, Some(Told::Is(status)));
    }
    server.stop().await;
}
