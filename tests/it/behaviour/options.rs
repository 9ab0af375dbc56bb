//! Options: priority, not_before, deadline, retentions, labels.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use tidings::{
    proto::v1::{
        CancelTasksRequest, ErrorCode, GetStatusRequest, ListTasksRequest, Priority,
        SubmitBatchRequest, Task, TaskOptions, TaskSpec, TaskStatus, WaitReason,
    },
    simulator::{self, Latency},
};

use crate::support::server::{
    Client, Kind, TestServer, assert_lawful, function, on_each_store, prompt, soon, status,
    status_of, submit, watch_batch, watch_task,
};

on_each_store! {
    urgent_tasks_start_first_and_equal_ones_in_order,
    a_task_does_not_start_before_its_time,
    a_deadline_ends_a_waiting_task,
    a_deadline_ends_a_running_task_and_drops_its_call,
    a_timeout_ends_an_attempt,
    history_and_task_end_with_their_own_retention,
    tasks_are_listed_by_label_status_and_batch,
    options_of_the_call_are_defaults_for_its_tasks,
}

pub(super) fn with(task: TaskSpec, change: impl FnOnce(&mut TaskOptions)) -> TaskSpec {
    let mut options = TaskOptions::default();
    change(&mut options);
    TaskSpec {
        options: Some(options),
        ..task
    }
}

#[expect(clippy::disallowed_methods, reason = "a client has its own clock")]
pub(super) fn from_now(ahead: Duration) -> Option<Timestamp> {
    Some((SystemTime::now() + ahead).into())
}

fn millis(millis: u64) -> Option<prost_types::Duration> {
    Some(Duration::from_millis(millis).try_into().unwrap())
}

fn seconds_between(earlier: Option<Timestamp>, later: Option<Timestamp>) -> f64 {
    let float = |time: Timestamp| time.seconds as f64 + f64::from(time.nanos) / 1e9;
    float(later.unwrap()) - float(earlier.unwrap())
}

async fn urgent_tasks_start_first_and_equal_ones_in_order(kind: Kind) {
    let mut server = TestServer::start_with(kind, simulator::Config::default(), |config| {
        config.concurrency = 1;
    })
    .await;
    // Holds the only slot while the others queue up.
    let sleep = function("debug.sleep", r#"{"seconds":1}"#);
    submit(&mut server.client, [sleep]).await;
    let mut expected = Vec::new();
    let mut batches = Vec::new();
    for priority in [Priority::Low, Priority::Normal, Priority::High] {
        let echo = || {
            with(function("debug.echo", "1"), |o| {
                o.priority = priority as i32
            })
        };
        let batch = submit(&mut server.client, [echo(), echo(), echo()]).await;
        expected.splice(0..0, batch.task_ids.clone());
        batches.push(batch);
    }
    let mut ended = Vec::new();
    for batch in &batches {
        let told = watch_batch(&mut server.client, &batch.batch_id).await;
        ended.extend(
            told.into_iter()
                .filter(|t| status_of(t) == TaskStatus::Completed),
        );
    }
    ended.sort_by_key(|task| {
        let start = task.start_time.unwrap();
        (
            start.seconds,
            start.nanos,
            expected.iter().position(|id| *id == task.id),
        )
    });
    let order: Vec<_> = ended.into_iter().map(|task| task.id).collect();
    assert_eq!(order, expected);
    server.stop().await;
}

async fn a_task_does_not_start_before_its_time(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let later = from_now(Duration::from_millis(1_500));
    let task = with(function("debug.echo", "1"), |o| o.not_before = later);
    let id = submit(&mut server.client, [task]).await.task_ids.remove(0);
    let waiting = status(&mut server.client, &id).await;
    assert_eq!(status_of(&waiting), TaskStatus::Queued);
    assert_eq!(waiting.wait_reason(), WaitReason::NotBefore);
    let told = watch_task(&mut server.client, &id, 0).await;
    assert_lawful(&told);
    let early = seconds_between(later, told[1].start_time);
    assert!(early >= -0.002, "started {early} s after not_before");
    server.stop().await;
}

async fn a_deadline_ends_a_waiting_task(kind: Kind) {
    let mut server = TestServer::start_with(kind, simulator::Config::default(), |config| {
        config.concurrency = 1;
    })
    .await;
    let sleep = function("debug.sleep", r#"{"seconds":8}"#);
    let blocker = submit(&mut server.client, [sleep]).await.task_ids;
    let deadline = from_now(Duration::from_secs(1));
    let task = with(prompt("p"), |o| o.deadline = deadline);
    let id = submit(&mut server.client, [task]).await.task_ids.remove(0);
    let told = watch_task(&mut server.client, &id, 0).await;
    assert_lawful(&told);
    let last = told.last().unwrap();
    assert_eq!(told.len(), 2);
    assert_eq!(
        last.error.as_ref().unwrap().code(),
        ErrorCode::DeadlineExceeded
    );
    assert!(server.upstream.calls().is_empty());
    let cancel = CancelTasksRequest {
        task_ids: blocker,
        ..CancelTasksRequest::default()
    };
    server.client.cancel_tasks(cancel).await.unwrap();
    server.stop().await;
}

async fn a_deadline_ends_a_running_task_and_drops_its_call(kind: Kind) {
    let slow = simulator::Config {
        latency: Latency::Fixed(Duration::from_secs(60)),
        ..simulator::Config::default()
    };
    let mut server = TestServer::start_with(kind, slow, |_| {}).await;
    let deadline = from_now(Duration::from_millis(1_500));
    let task = with(prompt("p"), |o| o.deadline = deadline);
    let id = submit(&mut server.client, [task]).await.task_ids.remove(0);
    let told = watch_task(&mut server.client, &id, 0).await;
    assert_lawful(&told);
    let error = told.last().unwrap().error.clone().unwrap();
    assert_eq!(error.code(), ErrorCode::DeadlineExceeded);
    assert!(error.maybe_billed);
    soon("the call is dropped", async || {
        server.upstream.open_calls() == 0
    })
    .await;
    server.stop().await;
}

async fn a_timeout_ends_an_attempt(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let sleep = function("debug.sleep", r#"{"seconds":60}"#);
    let task = with(sleep, |o| {
        o.timeout = millis(200);
        o.max_attempts = 1;
    });
    let id = submit(&mut server.client, [task]).await.task_ids.remove(0);
    let told = watch_task(&mut server.client, &id, 0).await;
    assert_lawful(&told);
    let error = told.last().unwrap().error.clone().unwrap();
    assert_eq!(error.code(), ErrorCode::FunctionTimeout);
    server.stop().await;
}

async fn history_and_task_end_with_their_own_retention(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let task = with(function("debug.echo", "1"), |o| {
        o.status_retention = millis(1_500);
        o.result_retention = millis(3_000);
    });
    let id = submit(&mut server.client, [task]).await.task_ids.remove(0);
    let fresh = watch_task(&mut server.client, &id, 0).await;
    assert_eq!(fresh.len(), 3);
    assert!(!fresh[2].compacted);
    assert_eq!(fresh[2].attempts.len(), 1);
    let kept = seconds_between(fresh[2].end_time, fresh[2].expire_time);
    assert!((kept - 3.0).abs() < 0.01, "{kept}");

    soon("the history is past its retention", async || {
        status(&mut server.client.clone(), &id).await.compacted
    })
    .await;
    let told = watch_task(&mut server.client, &id, 0).await;
    assert_eq!(told.len(), 1, "the terminal event alone");
    assert!(told[0].compacted && told[0].attempts.is_empty());
    assert_eq!(told[0].revision, 3);
    assert!(told[0].result.is_some(), "the result is still kept");

    soon("the task is past its retention", async || {
        is_expired(&mut server.client.clone(), &id).await
    })
    .await;
    server.stop().await;
}

async fn is_expired(client: &mut Client, id: &str) -> bool {
    let request = GetStatusRequest {
        task_ids: vec![id.to_owned()],
        omit_results: false,
    };
    let reply = client.get_status(request).await.unwrap().into_inner();
    assert!(
        reply.not_found.is_empty(),
        "an expired task is known to have been"
    );
    reply.expired == [id]
}

async fn tasks_are_listed_by_label_status_and_batch(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let labelled = |n: usize| {
        with(function("debug.echo", "1"), |o| {
            o.labels = [("n".to_owned(), (n % 2).to_string())].into();
        })
    };
    let first = submit(&mut server.client, (0..250).map(labelled)).await;
    let second = submit(&mut server.client, [function("debug.sleep", "\"bad\"")]).await;
    watch_batch(&mut server.client, &first.batch_id).await;
    watch_batch(&mut server.client, &second.batch_id).await;

    let odd = ListTasksRequest {
        labels: [("n".to_owned(), "1".to_owned())].into(),
        page_size: 40,
        ..ListTasksRequest::default()
    };
    let listed = list(&mut server.client, odd).await;
    let expected: Vec<_> = first.task_ids.iter().skip(1).step_by(2).cloned().collect();
    assert_eq!(ids(&listed), expected);

    let failed = ListTasksRequest {
        statuses: vec![TaskStatus::Error as i32],
        ..ListTasksRequest::default()
    };
    assert_eq!(
        ids(&list(&mut server.client, failed).await),
        second.task_ids
    );

    let of_batch = ListTasksRequest {
        batch_id: first.batch_id,
        page_size: 100,
        ..ListTasksRequest::default()
    };
    assert_eq!(
        ids(&list(&mut server.client, of_batch).await),
        first.task_ids
    );

    let everything = list(&mut server.client, ListTasksRequest::default()).await;
    assert_eq!(everything.len(), 251);
    assert_eq!(
        everything[0].id, second.task_ids[0],
        "the newest batch first"
    );
    server.stop().await;
}

async fn list(client: &mut Client, mut request: ListTasksRequest) -> Vec<Task> {
    let mut tasks = Vec::new();
    loop {
        let page = client
            .list_tasks(request.clone())
            .await
            .unwrap()
            .into_inner();
        tasks.extend(page.tasks);
        if page.next_page_token.is_empty() {
            return tasks;
        }
        request.page_token = page.next_page_token;
    }
}

fn ids(tasks: &[Task]) -> Vec<String> {
    tasks.iter().map(|task| task.id.clone()).collect()
}

async fn options_of_the_call_are_defaults_for_its_tasks(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let request = SubmitBatchRequest {
        tasks: vec![
            prompt("a"),
            with(prompt("b"), |o| {
                o.model = "other".into();
                o.priority = Priority::Low as i32;
            }),
        ],
        options: Some(TaskOptions {
            model: "common".into(),
            priority: Priority::High as i32,
            labels: [("k".to_owned(), "v".to_owned())].into(),
            ..TaskOptions::default()
        }),
        ..SubmitBatchRequest::default()
    };
    let batch = server
        .client
        .submit_batch(request)
        .await
        .unwrap()
        .into_inner();
    let told = watch_batch(&mut server.client, &batch.batch_id).await;
    let of = |id: &str| told.iter().rfind(|task| task.id == id).unwrap().clone();
    let (first, second) = (of(&batch.task_ids[0]), of(&batch.task_ids[1]));
    assert_eq!(
        (first.model.as_str(), first.priority()),
        ("common", Priority::High)
    );
    assert_eq!(
        (second.model.as_str(), second.priority()),
        ("other", Priority::Low)
    );
    assert_eq!(second.labels["k"], "v");
    let mut models: Vec<_> = server
        .upstream
        .calls()
        .into_iter()
        .map(|call| call.model)
        .collect();
    models.sort();
    assert_eq!(models, ["common", "other"]);
    server.stop().await;
}
