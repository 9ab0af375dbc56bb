//! The main job: submit, be told every transition, read every result.

use std::collections::{BTreeMap, HashSet};

use tidings::{
    proto::v1::{GetStatusRequest, SubmitBatchRequest, TaskStatus},
    simulator,
};

use crate::support::server::{
    Kind, TestServer, assert_lawful, function, on_each_store, prompt, status_of, submit,
    watch_batch, watch_task,
};

on_each_store! {
    every_real_question_is_answered_and_told_in_three_revisions,
    what_was_accepted_is_found_at_once,
    a_task_failing_by_itself_does_not_touch_its_neighbours,
    functions_answer_with_what_they_know_of_their_task,
    a_batch_can_be_submitted_in_several_calls,
    a_call_repeated_with_its_key_makes_nothing_new,
    connections_to_the_upstream_are_reused,
}

fn questions() -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Line {
        question: String,
    }
    include_str!("../../../examples/data/gsm8k-test.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<Line>(line).unwrap().question)
        .collect()
}

async fn every_real_question_is_answered_and_told_in_three_revisions(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let questions = questions();
    assert_eq!(questions.len(), 1_319);
    let mut batch_id = String::new();
    let chunks: Vec<_> = questions.chunks(1_000).collect();
    for (index, chunk) in chunks.iter().enumerate() {
        let request = SubmitBatchRequest {
            tasks: chunk.iter().map(prompt).collect(),
            batch_id: batch_id.clone(),
            keep_open: index + 1 < chunks.len(),
            ..SubmitBatchRequest::default()
        };
        let reply = server.client.submit_batch(request).await.unwrap();
        batch_id = reply.into_inner().batch_id;
    }

    let told = watch_batch(&mut server.client, &batch_id).await;

    assert_lawful(&told);
    let mut histories: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for task in &told {
        let history = histories.entry(&task.id).or_default();
        history.push((task.revision, status_of(task)));
    }
    assert_eq!(histories.len(), questions.len());
    let expected = vec![
        (1, TaskStatus::Queued),
        (2, TaskStatus::Processing),
        (3, TaskStatus::Completed),
    ];
    assert!(histories.values().all(|history| *history == expected));
    let results: Vec<_> = told
        .iter()
        .filter_map(|task| task.result.as_ref())
        .collect();
    assert_eq!(results.len(), questions.len());
    assert!(
        results
            .iter()
            .all(|r| !r.text.is_empty() && !r.body.is_empty())
    );
    // Each question was sent once.
    assert_eq!(server.upstream.calls().len(), questions.len());
    server.stop().await;
}

/// How often; across several clients at once.
const ROUNDS: usize = 10_000;
const CLIENTS: usize = 16;

async fn what_was_accepted_is_found_at_once(kind: Kind) {
    let server = TestServer::start(kind).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let mut client = server.client.clone();
        clients.spawn(async move {
            for round in 0..ROUNDS / CLIENTS {
                let reply = submit(&mut client, [function("debug.echo", "1")]).await;
                let id = reply.task_ids[0].clone();
                if round % 2 == 0 {
                    let request = GetStatusRequest {
                        task_ids: vec![id],
                        omit_results: false,
                    };
                    let reply = client.get_status(request).await.unwrap().into_inner();
                    assert_eq!(reply.tasks.len(), 1, "{reply:?}");
                } else {
                    let told = watch_task(&mut client, &id, 0).await;
                    assert_lawful(&told);
                    assert_eq!(told.len(), 3);
                }
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    server.stop().await;
}

async fn a_task_failing_by_itself_does_not_touch_its_neighbours(kind: Kind) {
    let functions = tidings::worker::Registry::default().with(Panics);
    let home = crate::support::server::Home::new(kind).await;
    let upstream = simulator::Config::default();
    let mut server = TestServer::start_on(home, upstream, functions, |_| {}).await;
    let mut tasks: Vec<_> = (0..999)
        .map(|n| function("debug.echo", &n.to_string()))
        .collect();
    tasks.insert(500, function("test.panic", "\"secret\""));
    let reply = submit(&mut server.client, tasks).await;

    let told = watch_batch(&mut server.client, &reply.batch_id).await;

    assert_lawful(&told);
    let failed: Vec<_> = told
        .iter()
        .filter(|t| status_of(t) == TaskStatus::Error)
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].id, reply.task_ids[500]);
    let error = failed[0].error.as_ref().unwrap();
    assert_eq!(error.code(), tidings::proto::v1::ErrorCode::FunctionFailed);
    assert!(!error.message.contains("secret"));
    let completed = told
        .iter()
        .filter(|t| status_of(t) == TaskStatus::Completed);
    assert_eq!(completed.count(), 999);
    server.stop().await;
}

struct Panics;

#[async_trait::async_trait]
impl tidings::worker::Function for Panics {
    fn name(&self) -> &str {
        "test.panic"
    }

    async fn call(
        &self,
        _: tidings::worker::function::Context,
        arguments: &str,
    ) -> Result<String, tidings::worker::function::Error> {
        panic!("poisoned by {arguments}")
    }
}

async fn functions_answer_with_what_they_know_of_their_task(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let mut task = function("debug.echo", r#"{"a":[1,2.50,"x"]}"#);
    task.custom_id = "mine".into();
    let reply = submit(&mut server.client, [task]).await;
    let told = watch_task(&mut server.client, &reply.task_ids[0], 0).await;
    let result = told.last().unwrap().result.as_ref().unwrap();
    let answer: serde_json::Value = serde_json::from_str(&result.text).unwrap();
    assert_eq!(answer["task"]["id"], reply.task_ids[0]);
    assert_eq!(answer["task"]["attempt"], 1);
    assert_eq!(answer["task"]["custom_id"], "mine");
    assert!(
        result.text.contains(r#""arguments":{"a":[1,2.50,"x"]}"#),
        "passed on byte for byte"
    );
    server.stop().await;
}

async fn a_batch_can_be_submitted_in_several_calls(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let mut request = SubmitBatchRequest {
        tasks: vec![function("debug.echo", "1"); 10],
        keep_open: true,
        ..SubmitBatchRequest::default()
    };
    let first = server
        .client
        .submit_batch(request.clone())
        .await
        .unwrap()
        .into_inner();
    request.batch_id = first.batch_id.clone();
    request.keep_open = false;
    let watching = {
        let (mut client, id) = (server.client.clone(), first.batch_id.clone());
        tokio::spawn(async move { watch_batch(&mut client, &id).await })
    };
    let second = server
        .client
        .submit_batch(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(second.batch_id, first.batch_id);

    let told = watching.await.unwrap();

    assert_lawful(&told);
    let ids: HashSet<_> = told.iter().map(|task| task.id.clone()).collect();
    let expected: HashSet<_> = first.task_ids.into_iter().chain(second.task_ids).collect();
    assert_eq!(ids, expected);
    let closed = server.client.submit_batch(request).await.unwrap_err();
    assert_eq!(closed.code(), tonic::Code::FailedPrecondition);
    server.stop().await;
}

async fn a_call_repeated_with_its_key_makes_nothing_new(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let mut request = SubmitBatchRequest {
        tasks: vec![prompt("one"), prompt("two")],
        idempotency_key: "key".into(),
        ..SubmitBatchRequest::default()
    };
    let first = server
        .client
        .submit_batch(request.clone())
        .await
        .unwrap()
        .into_inner();
    let again = server
        .client
        .submit_batch(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again, first);
    watch_batch(&mut server.client, &first.batch_id).await;
    let later = server
        .client
        .submit_batch(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(later, first);
    assert_eq!(server.upstream.calls().len(), 2);
    request.tasks.pop();
    let other = server.client.submit_batch(request).await.unwrap_err();
    assert_eq!(other.code(), tonic::Code::AlreadyExists);
    server.stop().await;
}

async fn connections_to_the_upstream_are_reused(kind: Kind) {
    let mut server = TestServer::start_with(kind, simulator::Config::default(), |config| {
        config.concurrency = 32;
    })
    .await;
    let reply = submit(
        &mut server.client,
        (0..1_000).map(|n| prompt(format!("{n}"))),
    )
    .await;
    watch_batch(&mut server.client, &reply.batch_id).await;
    assert_eq!(server.upstream.calls().len(), 1_000);
    let accepted = server.upstream.accepted_connections();
    assert!(
        accepted <= 64,
        "{accepted} connections for 1,000 calls, 32 at a time"
    );
    server.stop().await;
}
