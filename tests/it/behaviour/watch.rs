//! Watches: resumption, ends, and what they cost.

use tidings::proto::v1::{
    SubmitBatchRequest, TaskStatus, WatchBatchRequest, WatchTaskRequest, watch_batch_response,
    watch_task_response,
};
use tonic::Code;

use crate::support::server::{
    Kind, TestServer, assert_lawful, function, on_each_store, prompt, soon, status_of, submit,
    watch_batch, watch_task,
};

on_each_store! {
    a_watch_resumes_after_any_revision,
    a_watch_beyond_the_last_revision_is_out_of_range,
    a_batch_watch_resumes_from_any_token,
    a_token_of_another_batch_is_refused,
    progress_is_pushed_between_transitions,
    a_watcher_that_stops_reading_delays_nobody,
    many_watchers_of_one_task_are_all_told,
    watchers_of_one_batch_are_told_the_same,
    connections_to_redis_do_not_grow_with_watchers,
}

async fn a_watch_resumes_after_any_revision(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let id = submit(&mut server.client, [prompt("p")])
        .await
        .task_ids
        .remove(0);
    let all = watch_task(&mut server.client, &id, 0).await;
    assert_eq!(all.len(), 3);
    assert_lawful(&all);
    for after in 1..=3 {
        let rest = watch_task(&mut server.client, &id, after).await;
        assert_eq!(rest, all[after as usize..], "after {after}");
    }
    server.stop().await;
}

async fn a_watch_beyond_the_last_revision_is_out_of_range(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let id = submit(&mut server.client, [prompt("p")])
        .await
        .task_ids
        .remove(0);
    watch_task(&mut server.client, &id, 0).await;
    let request = WatchTaskRequest {
        task_id: id,
        after_revision: 4,
        ..WatchTaskRequest::default()
    };
    let refused = server.client.watch_task(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    server.stop().await;
}

async fn a_batch_watch_resumes_from_any_token(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let batch = submit(&mut server.client, (0..20).map(|n| prompt(format!("{n}")))).await;
    let all = watch_batch(&mut server.client, &batch.batch_id).await;
    assert_eq!(all.len(), 60);
    let mut told = Vec::new();
    let mut token = String::new();
    // One event a stream: cut and resume after each.
    loop {
        let request = WatchBatchRequest {
            batch_id: batch.batch_id.clone(),
            resume_token: token.clone(),
            include_results: true,
        };
        let mut stream = server
            .client
            .watch_batch(request)
            .await
            .unwrap()
            .into_inner();
        let Some(message) = stream.message().await.unwrap() else {
            break;
        };
        token = message.resume_token;
        match message.event.unwrap() {
            watch_batch_response::Event::Task(task) => told.push(task),
            watch_batch_response::Event::Progress(progress) => {
                assert!(progress.done);
                assert_eq!(progress.completed, 20);
                break;
            }
            watch_batch_response::Event::Heartbeat(_) => {}
        }
    }
    assert_eq!(told, all);
    server.stop().await;
}

async fn a_token_of_another_batch_is_refused(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let one = submit(&mut server.client, [prompt("p")]).await;
    let other = submit(&mut server.client, [prompt("p")]).await;
    let mut request = WatchBatchRequest {
        batch_id: one.batch_id,
        ..WatchBatchRequest::default()
    };
    let mut stream = server
        .client
        .watch_batch(request.clone())
        .await
        .unwrap()
        .into_inner();
    let token = stream.message().await.unwrap().unwrap().resume_token;
    request.batch_id = other.batch_id;
    for token in [token, "nonsense".to_owned()] {
        request.resume_token = token;
        let refused = server
            .client
            .watch_batch(request.clone())
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    server.stop().await;
}

async fn progress_is_pushed_between_transitions(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let task = function("debug.sleep", r#"{"seconds":3}"#);
    let id = submit(&mut server.client, [task]).await.task_ids.remove(0);
    let request = WatchTaskRequest {
        task_id: id,
        ..WatchTaskRequest::default()
    };
    let mut stream = server
        .client
        .watch_task(request)
        .await
        .unwrap()
        .into_inner();
    let (mut progress, mut last) = (Vec::new(), None);
    while let Some(message) = stream.message().await.unwrap() {
        match message.event.unwrap() {
            watch_task_response::Event::Notice(notice) => progress.push(notice.progress_percent),
            watch_task_response::Event::Task(task) => last = Some(task),
            _ => {}
        }
    }
    assert!(progress.len() >= 2, "{progress:?}");
    assert!(progress.is_sorted(), "{progress:?}");
    assert_eq!(last.unwrap().progress_percent, 100);
    server.stop().await;
}

async fn a_watcher_that_stops_reading_delays_nobody(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let request = SubmitBatchRequest {
        tasks: vec![function("debug.echo", "1"); 500],
        keep_open: true,
        ..SubmitBatchRequest::default()
    };
    let batch = server
        .client
        .submit_batch(request)
        .await
        .unwrap()
        .into_inner();
    let mut stalled = Vec::new();
    for _ in 0..100 {
        let request = WatchBatchRequest {
            batch_id: batch.batch_id.clone(),
            include_results: true,
            ..WatchBatchRequest::default()
        };
        stalled.push(
            server
                .client
                .watch_batch(request)
                .await
                .unwrap()
                .into_inner(),
        );
    }
    // They hold their streams open and never read; another batch goes its way, on another connection.
    let mut client = crate::support::server::connect(&server.endpoint).await;
    let other = submit(
        &mut client,
        (0..500).map(|n| function("debug.echo", &n.to_string())),
    )
    .await;
    let told = watch_batch(&mut client, &other.batch_id).await;
    assert_lawful(&told);
    assert_eq!(told.len(), 1_500);
    drop(stalled);
    server.stop().await;
}

async fn many_watchers_of_one_task_are_all_told(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let task = function("debug.sleep", r#"{"seconds":0.5}"#);
    let id = submit(&mut server.client, [task]).await.task_ids.remove(0);
    let mut watchers = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let (mut client, id) = (server.client.clone(), id.clone());
        watchers.spawn(async move { watch_task(&mut client, &id, 0).await });
    }
    while let Some(told) = watchers.join_next().await {
        let told = told.unwrap();
        assert_lawful(&told);
        assert_eq!(told.len(), 3);
        assert_eq!(status_of(&told[2]), TaskStatus::Completed);
    }
    server.stop().await;
}

async fn watchers_of_one_batch_are_told_the_same(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let batch = submit(&mut server.client, (0..40).map(|n| prompt(format!("{n}")))).await;
    // Those who ask for results, and those who do not, are told from the same log at the same time.
    let mut streams = Vec::new();
    for watcher in 0..6 {
        let request = WatchBatchRequest {
            batch_id: batch.batch_id.clone(),
            include_results: watcher % 2 == 0,
            ..WatchBatchRequest::default()
        };
        streams.push(server.client.watch_batch(request).await.unwrap());
    }
    let told = streams.into_iter().map(|stream| async {
        let mut stream = stream.into_inner();
        let mut tokens = Vec::new();
        let mut tasks = Vec::new();
        while let Some(message) = stream.message().await.unwrap() {
            if let Some(watch_batch_response::Event::Task(task)) = message.event {
                tokens.push(message.resume_token);
                tasks.push(task);
            }
        }
        (tokens, tasks)
    });
    let told = futures::future::join_all(told).await;
    assert_eq!(told[0].1.len(), 120);
    for (watcher, (tokens, tasks)) in told.iter().enumerate() {
        assert_eq!(tokens, &told[0].0, "watcher {watcher}");
        let ended = || tasks.iter().filter(|task| task.end_time.is_some());
        match watcher % 2 == 0 {
            true => assert_eq!(tasks, &told[0].1, "watcher {watcher}"),
            false => assert!(ended().all(|task| task.result.is_none() && task.result_omitted)),
        }
        assert_eq!(ended().count(), 40, "watcher {watcher}");
    }
    server.stop().await;
}

async fn connections_to_redis_do_not_grow_with_watchers(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let Some(before) = connections(&server).await else {
        // The embedded store has no connections at all; the watchers below must cost it no files either.
        server.stop().await;
        return;
    };
    let task = function("debug.sleep", r#"{"seconds":30}"#);
    let id = submit(&mut server.client, [task]).await.task_ids.remove(0);
    let mut open = Vec::new();
    for _ in 0..1_000 {
        let request = WatchTaskRequest {
            task_id: id.clone(),
            ..WatchTaskRequest::default()
        };
        let mut stream = server
            .client
            .watch_task(request)
            .await
            .unwrap()
            .into_inner();
        stream.message().await.unwrap();
        open.push(stream);
    }
    let during = connections(&server).await.unwrap();
    assert!(during <= before + 1, "{before} connections became {during}");
    drop(open);
    let cancel = tidings::proto::v1::CancelTasksRequest {
        task_ids: vec![id],
        ..Default::default()
    };
    server.client.cancel_tasks(cancel).await.unwrap();
    let admin = server.admin.clone();
    soon("the watchers' places are given up", async || {
        let metrics = reqwest::get(format!("{admin}/metrics")).await.unwrap();
        metrics.text().await.unwrap().contains("tidings_watchers 0")
    })
    .await;
    server.stop().await;
}

async fn connections(server: &TestServer) -> Option<usize> {
    let redis = server.home.redis.as_ref()?;
    let client = ::redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let list: String = ::redis::cmd("CLIENT")
        .arg("LIST")
        .query_async(&mut connection)
        .await
        .unwrap();
    Some(list.lines().count())
}
