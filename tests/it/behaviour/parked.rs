//! No money and no access hold a batch back; they do not fail its tasks.

use tidings::{
    proto::v1::{
        Batch, GetBatchRequest, ListTasksRequest, ParkReason, ResumeBatchRequest, Task, TaskStatus,
        WaitReason, WatchBatchRequest, watch_batch_response,
    },
    simulator::{self, Fault, Faults},
};

use crate::support::server::{
    Client, Kind, TestServer, assert_lawful, on_each_store, prompt, soon, status_of, submit,
    watch_batch,
};

on_each_store! {
    a_batch_without_money_is_parked_and_goes_on_when_resumed,
    a_refused_key_parks_and_another_batch_goes_on,
}

async fn batch(client: &mut Client, id: &str) -> Batch {
    let request = GetBatchRequest {
        batch_id: id.to_owned(),
    };
    client
        .get_batch(request)
        .await
        .unwrap()
        .into_inner()
        .batch
        .unwrap()
}

async fn a_batch_without_money_is_parked_and_goes_on_when_resumed(kind: Kind) {
    let broke = simulator::Config {
        faults: Faults::always(Fault::InsufficientQuota),
        ..simulator::Config::default()
    };
    let mut server = TestServer::start_with(kind, broke, |config| config.concurrency = 4).await;
    let id = submit(&mut server.client, (0..200).map(|n| prompt(format!("{n}"))))
        .await
        .batch_id;
    soon("the batch is parked and nothing runs", async || {
        let batch = batch(&mut server.client.clone(), &id).await;
        batch.parked.is_some() && batch.progress.unwrap().processing == 0
    })
    .await;
    let parked = batch(&mut server.client, &id).await;
    assert_eq!(parked.parked.unwrap().reason(), ParkReason::QuotaExhausted);
    assert_eq!(parked.progress.unwrap().queued, 200, "none has failed");
    let calls = server.upstream.calls().len();
    assert!(calls <= 8, "{calls} calls for nothing");
    assert_parking_was_told(&mut server.client, &id).await;
    let waiting = list(&mut server.client, &id).await;
    assert!(
        waiting
            .iter()
            .all(|task| task.wait_reason() == WaitReason::Parked)
    );

    server.upstream.set_faults(Faults::default()).unwrap();
    let request = ResumeBatchRequest {
        budget_nanos: None,
        batch_id: id.clone(),
    };
    let resumed = server
        .client
        .resume_batch(request)
        .await
        .unwrap()
        .into_inner();
    assert!(resumed.batch.unwrap().parked.is_none());
    let told = watch_batch(&mut server.client, &id).await;
    assert_lawful(&told);
    let completed = told
        .iter()
        .filter(|t| status_of(t) == TaskStatus::Completed);
    assert_eq!(completed.count(), 200);
    server.stop().await;
}

async fn list(client: &mut Client, id: &str) -> Vec<Task> {
    let request = ListTasksRequest {
        batch_id: id.to_owned(),
        page_size: 1_000,
        ..ListTasksRequest::default()
    };
    client.list_tasks(request).await.unwrap().into_inner().tasks
}

async fn assert_parking_was_told(client: &mut Client, id: &str) {
    let request = WatchBatchRequest {
        batch_id: id.to_owned(),
        ..WatchBatchRequest::default()
    };
    let mut stream = client.watch_batch(request).await.unwrap().into_inner();
    while let Some(message) = stream.message().await.unwrap() {
        if let Some(watch_batch_response::Event::Progress(progress)) = message.event {
            assert!(progress.parked.is_some() && !progress.done);
            return;
        }
    }
    panic!("the stream ended without telling the counters");
}

async fn a_refused_key_parks_and_another_batch_goes_on(kind: Kind) {
    let refusing = simulator::Config {
        faults: Faults::in_order([Fault::Status(401)]),
        ..simulator::Config::default()
    };
    let mut server = TestServer::start_with(kind, refusing, |_| {}).await;
    let held = submit(&mut server.client, [prompt("first")]).await.batch_id;
    soon("the batch is parked", async || {
        batch(&mut server.client.clone(), &held)
            .await
            .parked
            .is_some()
    })
    .await;
    let reason = batch(&mut server.client, &held)
        .await
        .parked
        .unwrap()
        .reason();
    assert_eq!(reason, ParkReason::AuthFailed);
    let other = submit(&mut server.client, [prompt("second")])
        .await
        .batch_id;
    let told = watch_batch(&mut server.client, &other).await;
    assert_lawful(&told);
    assert_eq!(status_of(told.last().unwrap()), TaskStatus::Completed);
    server.stop().await;
}
