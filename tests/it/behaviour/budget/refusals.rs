//! What cannot be held to a budget is refused, and says what to do.

use tidings::proto::v1::{OpenAiRequest, ResumeBatchRequest, task_spec::Work};
use tonic::{Code, Status};

use super::{
    BUDGET, Client, Faults, Kind, MAX_TOKENS, SubmitBatchRequest, TaskSpec, TestServer, chat,
    on_each_store, priced, request, submit, talking,
};
use crate::support::server::prompt;

on_each_store! {
    a_task_whose_cost_has_no_bound_is_refused,
    a_budget_is_stated_once_and_changed_by_resuming,
}

async fn refused(client: &mut Client, tasks: Vec<TaskSpec>, budget: u64) -> Status {
    let refused = client.submit_batch(request(tasks, budget)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    refused
}

async fn a_task_whose_cost_has_no_bound_is_refused(kind: Kind) {
    let mut server: TestServer = priced(kind, talking(Faults::default())).await;
    let client = &mut server.client;
    let unbounded = refused(client, vec![prompt("how long?")], BUDGET).await;
    assert!(
        unbounded.message().contains("max_output_tokens"),
        "{unbounded:?}"
    );
    let body = r#"{"model":"another","messages":[{"role":"user","content":"x"}],"max_tokens":5}"#;
    let other = TaskSpec {
        work: Some(Work::OpenaiRequest(OpenAiRequest {
            path: "/v1/chat/completions".into(),
            body: body.into(),
        })),
        ..TaskSpec::default()
    };
    let unpriced = refused(client, vec![chat("fine"), other], BUDGET).await;
    let named = ["tasks[1]", "[prices.\"another\"]"];
    assert!(
        named.iter().all(|it| unpriced.message().contains(it)),
        "{unpriced:?}"
    );
    let little = u64::from(MAX_TOKENS) * 4_000;
    let dear = refused(client, vec![chat("x")], little).await;
    assert!(dear.message().contains("whole budget"), "{dear:?}");
    let huge = refused(client, vec![chat("x")], u64::MAX).await;
    assert!(huge.message().starts_with("budget_nanos"), "{huge:?}");
    assert!(server.upstream.calls().is_empty());
    server.stop().await;
}

async fn a_budget_is_stated_once_and_changed_by_resuming(kind: Kind) {
    let mut server = priced(kind, talking(Faults::default())).await;
    let client = &mut server.client;
    let open = SubmitBatchRequest {
        keep_open: true,
        ..request(vec![chat("first")], BUDGET)
    };
    let id = client.submit_batch(open).await.unwrap().into_inner();
    let append = |tasks, budget_nanos| SubmitBatchRequest {
        tasks,
        budget_nanos,
        batch_id: id.batch_id.clone(),
        keep_open: true,
        ..SubmitBatchRequest::default()
    };
    for same in [None, Some(BUDGET)] {
        let accepted = client.submit_batch(append(vec![chat("more")], same)).await;
        accepted.unwrap();
    }
    let other = client
        .submit_batch(append(vec![chat("more")], Some(BUDGET + 1)))
        .await
        .unwrap_err();
    assert_eq!(other.code(), Code::InvalidArgument);
    // What is added is held to the budget as well.
    let unbounded = client.submit_batch(append(vec![prompt("x")], None)).await;
    assert_eq!(unbounded.unwrap_err().code(), Code::InvalidArgument);
    let resume = |batch_id: &str, budget| ResumeBatchRequest {
        batch_id: batch_id.to_owned(),
        budget_nanos: Some(budget),
    };
    let too_low = client.resume_batch(resume(&id.batch_id, 0)).await;
    let too_low = too_low.unwrap_err();
    assert_eq!(too_low.code(), Code::FailedPrecondition);
    assert!(too_low.message().contains("is spent"), "{too_low:?}");
    let plain = SubmitBatchRequest {
        tasks: vec![prompt("x")],
        ..SubmitBatchRequest::default()
    };
    let plain = client.submit_batch(plain).await.unwrap().into_inner();
    let none = client.resume_batch(resume(&plain.batch_id, BUDGET)).await;
    assert_eq!(none.unwrap_err().code(), Code::FailedPrecondition);
    let funded = submit(client, 1, BUDGET).await;
    let raised = client.resume_batch(resume(&funded, 2 * BUDGET)).await;
    let raised = raised.unwrap().into_inner().batch.unwrap();
    let budget = raised.progress.unwrap().budget.unwrap();
    assert_eq!(budget.limit_nanos, 2 * BUDGET);
    server.stop().await;
}
