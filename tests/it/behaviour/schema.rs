//! Answers that are checked by the JSON schema of their request: asked for again when they do not fit, and never passed off
//! as good.

use serde_json::{Value, json};
use tidings::{
    model::Price,
    proto::v1::{
        Budget, CacheOutcome, ChatCompletion, ChatMessage, ErrorCode, GetBatchRequest,
        OpenAiRequest, SubmitBatchRequest, Task, TaskOptions, TaskSpec, TaskStatus, task_spec,
    },
    simulator::{self, Fault, Faults},
};
use tonic::Code;

use super::deltas::{dictated, one};
use crate::support::{
    server::{
        Client, Kind, TestServer, assert_lawful, function, on_each_store, prompt, soon, status_of,
        submit, watch_task,
    },
    teller::Teller,
};

on_each_store! {
    an_answer_that_fits_is_taken_and_one_that_does_not_is_asked_for_again,
    a_task_whose_answers_never_fit_fails_and_keeps_the_last,
    streamed_answers_are_checked_too,
    what_says_itself_that_it_is_no_whole_answer_is_not_checked,
    an_answer_that_does_not_fit_is_shared_with_nobody,
    a_budget_is_charged_what_answers_cost_that_did_not_fit,
    what_cannot_be_checked_is_refused,
}

const GOOD: &str = r#"{"name":"Ada"}"#;
const BAD: &str = r#"{"name":7}"#;

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
        "additionalProperties": false,
    })
}

/// What a chat completion says of the form of its answer.
fn format(schema: &Value) -> Value {
    json!({"type": "json_schema", "json_schema": {"name": "person", "strict": true, "schema": schema}})
}

fn checked(work: task_spec::Work, retries: u32) -> TaskSpec {
    TaskSpec {
        work: Some(work),
        options: Some(TaskOptions {
            validation_retries: Some(retries),
            ..TaskOptions::default()
        }),
        ..TaskSpec::default()
    }
}

fn typed(change: impl FnOnce(&mut ChatCompletion)) -> task_spec::Work {
    let mut chat = ChatCompletion {
        messages: vec![ChatMessage {
            role: "user".into(),
            content: "who?".into(),
            ..ChatMessage::default()
        }],
        extra_body: json!({"response_format": format(&schema())}).to_string(),
        ..ChatCompletion::default()
    };
    change(&mut chat);
    task_spec::Work::ChatCompletion(chat)
}

fn raw(path: &str, body: &Value) -> task_spec::Work {
    task_spec::Work::OpenaiRequest(OpenAiRequest {
        path: path.into(),
        body: body.to_string(),
    })
}

fn raw_chat(schema: &Value) -> task_spec::Work {
    let messages = json!([{"role": "user", "content": "who?"}]);
    let body = json!({"model": "m", "messages": messages, "response_format": format(schema)});
    raw("/v1/chat/completions", &body)
}

fn response(schema: &Value) -> task_spec::Work {
    let format = json!({"type": "json_schema", "name": "person", "schema": schema});
    let body = json!({"model": "m", "input": "who?", "text": {"format": format}});
    raw("/v1/responses", &body)
}

/// What a chat completion answers.
fn said(text: &str) -> Fault {
    let message = json!({"role": "assistant", "content": text});
    chat_reply(json!({"index": 0, "message": message, "finish_reason": "stop"}))
}

fn chat_reply(choice: Value) -> Fault {
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15});
    let body = json!({"id": "c", "model": "m", "choices": [choice], "usage": usage});
    Fault::reply(
        200,
        &[("content-type", "application/json")],
        body.to_string(),
    )
}

/// What a response answers.
fn responded(text: &str) -> Fault {
    let content = json!([{"type": "output_text", "text": text}]);
    let output = json!([{"type": "message", "role": "assistant", "content": content}]);
    let body = json!({"id": "r", "status": "completed", "model": "m", "output": output});
    Fault::reply(
        200,
        &[("content-type", "application/json")],
        body.to_string(),
    )
}

/// A server whose upstream answers so, in this order.
async fn answering(kind: Kind, answers: impl IntoIterator<Item = Fault>) -> TestServer {
    let upstream = simulator::Config {
        faults: Faults::in_order(answers),
        ..simulator::Config::default()
    };
    TestServer::start_with(kind, upstream, |_| {}).await
}

async fn run(client: &mut Client, task: TaskSpec) -> Task {
    let id = one(client, task).await;
    let mut told = watch_task(client, &id, 0).await;
    assert_lawful(&told);
    told.pop().unwrap()
}

fn code_of(task: &Task) -> ErrorCode {
    task.error.as_ref().map(|error| error.code()).unwrap()
}

fn text_of(task: &Task) -> &str {
    &task.result.as_ref().unwrap().text
}

async fn an_answer_that_fits_is_taken_and_one_that_does_not_is_asked_for_again(kind: Kind) {
    for (work, say) in [
        (typed(|_| {}), said as fn(&str) -> Fault),
        (raw_chat(&schema()), said),
        (response(&schema()), responded),
    ] {
        let mut server = answering(kind, [say(GOOD), say(BAD), say("no JSON"), say(GOOD)]).await;
        let first = run(&mut server.client, checked(work.clone(), 0)).await;
        assert_eq!(
            (status_of(&first), first.attempt),
            (TaskStatus::Completed, 1)
        );
        assert_eq!(text_of(&first), GOOD);

        // More than the attempts it has: those are for failures of the upstream.
        let mut task = checked(work, 2);
        task.options.as_mut().unwrap().max_attempts = 1;
        let second = run(&mut server.client, task).await;
        assert_eq!(
            (status_of(&second), second.attempt),
            (TaskStatus::Completed, 3)
        );
        assert_eq!(
            (text_of(&second), second.partial_output.as_str()),
            (GOOD, "")
        );
        let errors: Vec<_> = second
            .attempts
            .iter()
            .filter_map(|it| it.error.as_ref())
            .collect();
        assert_eq!(errors.len(), 2);
        assert!(
            errors
                .iter()
                .all(|it| it.code() == ErrorCode::OutputSchemaInvalid)
        );

        // Each is another call: an upstream that answers one key once would repeat the answer that does not fit.
        let calls = server.upstream.calls();
        let mut keys: Vec<_> = calls.iter().map(|call| &call.idempotency_key).collect();
        keys.dedup();
        assert_eq!((calls.len(), keys.len()), (4, 4));
        server.stop().await;
    }
}

async fn a_task_whose_answers_never_fit_fails_and_keeps_the_last(kind: Kind) {
    for retries in [0, 2] {
        let answers = (0..=retries).map(|number| said(&format!(r#"{{"name":{number}}}"#)));
        let mut server = answering(kind, answers).await;
        let ended = run(&mut server.client, checked(raw_chat(&schema()), retries)).await;
        assert_eq!(
            (status_of(&ended), ended.attempt),
            (TaskStatus::Error, retries + 1)
        );
        assert_eq!(code_of(&ended), ErrorCode::OutputSchemaInvalid);
        let error = ended.error.as_ref().unwrap();
        assert_eq!(
            error.message,
            "the answer does not fit the JSON schema of its request: `type` does not hold at /name"
        );
        assert!(error.maybe_billed);
        assert_eq!(ended.partial_output, format!(r#"{{"name":{retries}}}"#));
        assert_eq!(ended.result, None);
        assert_eq!(server.upstream.calls().len(), retries as usize + 1);
        server.stop().await;
    }
}

async fn streamed_answers_are_checked_too(kind: Kind) {
    let upstream = Teller::start().await;
    let mut server = dictated(kind, &upstream).await;
    let mut task = checked(typed(|_| {}), 1);
    task.options.as_mut().unwrap().stream_output = Some(true);
    for last in [GOOD, BAD] {
        let before = upstream.calls();
        let id = one(&mut server.client, task.clone()).await;
        for (call, text) in [(before, BAD), (before + 1, last)] {
            soon("the call has come", async || upstream.calls() == call + 1).await;
            let (head, tail) = text.split_at(4);
            upstream.say(call, head);
            upstream.say(call, tail);
            upstream.end(call);
        }
        let told = watch_task(&mut server.client, &id, 0).await;
        assert_lawful(&told);
        let ended = told.last().unwrap();
        assert_eq!(ended.attempt, 2);
        if last == GOOD {
            assert_eq!(text_of(ended), GOOD);
        } else {
            assert_eq!(code_of(ended), ErrorCode::OutputSchemaInvalid);
            assert_eq!(ended.partial_output, BAD);
        }
    }
    server.stop().await;
}

async fn what_says_itself_that_it_is_no_whole_answer_is_not_checked(kind: Kind) {
    let cut = json!({"message": {"content": "{\"na"}, "finish_reason": "length"});
    let filtered = json!({"message": {"content": ""}, "finish_reason": "content_filter"});
    let refused = json!({"message": {"refusal": "I will not"}, "finish_reason": "stop"});
    let call = json!({"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let called =
        json!({"message": {"content": null, "tool_calls": [call]}, "finish_reason": "tool_calls"});
    let empty = json!({"message": {"content": ""}, "finish_reason": "stop"});
    let answers = [cut, filtered, refused, called, empty].map(chat_reply);
    let mut server = answering(kind, answers).await;
    for flags in [
        (true, false, false),
        (false, true, false),
        (false, false, true),
        (false, false, false),
    ] {
        let ended = run(&mut server.client, checked(raw_chat(&schema()), 0)).await;
        let result = ended.result.expect("it is an answer");
        assert_eq!((result.truncated, result.filtered, result.refused), flags);
    }
    let ended = run(&mut server.client, checked(raw_chat(&schema()), 0)).await;
    assert_eq!(code_of(&ended), ErrorCode::OutputSchemaInvalid);
    server.stop().await;
}

async fn an_answer_that_does_not_fit_is_shared_with_nobody(kind: Kind) {
    let mut server = answering(kind, [said(BAD), said(BAD), said(GOOD)]).await;
    let work = typed(|chat| chat.temperature = Some(0.0));
    let unchecked = TaskSpec {
        work: Some(work.clone()),
        ..TaskSpec::default()
    };
    // Who does not have it checked takes what comes, and leaves it to its like alone.
    let first = run(&mut server.client, unchecked.clone()).await;
    assert_eq!(text_of(&first), BAD);
    let failed = run(&mut server.client, checked(work.clone(), 0)).await;
    assert_eq!(code_of(&failed), ErrorCode::OutputSchemaInvalid);
    for (task, text, cache) in [
        (checked(work.clone(), 0), GOOD, CacheOutcome::Miss),
        (checked(work, 3), GOOD, CacheOutcome::Hit),
        (unchecked, BAD, CacheOutcome::Hit),
    ] {
        let ended = run(&mut server.client, task).await;
        assert_eq!(text_of(&ended), text);
        assert_eq!(ended.result.unwrap().cache(), cache);
    }
    assert_eq!(server.upstream.calls().len(), 3);
    server.stop().await;
}

async fn a_budget_is_charged_what_answers_cost_that_did_not_fit(kind: Kind) {
    let upstream = simulator::Config {
        faults: Faults::in_order([said(BAD), said(BAD)]),
        ..simulator::Config::default()
    };
    let price = Price {
        input: 1_000_000,
        cached_input: 1_000_000,
        output: 4_000_000,
        max_output_tokens: None,
    };
    let mut server = TestServer::start_with(kind, upstream, |config| {
        config.model = "m".into();
        config.prices = [("m".to_owned(), price)].into_iter().collect();
    })
    .await;
    let work = typed(|chat| chat.max_tokens = Some(100));
    let request = SubmitBatchRequest {
        tasks: vec![checked(work, 1)],
        budget_nanos: Some(1_000_000_000),
        ..SubmitBatchRequest::default()
    };
    let batch_id = submit_request(&mut server.client, request).await;
    let spent = async |client: &mut Client| -> Budget {
        let batch_id = batch_id.clone();
        let reply = client
            .get_batch(GetBatchRequest { batch_id })
            .await
            .unwrap();
        let progress = reply.into_inner().batch.unwrap().progress.unwrap();
        assert_eq!(progress.error + progress.queued + progress.processing, 1);
        progress.budget.unwrap()
    };
    // Twice 10 tokens read and 5 written, and not what they might have cost at most.
    soon("both calls are paid for", async || {
        let budget = spent(&mut server.client.clone()).await;
        (budget.spent_nanos, budget.reserved_nanos) == (2 * (10 * 1_000 + 5 * 4_000), 0)
    })
    .await;
    server.stop().await;
}

async fn submit_request(client: &mut Client, request: SubmitBatchRequest) -> String {
    let reply = client.submit_batch(request).await.unwrap();
    reply.into_inner().batch_id
}

async fn what_cannot_be_checked_is_refused(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let messages = json!([{"role": "user", "content": "who?"}]);
    let completion = raw("/v1/completions", &json!({"model": "m", "prompt": "p"}));
    let embedding = raw("/v1/embeddings", &json!({"model": "m", "input": "p"}));
    let none = "no JSON schema";
    for (work, retries, reason) in [
        (prompt("p").work.unwrap(), 1, none),
        (function("debug.echo", "1").work.unwrap(), 1, none),
        (completion.clone(), 1, none),
        (embedding, 1, none),
        (typed(|chat| chat.extra_body.clear()), 0, none),
        (
            raw(
                "/v1/chat/completions",
                &json!({"model": "m", "messages": messages}),
            ),
            0,
            none,
        ),
        (
            raw_chat(&json!({"type": "strnig"})),
            0,
            "does not hold at /type",
        ),
        (
            response(&json!({"$ref": "https://example.com/s.json"})),
            0,
            "cannot be used",
        ),
        (raw_chat(&schema()), 11, "is 11, at most 10"),
    ] {
        let task = checked(work, retries);
        let request = SubmitBatchRequest {
            tasks: vec![task.clone()],
            ..SubmitBatchRequest::default()
        };
        let refused = server.client.submit_batch(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{task:?}");
        let message = refused.message();
        assert!(
            message.contains("tasks[0].options.validation_retries"),
            "{message}"
        );
        assert!(message.contains(reason), "{message}");
    }

    // A default of the call is for the tasks that can have a schema; those that have none all the same are refused.
    let with_default = |work| SubmitBatchRequest {
        tasks: vec![TaskSpec {
            work: Some(work),
            ..TaskSpec::default()
        }],
        options: Some(TaskOptions {
            validation_retries: Some(1),
            ..TaskOptions::default()
        }),
        ..SubmitBatchRequest::default()
    };
    server
        .client
        .submit_batch(with_default(completion))
        .await
        .unwrap();
    let refused = server
        .client
        .submit_batch(with_default(prompt("p").work.unwrap()))
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    let unasked = submit(
        &mut server.client,
        [TaskSpec {
            work: Some(raw_chat(&json!({"type": 12}))),
            ..TaskSpec::default()
        }],
    );
    assert_eq!(
        unasked.await.task_ids.len(),
        1,
        "a schema that nobody checks by is the upstream's"
    );
    server.stop().await;
}
