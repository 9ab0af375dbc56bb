//! What submitters and readers are told: ids at once, failures as data, odd answers as what they are.

use std::time::Duration;

use tidings::{
    proto::v1::{
        ErrorCode, GetStatusRequest, Task, TaskOptions, TaskResult, TaskStatus, WatchTaskRequest,
    },
    simulator::{self, Fault, Faults, Latency, answer_to},
};
use tonic::Request;

use crate::support::{
    gate::Gate,
    server::{
        Home, Kind, TestServer, assert_lawful, on_each_store, prompt, soon, status, status_of,
        submit, watch_batch, watch_task,
    },
};

on_each_store! {
    a_submit_is_answered_while_the_upstream_sleeps,
    a_failed_task_is_no_failed_call,
    odd_answers_are_told_as_what_they_are,
    a_reply_without_an_answer_is_a_failure,
    a_watcher_whose_time_is_up_leaves_the_task_running,
}

async fn a_submit_is_answered_while_the_upstream_sleeps(kind: Kind) {
    let asleep = simulator::Config {
        latency: Latency::Fixed(Duration::from_secs(600)),
        ..simulator::Config::default()
    };
    let mut server = TestServer::start_with(kind, asleep, |config| {
        config.shutdown_grace = Duration::ZERO;
    })
    .await;
    let mut ids = Vec::new();
    for n in 0..20 {
        let reply = submit(&mut server.client, [prompt(format!("{n}"))]).await;
        ids.extend(reply.task_ids);
    }
    soon("every call is open", async || {
        server.upstream.open_calls() == 20
    })
    .await;
    for id in &ids {
        let task = status(&mut server.client, id).await;
        assert_eq!(status_of(&task), TaskStatus::Processing);
        assert!(task.result.is_none() && task.error.is_none());
    }
    assert_eq!(server.upstream.finished_calls(), 0);
    server.stop().await;
}

async fn a_failed_task_is_no_failed_call(kind: Kind) {
    let upstream = simulator::Config {
        faults: Faults::in_order([Fault::ContextLength]),
        ..simulator::Config::default()
    };
    let mut server = TestServer::start_with(kind, upstream, |config| config.concurrency = 1).await;
    let batch = submit(&mut server.client, [prompt("long"), prompt("short")]).await;
    let told = watch_batch(&mut server.client, &batch.batch_id).await;
    assert_lawful(&told);

    let request = GetStatusRequest {
        task_ids: batch.task_ids.clone(),
        omit_results: false,
    };
    let reply = server.client.get_status(request).await.unwrap();

    let [failed, answered] = <[Task; 2]>::try_from(reply.into_inner().tasks).unwrap();
    assert_eq!(status_of(&failed), TaskStatus::Error);
    let error = failed.error.unwrap();
    assert_eq!(error.code(), ErrorCode::ContextLengthExceeded);
    assert_eq!(error.http_status, 400);
    assert!(!error.message.is_empty() && failed.result.is_none());
    assert_eq!(status_of(&answered), TaskStatus::Completed);
    assert_eq!(answered.result.unwrap().text, answer_to("short"));
    assert!(answered.error.is_none());
    server.stop().await;
}

/// Asks once and is replied to with this body.
async fn replied(server: &mut TestServer, body: &str) -> Task {
    let faults = Faults::always(Fault::reply(200, &[], body));
    server.upstream.set_faults(faults).unwrap();
    let mut task = prompt("p");
    task.options = Some(TaskOptions {
        max_attempts: 1,
        ..TaskOptions::default()
    });
    let id = submit(&mut server.client, [task]).await.task_ids.remove(0);
    let mut told = watch_task(&mut server.client, &id, 0).await;
    assert_lawful(&told);
    told.pop().unwrap()
}

async fn odd_answers_are_told_as_what_they_are(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let is_plain = |r: &TaskResult| !r.truncated && !r.filtered && !r.refused;
    type Check = fn(&TaskResult) -> bool;
    let rows: [(&str, &str, Check); 5] = [
        (
            r#"{"choices":[{"message":{"content":"half an"},"finish_reason":"length"}]}"#,
            "half an",
            |r| r.truncated && !r.filtered && !r.refused && r.finish_reason == "length",
        ),
        // A reasoning model that spent its whole limit on thinking.
        (
            r#"{"choices":[{"message":{"content":""},"finish_reason":"length"}]}"#,
            "",
            |r| r.truncated && !r.filtered && !r.refused,
        ),
        (
            r#"{"choices":[{"message":{"content":null},"finish_reason":"content_filter"}]}"#,
            "",
            |r| r.filtered && !r.truncated && !r.refused && r.finish_reason == "content_filter",
        ),
        (
            r#"{"choices":[{"message":{"content":null,"refusal":"no"},"finish_reason":"stop"}]}"#,
            "no",
            |r| r.refused && !r.truncated && !r.filtered,
        ),
        (
            r#"{"choices":[{"message":{"content":" kept \n"}}]}"#,
            " kept \n",
            |r| r.finish_reason == "unknown",
        ),
    ];
    for (body, text, is_so) in rows {
        let task = replied(&mut server, body).await;
        assert_eq!(status_of(&task), TaskStatus::Completed, "{body}");
        let result = task.result.unwrap();
        assert_eq!((result.text.as_str(), result.body.as_str()), (text, body));
        assert!(is_so(&result), "{result:?}");
        assert_eq!(is_plain(&result), result.finish_reason == "unknown");
    }
    server.stop().await;
}

async fn a_reply_without_an_answer_is_a_failure(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    for body in [
        r#"{"choices":[]}"#,
        r#"{"choices":[{"message":{"content":null},"finish_reason":"stop"}]}"#,
        r#"{"id":"x"}"#,
        "No content",
    ] {
        let task = replied(&mut server, body).await;
        assert_eq!(status_of(&task), TaskStatus::Error, "{body}");
        let error = task.error.unwrap();
        assert_eq!(error.code(), ErrorCode::UpstreamBadResponse, "{body}");
        assert!(task.result.is_none(), "{body}");
    }
    server.stop().await;
}

async fn a_watcher_whose_time_is_up_leaves_the_task_running(kind: Kind) {
    let gate = Gate::new();
    let upstream = simulator::Config::default();
    let home = Home::new(kind).await;
    let mut server = TestServer::start_on(home, upstream, gate.functions(), |_| {}).await;
    let id = submit(&mut server.client, [Gate::task()])
        .await
        .task_ids
        .remove(0);
    soon("it runs", async || gate.inside() == 1).await;
    let patience = Duration::from_millis(300);
    let mut request = Request::new(WatchTaskRequest {
        task_id: id.clone(),
        ..WatchTaskRequest::default()
    });
    request.set_timeout(patience);
    let waiting = async {
        let mut stream = server.client.watch_task(request).await?.into_inner();
        while stream.message().await?.is_some() {}
        Ok::<_, tonic::Status>(())
    };
    // Dropped as a client drops a call whose deadline has passed.
    let waited = tokio::time::timeout(patience, waiting).await;
    assert!(!matches!(waited, Ok(Ok(()))), "it cannot have ended");

    let task = status(&mut server.client, &id).await;
    assert_eq!(status_of(&task), TaskStatus::Processing);
    assert_eq!(gate.inside(), 1);
    gate.open();
    let told = watch_task(&mut server.client, &id, 0).await;
    assert_lawful(&told);
    assert_eq!(status_of(told.last().unwrap()), TaskStatus::Completed);
    assert_eq!(told.last().unwrap().attempt, 1, "one run, undisturbed");
    server.stop().await;
}
