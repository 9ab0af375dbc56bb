//! Bad input: a clear error that names the field, and nothing stored.

use tidings::proto::v1::{
    CancelTasksRequest, ChatCompletion, ChatMessage, GetBatchRequest, GetStatusRequest,
    ListTasksRequest, OpenAiRequest, RetryTasksRequest, SubmitBatchRequest, TaskOptions, TaskSpec,
    WatchBatchRequest, WatchTaskRequest, task_spec,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::server::{Kind, TestServer, function, on_each_store, prompt};

on_each_store! {
    bad_submits_are_refused_whole_and_name_the_field,
    what_is_not_served_yet_is_refused_by_name,
    malformed_and_unknown_ids_are_told_apart,
    several_faults_are_reported_at_once,
}

const UNKNOWN: &str = "0190a0a0-0000-7000-8000-000000000000";

fn with_options(change: impl FnOnce(&mut TaskOptions)) -> SubmitBatchRequest {
    let mut options = TaskOptions::default();
    change(&mut options);
    SubmitBatchRequest {
        tasks: vec![TaskSpec {
            options: Some(options),
            ..prompt("p")
        }],
        ..SubmitBatchRequest::default()
    }
}

fn tasks(tasks: Vec<TaskSpec>) -> SubmitBatchRequest {
    SubmitBatchRequest {
        tasks,
        ..SubmitBatchRequest::default()
    }
}

fn request(body: &str) -> TaskSpec {
    TaskSpec {
        work: Some(task_spec::Work::OpenaiRequest(OpenAiRequest {
            path: "/v1/chat/completions".into(),
            body: body.into(),
        })),
        ..TaskSpec::default()
    }
}

fn chat(extra_body: &str) -> TaskSpec {
    let message = ChatMessage {
        role: "user".into(),
        content: "p".into(),
        ..ChatMessage::default()
    };
    TaskSpec {
        work: Some(task_spec::Work::ChatCompletion(ChatCompletion {
            messages: vec![message],
            extra_body: extra_body.into(),
            ..ChatCompletion::default()
        })),
        ..TaskSpec::default()
    }
}

/// A body that names one model, under options that name another.
fn of_two_models() -> TaskSpec {
    TaskSpec {
        options: Some(TaskOptions {
            model: "a".into(),
            ..TaskOptions::default()
        }),
        ..request(r#"{"model":"b","messages":[]}"#)
    }
}

fn duration(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn instant(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn named(custom_id: &str) -> TaskSpec {
    TaskSpec {
        custom_id: custom_id.into(),
        ..prompt("p")
    }
}

/// Every bad submit, and the field its refusal names.
fn bad_submits() -> Vec<(SubmitBatchRequest, &'static str)> {
    let long = "x".repeat(513);
    let mut keyed = tasks(vec![prompt("p")]);
    keyed.idempotency_key = long.clone();
    vec![
        (tasks(vec![]), "tasks"),
        (tasks(vec![prompt("p"); 1_001]), "tasks"),
        (tasks(vec![prompt("x".repeat(1 << 20)); 5]), "tasks"),
        (
            tasks(vec![prompt("x".repeat((1 << 20) + 1))]),
            "tasks[0].prompt",
        ),
        (tasks(vec![prompt("p"), prompt("")]), "tasks[1].prompt"),
        (tasks(vec![TaskSpec::default()]), "tasks[0]"),
        (
            tasks(vec![request("{not json")]),
            "tasks[0].openai_request.body",
        ),
        (tasks(vec![request("[]")]), "tasks[0].openai_request.body"),
        (tasks(vec![of_two_models()]), "tasks[0].openai_request.body"),
        (
            tasks(vec![chat(r#"{"seed":1}"#)]),
            "tasks[0].chat_completion.extra_body",
        ),
        (
            tasks(vec![function("debug.echo", "{")]),
            "tasks[0].function_call.arguments",
        ),
        (
            tasks(vec![function("no.such", "1")]),
            "tasks[0].function_call.name",
        ),
        (
            tasks(vec![named("a"), named("b"), named("a")]),
            "tasks[2].custom_id",
        ),
        (tasks(vec![named(&long)]), "tasks[0].custom_id"),
        (keyed, "idempotency_key"),
        (
            with_options(|o| o.timeout = duration(-1)),
            "tasks[0].options.timeout",
        ),
        (
            with_options(|o| o.timeout = duration(0)),
            "tasks[0].options.timeout",
        ),
        (
            with_options(|o| o.timeout = duration(i64::MAX)),
            "tasks[0].options.timeout",
        ),
        (
            with_options(|o| o.status_retention = duration(-5)),
            "tasks[0].options.status_retention",
        ),
        (
            with_options(|o| o.result_retention = duration(1 << 40)),
            "tasks[0].options.result_retention",
        ),
        (
            with_options(|o| o.deadline = instant(1)),
            "tasks[0].options.deadline",
        ),
        (
            with_options(|o| o.deadline = instant(i64::MAX)),
            "tasks[0].options.deadline",
        ),
        (
            with_options(|o| o.not_before = instant(1 << 40)),
            "tasks[0].options.not_before",
        ),
        (
            with_options(|o| o.priority = 77),
            "tasks[0].options.priority",
        ),
        (
            with_options(|o| o.max_attempts = 101),
            "tasks[0].options.max_attempts",
        ),
        (
            with_options(|o| o.labels = [(String::new(), "v".into())].into()),
            "tasks[0].options.labels",
        ),
        (
            with_options(|o| {
                o.status_retention = duration(60);
                o.result_retention = duration(30);
            }),
            "tasks[0].options.status_retention",
        ),
    ]
}

fn assert_names(status: &Status, field: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_error_details();
    let bad = details.bad_request().expect("BadRequest details");
    let fields: Vec<_> = bad
        .field_violations
        .iter()
        .map(|v| v.field.as_str())
        .collect();
    assert!(fields.contains(&field), "{field} is not among {fields:?}");
    let info = details.error_info().expect("ErrorInfo");
    assert_eq!(info.domain, "tidings.dev");
}

async fn bad_submits_are_refused_whole_and_name_the_field(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    for (request, field) in bad_submits() {
        let refused = server.client.submit_batch(request).await.unwrap_err();
        assert_names(&refused, field);
    }
    let listed = server
        .client
        .list_tasks(ListTasksRequest::default())
        .await
        .unwrap();
    assert!(listed.into_inner().tasks.is_empty(), "nothing was stored");
    server.stop().await;
}

async fn what_is_not_served_yet_is_refused_by_name(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let mut images = request("{}");
    if let Some(task_spec::Work::OpenaiRequest(request)) = &mut images.work {
        request.path = "/v1/images/generations".into();
    }
    let refused = server
        .client
        .submit_batch(tasks(vec![images]))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("openai_request"), "{refused:?}");
    server.stop().await;
}

async fn malformed_and_unknown_ids_are_told_apart(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let client = &mut server.client;
    let status = |ids: &[&str]| GetStatusRequest {
        task_ids: ids.iter().map(ToString::to_string).collect(),
        omit_results: false,
    };
    let malformed = client
        .get_status(status(&[UNKNOWN, "nonsense"]))
        .await
        .unwrap_err();
    assert_names(&malformed, "task_ids[1]");
    assert_names(
        &client.get_status(status(&[])).await.unwrap_err(),
        "task_ids",
    );
    let many = vec![UNKNOWN; 1_001];
    assert_names(
        &client.get_status(status(&many)).await.unwrap_err(),
        "task_ids",
    );
    let reply = client
        .get_status(status(&[UNKNOWN]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(reply.not_found, [UNKNOWN]);

    let watch = WatchTaskRequest {
        task_id: UNKNOWN.into(),
        ..WatchTaskRequest::default()
    };
    assert_missing(&client.watch_task(watch).await.unwrap_err());
    let watch = WatchBatchRequest {
        batch_id: UNKNOWN.into(),
        ..WatchBatchRequest::default()
    };
    assert_missing(&client.watch_batch(watch).await.unwrap_err());
    let batch = GetBatchRequest {
        batch_id: UNKNOWN.into(),
    };
    assert_missing(&client.get_batch(batch).await.unwrap_err());
    let append = SubmitBatchRequest {
        batch_id: UNKNOWN.into(),
        ..tasks(vec![prompt("p")])
    };
    assert_missing(&client.submit_batch(append).await.unwrap_err());
    let neither = client
        .cancel_tasks(CancelTasksRequest::default())
        .await
        .unwrap_err();
    assert_eq!(neither.code(), Code::InvalidArgument);
    let neither = client
        .retry_tasks(RetryTasksRequest::default())
        .await
        .unwrap_err();
    assert_eq!(neither.code(), Code::InvalidArgument);
    server.stop().await;
}

fn assert_missing(status: &Status) {
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
    let details = status.get_error_details();
    let resource = details.resource_info().expect("ResourceInfo");
    assert_eq!(resource.resource_name, UNKNOWN);
}

async fn several_faults_are_reported_at_once(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let request = tasks(vec![
        prompt(""),
        TaskSpec::default(),
        named(&"x".repeat(600)),
    ]);
    let refused = server.client.submit_batch(request).await.unwrap_err();
    for field in ["tasks[0].prompt", "tasks[1]", "tasks[2].custom_id"] {
        assert_names(&refused, field);
    }
    server.stop().await;
}
