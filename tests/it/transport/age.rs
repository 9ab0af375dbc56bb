use std::time::Duration;

use tidings::proto::v1::{CancelTasksRequest, GetServerInfoRequest, WatchTaskRequest};
use tonic::Code;

use super::{
    HOUR, SOON,
    raw::{Raw, WATCH_TASK, status},
    server,
};
use crate::support::{
    eventually,
    server::{connect, prompt, submit},
};

async fn told_to_go(raw: &Raw) {
    eventually("no more streams are taken", SOON, async || {
        (!raw.is_open().await).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_is_told_to_go_and_its_streams_go_on() {
    let mut server = server(|transport| {
        transport.max_age = Duration::from_secs(1);
        transport.age_grace = HOUR;
    })
    .await;
    let batch = submit(&mut server.client, [prompt("p")]).await;
    let raw = Raw::connect(&server.endpoint).await;
    let watch = WatchTaskRequest {
        task_id: batch.task_ids[0].clone(),
        ..WatchTaskRequest::default()
    };
    let response = raw.call(WATCH_TASK, &[], &watch).await;
    assert!(raw.is_open().await, "a young connection takes streams");

    told_to_go(&raw).await;

    let watching = tokio::spawn(status(response));
    let cancel = CancelTasksRequest {
        task_ids: batch.task_ids,
        ..CancelTasksRequest::default()
    };
    // Over a young connection: the first client's is told to go as well, and a call may meet that.
    let mut client = connect(&server.endpoint).await;
    client.cancel_tasks(cancel).await.unwrap();
    let (bytes, code) = watching.await.unwrap().expect("the stream goes on");
    assert!(bytes > 0);
    assert_eq!(code, "0", "the watch ends as a watch does");
    raw.ended.await.unwrap().expect("closed without an error");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_grace_it_is_closed() {
    let mut server = server(|transport| {
        transport.max_age = Duration::from_millis(500);
        transport.age_grace = Duration::from_millis(500);
    })
    .await;
    let batch = submit(&mut server.client, [prompt("p")]).await;
    let raw = Raw::connect(&server.endpoint).await;
    let watch = WatchTaskRequest {
        task_id: batch.task_ids[0].clone(),
        ..WatchTaskRequest::default()
    };
    let response = raw.call(WATCH_TASK, &[], &watch).await;
    let ended = tokio::time::timeout(SOON, status(response)).await;
    assert!(ended.expect("the stream ends").is_err(), "cut, not ended");
    tokio::time::timeout(SOON, raw.ended)
        .await
        .unwrap()
        .unwrap()
        .ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_find_a_new_connection_by_themselves() {
    let server = server(|transport| {
        transport.max_age = Duration::from_millis(100);
        transport.age_grace = HOUR;
    })
    .await;
    let mut client = connect(&server.endpoint).await;
    let first = Raw::connect(&server.endpoint).await;
    let mut failed = 0;
    // Over at least ten ages of a connection.
    for _ in 0..300 {
        eventually("a call finds a connection", SOON, async || {
            let answer = client.get_server_info(GetServerInfoRequest {}).await;
            let Err(status) = answer else { return Some(()) };
            // This client says so of a call that it had not sent when the connection closed; on a busy machine the next
            // connection may be as old by the time the call is made again.
            assert!(
                matches!(
                    status.code(),
                    Code::Cancelled | Code::Unavailable | Code::Internal
                ),
                "{status:?}"
            );
            failed += 1;
            None
        })
        .await;
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    assert!(failed < 30, "{failed} of 300 calls failed");
    told_to_go(&first).await;
    server.stop().await;
}
