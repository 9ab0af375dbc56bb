//! Who asks the cache, and who does not.

use tidings::proto::v1::{
    CacheMode, CacheOutcome, ChatCompletion, ChatMessage, OpenAiRequest, SubmitBatchRequest,
    TaskOptions, TaskSpec, task_spec,
};
use tonic::Code;

use super::{cache_of, run_one, shared, with_mode};
use crate::support::server::{Kind, TestServer, function, on_each_store, prompt};

on_each_store! {
    without_a_word_only_repeatable_requests_are_shared,
    who_says_how_old_an_answer_may_be_takes_part,
    a_bypass_neither_takes_nor_leaves_an_answer,
    one_request_in_different_words_has_one_answer,
    an_option_that_means_nothing_is_refused,
}

fn chat(change: impl FnOnce(&mut ChatCompletion)) -> TaskSpec {
    let mut chat = ChatCompletion {
        messages: vec![ChatMessage {
            role: "user".into(),
            content: "p".into(),
            ..ChatMessage::default()
        }],
        ..ChatCompletion::default()
    };
    change(&mut chat);
    TaskSpec {
        work: Some(task_spec::Work::ChatCompletion(chat)),
        ..TaskSpec::default()
    }
}

fn raw(body: &str) -> TaskSpec {
    TaskSpec {
        work: Some(task_spec::Work::OpenaiRequest(OpenAiRequest {
            path: "/v1/chat/completions".into(),
            body: body.into(),
        })),
        ..TaskSpec::default()
    }
}

async fn without_a_word_only_repeatable_requests_are_shared(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let repeatable = [
        chat(|it| it.temperature = Some(0.0)),
        chat(|it| it.seed = Some(7)),
        raw(r#"{"model":"m","messages":[{"role":"user","content":"p"}],"temperature":0}"#),
    ];
    let others = [
        prompt("p"),
        chat(|_| {}),
        chat(|it| it.temperature = Some(0.5)),
    ];
    for task in repeatable {
        for expected in [CacheOutcome::Miss, CacheOutcome::Hit] {
            let ended = run_one(&mut server.client, task.clone()).await;
            assert_eq!(cache_of(&ended), expected, "{task:?}");
        }
    }
    for task in others {
        for _ in 0..2 {
            let ended = run_one(&mut server.client, task.clone()).await;
            assert_eq!(cache_of(&ended), CacheOutcome::Unspecified, "{task:?}");
        }
    }
    assert_eq!(server.upstream.calls().len(), 3 + 6);
    server.stop().await;
}

async fn who_says_how_old_an_answer_may_be_takes_part(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let aged = |task| TaskSpec {
        options: Some(TaskOptions {
            cache_max_age: Some(prost_types::Duration {
                seconds: 3_600,
                nanos: 0,
            }),
            ..TaskOptions::default()
        }),
        ..task
    };
    for (task, expected) in [
        (prompt("p"), CacheOutcome::Miss),
        (prompt("p"), CacheOutcome::Hit),
        (chat(|it| it.temperature = Some(0.5)), CacheOutcome::Miss),
        (chat(|it| it.temperature = Some(0.5)), CacheOutcome::Hit),
    ] {
        let ended = run_one(&mut server.client, aged(task)).await;
        assert_eq!(cache_of(&ended), expected);
    }
    assert_eq!(server.upstream.calls().len(), 2);
    server.stop().await;
}

async fn a_bypass_neither_takes_nor_leaves_an_answer(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let mut run = async |task| cache_of(&run_one(&mut server.client, task).await);
    let bypass = || with_mode("p", CacheMode::Bypass);
    assert_eq!(run(bypass()).await, CacheOutcome::Unspecified);
    assert_eq!(run(shared("p")).await, CacheOutcome::Miss);
    assert_eq!(run(bypass()).await, CacheOutcome::Unspecified);
    assert_eq!(run(shared("p")).await, CacheOutcome::Hit);
    assert_eq!(server.upstream.calls().len(), 3);
    server.stop().await;
}

async fn one_request_in_different_words_has_one_answer(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let words = [
        shared("p"),
        TaskSpec {
            options: shared("p").options,
            ..chat(|it| it.model = "gpt-4o-mini".into())
        },
        TaskSpec {
            options: shared("p").options,
            ..raw(
                r#"{ "user": "me", "messages": [{"content":"\u0070","role":"user"}], "model":"gpt-4o-mini" }"#,
            )
        },
    ];
    for task in words {
        run_one(&mut server.client, task).await;
    }
    assert_eq!(server.upstream.calls().len(), 1);
    let other = TaskSpec {
        options: shared("p").options,
        ..chat(|it| it.model = "another".into())
    };
    run_one(&mut server.client, other).await;
    assert_eq!(server.upstream.calls().len(), 2);
    server.stop().await;
}

async fn an_option_that_means_nothing_is_refused(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let age = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let options = |cache, cache_max_age| {
        Some(TaskOptions {
            cache,
            cache_max_age,
            ..TaskOptions::default()
        })
    };
    let echo = || function("debug.echo", "1");
    for (task, options, field) in [
        (prompt("p"), options(9, None), "tasks[0].options.cache"),
        (
            prompt("p"),
            options(1, age(0)),
            "tasks[0].options.cache_max_age",
        ),
        (
            prompt("p"),
            options(2, age(1)),
            "tasks[0].options.cache_max_age",
        ),
        (
            prompt("p"),
            options(3, age(1)),
            "tasks[0].options.cache_max_age",
        ),
        (echo(), options(1, None), "tasks[0].function_call"),
        (echo(), options(0, age(1)), "tasks[0].function_call"),
    ] {
        let request = SubmitBatchRequest {
            tasks: vec![TaskSpec { options, ..task }],
            ..SubmitBatchRequest::default()
        };
        let status = server.client.submit_batch(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(
            status.message().starts_with(&format!("{field}:")),
            "{status:?}"
        );
    }
    // Defaults of a call are for those tasks that they fit.
    let request = SubmitBatchRequest {
        tasks: vec![echo(), with_mode("p", CacheMode::Bypass)],
        options: options(1, age(60)),
        ..SubmitBatchRequest::default()
    };
    server.client.submit_batch(request).await.unwrap();
    server.stop().await;
}
