//! Functions of one's own, as `examples/functions.rs` registers them.

use tidings::{
    proto::v1::{ErrorCode, GetServerInfoRequest, TaskStatus},
    simulator,
};

use crate::support::server::{
    Home, Kind, TestServer, assert_lawful, function, on_each_store, status, status_of, submit,
    watch_batch, watch_task,
};

#[expect(dead_code, reason = "the example's `main` is run by people")]
#[path = "../../../examples/functions.rs"]
mod example;

on_each_store! {
    functions_of_ones_own_answer,
    arguments_of_another_type_are_the_tasks_failure,
}

async fn start(kind: Kind) -> TestServer {
    let upstream = simulator::Config::default();
    let functions = example::functions();
    TestServer::start_on(Home::new(kind).await, upstream, functions, |_| {}).await
}

async fn functions_of_ones_own_answer(kind: Kind) {
    let mut server = start(kind).await;
    let info = server.client.get_server_info(GetServerInfoRequest {});
    let functions = info.await.unwrap().into_inner().functions;
    assert_eq!(
        functions,
        ["add", "debug.echo", "debug.sleep", "mul", "xsum"]
    );
    let calls = [
        function("add", "[4, 4]"),
        function("mul", "[3, 4]"),
        function("xsum", "[[1, 2, 3]]"),
    ];
    let batch = submit(&mut server.client, calls).await;
    let told = watch_batch(&mut server.client, &batch.batch_id).await;
    assert_lawful(&told);
    for (id, answer) in batch.task_ids.iter().zip(["8", "12", "6"]) {
        let task = status(&mut server.client, id).await;
        assert_eq!(status_of(&task), TaskStatus::Completed);
        assert_eq!(task.result.unwrap().text, answer);
    }
    assert!(server.upstream.calls().is_empty());
    server.stop().await;
}

async fn arguments_of_another_type_are_the_tasks_failure(kind: Kind) {
    let mut server = start(kind).await;
    let ids = submit(
        &mut server.client,
        [
            function("add", r#"["4", "private"]"#),
            function("mul", "[9223372036854775807, 2]"),
        ],
    )
    .await
    .task_ids;
    for (id, message) in ids.iter().zip([
        "add takes two whole numbers, such as [3, 4]",
        "mul: the answer is too large",
    ]) {
        let told = watch_task(&mut server.client, id, 0).await;
        assert_lawful(&told);
        let last = told.last().unwrap();
        assert_eq!(status_of(last), TaskStatus::Error);
        let error = last.error.as_ref().unwrap();
        assert_eq!(error.code(), ErrorCode::FunctionFailed);
        assert_eq!(error.message, message);
        assert_eq!(last.attempt, 1, "trying again would not help");
    }
    server.stop().await;
}
