use tidings::proto::v1::{GetStatusRequest, ListTasksRequest, SubmitBatchRequest};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::server;
use crate::support::server::prompt;

#[track_caller]
fn assert_too_large(refused: &Status, most: &str) {
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert!(refused.message().contains(most), "{refused:?}");
    let details = refused.get_error_details();
    let violations = &details.bad_request().expect("details").field_violations;
    assert_eq!(violations[0].field, "request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submit_that_is_too_large_to_be_read_is_refused_with_the_limit() {
    let mut server = server(|_| {}).await;
    let request = SubmitBatchRequest {
        tasks: vec![prompt("x".repeat(1 << 20)); 9],
        ..SubmitBatchRequest::default()
    };
    let refused = server.client.submit_batch(request).await.unwrap_err();
    assert_too_large(&refused, "8388608");
    let listed = server.client.list_tasks(ListTasksRequest::default()).await;
    assert!(listed.unwrap().into_inner().tasks.is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_calls_are_read_up_to_what_their_limits_need() {
    let mut server = server(|_| {}).await;
    let ids = |count| GetStatusRequest {
        task_ids: vec!["0190a0a0-0000-7000-8000-000000000000".into(); count],
        omit_results: false,
    };
    server.client.get_status(ids(1_000)).await.unwrap();
    let many = server.client.get_status(ids(2_000)).await.unwrap_err();
    let details = many.get_error_details();
    let field = &details.bad_request().unwrap().field_violations[0].field;
    assert_eq!(field, "task_ids", "read, and refused by its own rule");
    let refused = server.client.get_status(ids(10_000)).await.unwrap_err();
    assert_too_large(&refused, "at most");
    server.stop().await;
}
