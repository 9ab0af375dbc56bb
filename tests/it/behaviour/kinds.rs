//! Requests of every kind, passed on as they are: chat completions, responses, plain completions and embeddings.

use serde_json::{Value, json};
use tidings::{
    model::Price,
    proto::v1::{
        CacheOutcome, ListTasksRequest, OpenAiRequest, SubmitBatchRequest, Task, TaskOptions,
        TaskResult, TaskSpec, TaskStatus, Usage, task_spec,
    },
    simulator::{self, Fault, Faults, answer_to},
};
use tonic::{Code, Status};

use super::deltas::{Told, dictated, one, open, rest, until};
use crate::support::{
    server::{Client, Kind, TestServer, assert_lawful, on_each_store, soon, status_of, watch_task},
    teller::Teller,
};

on_each_store! {
    every_kind_is_answered_whole_and_as_a_stream,
    a_response_is_told_as_it_comes,
    a_response_that_broke_off_is_sent_again_and_never_passes,
    embeddings_are_computed_once_and_paid_once,
    tools_and_structured_output_are_kept_as_they_came,
    a_response_that_failed_is_judged_by_its_code,
    what_could_not_be_answered_is_refused_before_anything_is_stored,
}

const PATHS: [&str; 4] = [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/completions",
    "/v1/embeddings",
];

fn request(path: &str, body: &str) -> TaskSpec {
    TaskSpec {
        work: Some(task_spec::Work::OpenaiRequest(OpenAiRequest {
            path: path.to_owned(),
            body: body.to_owned(),
        })),
        ..TaskSpec::default()
    }
}

/// The least body that asks `p` of a path.
fn body(path: &str) -> Value {
    match path.trim_start_matches("/v1") {
        "/chat/completions" => {
            json!({"model": "m", "messages": [{"role": "user", "content": "p"}]})
        }
        "/completions" => json!({"model": "m", "prompt": "p"}),
        _ => json!({"model": "m", "input": "p"}),
    }
}

async fn run(client: &mut Client, task: TaskSpec) -> Task {
    let id = one(client, task).await;
    let told = watch_task(client, &id, 0).await;
    assert_lawful(&told);
    told.last().unwrap().clone()
}

async fn answer(client: &mut Client, task: TaskSpec) -> TaskResult {
    let ended = run(client, task).await;
    assert_eq!(status_of(&ended), TaskStatus::Completed, "{ended:?}");
    ended.result.unwrap()
}

async fn every_kind_is_answered_whole_and_as_a_stream(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    for path in [
        "/v1/chat/completions",
        "/completions",
        "/v1/completions",
        "/responses",
        "/v1/responses",
    ] {
        let whole = answer(&mut server.client, request(path, &body(path).to_string())).await;
        assert_eq!(whole.text, answer_to("p"), "{path}");
        assert_eq!(whole.model, "m");
        assert!(!whole.truncated);
        let mut asking = body(path);
        asking["stream"] = json!(true);
        if !path.ends_with("/responses") {
            asking["stream_options"] = json!({"include_usage": true});
        }
        let streamed = answer(&mut server.client, request(path, &asking.to_string())).await;
        assert_eq!(streamed.text, whole.text, "{path}");
        assert_eq!(streamed.usage, whole.usage, "{path}");
        assert_eq!(streamed.finish_reason, whole.finish_reason, "{path}");
        assert!(streamed.usage.unwrap().output_tokens > 0);
    }
    let limited = r#"{"model":"m","input":"p","max_output_tokens":2,"metadata":{"of":"mine"}}"#;
    let cut = answer(&mut server.client, request("/v1/responses", limited)).await;
    assert!(cut.truncated);
    assert_eq!(cut.finish_reason, "max_output_tokens");
    assert_eq!(cut.usage.unwrap().output_tokens, 2);
    let embedded = body("/embeddings").to_string();
    let embedded = answer(&mut server.client, request("/embeddings", &embedded)).await;
    let vector: Value = serde_json::from_str(&embedded.body).unwrap();
    assert_eq!(vector["data"][0]["embedding"].as_array().unwrap().len(), 16);
    assert_eq!((embedded.text, embedded.finish_reason), Default::default());
    // Counted like any other call, and once each.
    let calls = server.upstream.calls();
    assert_eq!(calls.len(), 2 * 5 + 1 + 1);
    let path_of = |call: &simulator::CallRecord| call.path;
    let seen: Vec<&str> = calls.iter().map(path_of).collect();
    for path in PATHS {
        assert!(seen.contains(&path.trim_start_matches("/v1")), "{path}");
    }
    assert!(calls.iter().all(|call| call.billed_tokens > 0));
    server.stop().await;
}

fn delta(text: &str) -> String {
    json!({"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": text})
        .to_string()
}

fn completed(text: &str) -> String {
    let part = json!({"type": "output_text", "text": text, "annotations": []});
    let message = json!({"type": "message", "role": "assistant", "content": [part]});
    json!({"type": "response.completed", "response": {
        "id": "resp_1", "object": "response", "status": "completed", "model": "told",
        "output": [{"type": "reasoning", "summary": []}, message],
        "usage": {"input_tokens": 30, "input_tokens_details": {"cached_tokens": 10}, "output_tokens": 20,
                  "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 50},
    }})
    .to_string()
}

const CREATED: &str =
    r#"{"type":"response.created","response":{"id":"resp_1","status":"in_progress","output":[]}}"#;
const STREAMED: &str = r#"{"model":"m","input":"p","stream":true}"#;

async fn a_response_is_told_as_it_comes(kind: Kind) {
    let upstream = Teller::start().await;
    let mut server = dictated(kind, &upstream).await;
    let id = one(&mut server.client, request("/v1/responses", STREAMED)).await;
    let mut stream = open(&mut server.client, &id, 0).await;
    let mut told = Told::default();
    soon("the call has come", async || upstream.calls() == 1).await;
    upstream.send(0, CREATED);
    for (text, all) in [("数", "数"), (" b", "数 b")] {
        upstream.send(0, &delta(text));
        until(&mut stream, &mut told, |told| told.text(1) == all).await;
    }
    // Somebody who comes late gets what there is.
    let mut late = open(&mut server.client, &id, 0).await;
    let mut heard = Told::default();
    until(&mut late, &mut heard, |told| told.text(1) == "数 b").await;
    upstream.send(0, &completed("数 b"));
    upstream.cut(0);
    rest(stream, &mut told).await;
    rest(late, &mut heard).await;

    assert_lawful(&told.tasks);
    assert_eq!(heard.tasks, told.tasks);
    let result = told.tasks.last().unwrap().result.clone().unwrap();
    assert_eq!(
        (result.text.as_str(), told.text(1)),
        ("数 b", "数 b".into())
    );
    assert_eq!(result.model, "told");
    assert_eq!(result.finish_reason, "completed");
    assert_eq!(
        result.usage.unwrap(),
        Usage {
            input_tokens: 30,
            output_tokens: 20,
            cached_input_tokens: 10,
            reasoning_tokens: 5,
            cost_nanos: 0,
        }
    );
    let last: Value = serde_json::from_str(&completed("数 b")).unwrap();
    assert_eq!(result.body, last["response"].to_string());
    assert_eq!(upstream.calls(), 1);
    server.stop().await;
}

async fn a_response_that_broke_off_is_sent_again_and_never_passes(kind: Kind) {
    let upstream = Teller::start().await;
    let mut server = dictated(kind, &upstream).await;
    let id = one(&mut server.client, request("/v1/responses", STREAMED)).await;
    let mut stream = open(&mut server.client, &id, 0).await;
    let mut told = Told::default();
    soon("the call has come", async || upstream.calls() == 1).await;
    upstream.send(0, &delta("all of it"));
    until(&mut stream, &mut told, |told| told.text(1) == "all of it").await;
    // It even says that it is done, but not with the event that has the answer.
    upstream.send(0, "[DONE]");
    upstream.cut(0);
    soon("it is sent again", async || upstream.calls() == 2).await;
    upstream.send(1, &completed("new"));
    upstream.cut(1);
    rest(stream, &mut told).await;

    assert_lawful(&told.tasks);
    let last = told.tasks.last().unwrap();
    assert_eq!(last.result.as_ref().unwrap().text, "new");
    let failure = last.attempts[0].error.as_ref().unwrap();
    assert_eq!(failure.code().as_str_name(), "ERROR_CODE_STREAM_TRUNCATED");
    server.stop().await;
}

async fn embeddings_are_computed_once_and_paid_once(kind: Kind) {
    let price = Price {
        input: 20_000,
        ..Price::default()
    };
    let unhurt = simulator::Config::default();
    let mut server = TestServer::start_with(kind, unhurt, |config| {
        config.prices = [("m".to_owned(), price)].into_iter().collect();
    })
    .await;
    let text = "p".repeat(40);
    let input = |more: Value| {
        let mut body = json!({"model": "m", "input": [text, "another"]});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        request("/v1/embeddings", &body.to_string())
    };
    let first = answer(&mut server.client, input(json!({}))).await;
    assert_eq!(first.cache(), CacheOutcome::Miss);
    let used = first.usage.unwrap();
    assert_eq!((used.input_tokens, used.output_tokens), (12, 0));
    assert_eq!(used.cost_nanos, 12 * 20);
    let again = answer(&mut server.client, input(json!({"user": "me"}))).await;
    assert_eq!(again.cache(), CacheOutcome::Hit);
    assert_eq!(again.body, first.body);
    assert_eq!(again.usage.unwrap(), Usage::default());
    assert_eq!(server.upstream.finished_calls(), 1);
    let shorter = input(json!({"dimensions": 4, "encoding_format": "base64"}));
    let shorter = answer(&mut server.client, shorter).await;
    assert_eq!(shorter.cache(), CacheOutcome::Miss);
    let shorter: Value = serde_json::from_str(&shorter.body).unwrap();
    assert_eq!(shorter["data"].as_array().unwrap().len(), 2);
    // Four floats of four bytes.
    assert_eq!(shorter["data"][1]["embedding"].as_str().unwrap().len(), 24);
    let calls = server.upstream.calls();
    assert!(calls.iter().all(|call| call.billed_tokens == 12));
    server.stop().await;
}

/// What a server answers with, its members in an order and a spelling of its own.
const TOOLS: &str = r#"{ "choices":[{"finish_reason":"tool_calls","index":0,"message":{"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"x\": 1.50}"}}],"role":"assistant","content":null}}],
  "usage":{"prompt_tokens":7,"completion_tokens":3.0},"unheard_of":{"z":1.50,"a":null}, "model":"m-1"}"#;
const CALLS: &str = r#"{"status":"completed","object":"response","output":[{"type":"function_call","name":"f","call_id":"c1","arguments":"{\"x\": 1.50}"}],"model":"m-1","usage":{"output_tokens":3,"input_tokens":7}, "unheard_of":1e2}"#;
const STRUCTURED: &str = r#"{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"{\n  \"total\": 4.0 }"}]}],"model":"m-1","usage":{"output_tokens":3,"input_tokens":7}}"#;

async fn tools_and_structured_output_are_kept_as_they_came(kind: Kind) {
    let upstream = simulator::Config {
        faults: Faults::in_order(
            [TOOLS, CALLS, STRUCTURED].map(|body| Fault::reply(200, &[], body)),
        ),
        ..simulator::Config::default()
    };
    let mut server = TestServer::start_with(kind, upstream, |_| {}).await;
    for (path, sent, text, reason) in [
        ("/v1/chat/completions", TOOLS, "", "tool_calls"),
        ("/v1/responses", CALLS, "", "completed"),
        (
            "/v1/responses",
            STRUCTURED,
            "{\n  \"total\": 4.0 }",
            "completed",
        ),
    ] {
        let result = answer(&mut server.client, request(path, &body(path).to_string())).await;
        assert_eq!(result.body, sent, "byte for byte");
        assert_eq!(result.text, text);
        assert_eq!(result.finish_reason, reason);
        assert_eq!(result.model, "m-1");
        let used = result.usage.unwrap();
        assert_eq!((used.input_tokens, used.output_tokens), (7, 3));
    }
    server.stop().await;
}

async fn a_response_that_failed_is_judged_by_its_code(kind: Kind) {
    let failed = |code: &str| {
        let error = json!({"code": code, "message": "x"});
        let body = json!({"status": "failed", "output": [], "error": error});
        Fault::reply(200, &[], body.to_string())
    };
    let upstream = simulator::Config {
        faults: Faults::in_order([failed("server_error"), failed("invalid_prompt")]),
        ..simulator::Config::default()
    };
    let mut server = TestServer::start_with(kind, upstream, |_| {}).await;
    let ended = run(
        &mut server.client,
        request("/v1/responses", &body("/responses").to_string()),
    )
    .await;
    assert_eq!(status_of(&ended), TaskStatus::Error);
    let codes: Vec<&str> = ended
        .attempts
        .iter()
        .map(|attempt| attempt.error.as_ref().unwrap().code().as_str_name())
        .collect();
    assert_eq!(
        codes,
        ["ERROR_CODE_UPSTREAM_ERROR", "ERROR_CODE_INVALID_REQUEST"]
    );
    server.stop().await;
}

fn streamed(task: TaskSpec) -> TaskSpec {
    TaskSpec {
        options: Some(TaskOptions {
            stream_output: Some(true),
            ..TaskOptions::default()
        }),
        ..task
    }
}

async fn refused(client: &mut Client, task: TaskSpec) -> Status {
    let request = SubmitBatchRequest {
        tasks: vec![
            request("/v1/embeddings", r#"{"model":"m","input":"p"}"#),
            task,
        ],
        ..SubmitBatchRequest::default()
    };
    client.submit_batch(request).await.unwrap_err()
}

async fn what_could_not_be_answered_is_refused_before_anything_is_stored(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    for path in [
        "/v1/moderations",
        "/v1/responses/",
        "responses",
        "/v2/responses",
    ] {
        let body = r#"{"model":"m","input":"p"}"#;
        let status = refused(&mut server.client, request(path, body)).await;
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
        for served in PATHS {
            assert!(status.message().contains(served), "{status:?}");
        }
    }
    for (path, body, says) in [
        (PATHS[0], r#"{"model":"m"}"#, "has no `messages`"),
        (PATHS[1], r#"{"model":"m"}"#, "has no `input` or `prompt`"),
        (PATHS[1], r#"{"model":"m","input":null}"#, "has no `input`"),
        (PATHS[2], r#"{"model":"m","input":"p"}"#, "has no `prompt`"),
        (PATHS[3], r#"{"model":"m","prompt":"p"}"#, "has no `input`"),
        (PATHS[3], r#"{"input":"p"}"#, "names no model"),
        (PATHS[3], r#"{"model":"","input":"p"}"#, "names no model"),
        (PATHS[3], r#"{"model":7,"input":"p"}"#, "names no model"),
        (
            PATHS[1],
            r#"{"model":"m","input":"p","background":true}"#,
            "background",
        ),
        (PATHS[1], "[]", "is not a JSON object"),
    ] {
        let status = refused(&mut server.client, request(path, body)).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{path} {body}");
        let expected = format!("tasks[1].openai_request.body: {says}");
        let is_background = says == "background" && status.message().contains("background");
        assert!(
            is_background || status.message().starts_with(&expected),
            "{status:?}"
        );
    }
    let vectors = request(PATHS[3], r#"{"model":"m","input":"p"}"#);
    let status = refused(&mut server.client, streamed(vectors.clone())).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(
        status.message().starts_with("tasks[1].openai_request:"),
        "{status:?}"
    );
    let listed = server.client.list_tasks(ListTasksRequest::default()).await;
    assert!(listed.unwrap().into_inner().tasks.is_empty());

    // A default of the call is for the tasks that it fits.
    let accepted = SubmitBatchRequest {
        tasks: vec![
            vectors,
            request(
                PATHS[1],
                r#"{"model":"m","prompt":{"id":"pmpt_1"},"stream":true}"#,
            ),
            request(
                PATHS[2],
                r#"{"model":"m","prompt":["p"],"n":1,"stream":true,"new":{}}"#,
            ),
        ],
        options: Some(TaskOptions {
            stream_output: Some(true),
            ..TaskOptions::default()
        }),
        ..SubmitBatchRequest::default()
    };
    server.client.submit_batch(accepted).await.unwrap();
    server.stop().await;
}
