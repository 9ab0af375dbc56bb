//! More work than the store may hold: refused with when to come again, while what was accepted goes on.

use std::{fs, io::Write as _, time::Duration};

use tidings::{
    proto::v1::{GetServerInfoRequest, SubmitBatchRequest, TaskStatus},
    simulator::{self, Latency, Simulator},
    store::Capacity,
};
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{
    gate::Gate,
    process::Process,
    server::{
        Client, Home, Kind, TestServer, assert_lawful, on_each_store, prompt, soon, status_of,
        submit, watch_batch,
    },
};

on_each_store! {
    a_full_server_says_when_to_come_again_and_takes_more_once_drained,
    ten_times_too_much_is_refused_and_what_was_accepted_is_done,
}

/// Loose: what the process needs anyway, several times over, and far less than a queue without an end would grow to.
const MOST_GROWTH_KIB: usize = 300 << 10;

#[track_caller]
fn assert_full(refusal: &Status) {
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal:?}");
    let details = refusal.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "STORE_FULL");
    assert!(details.retry_info().unwrap().retry_delay.unwrap() > Duration::ZERO);
    assert!(
        refusal.message().contains("limits.queue_tasks"),
        "{refusal:?}"
    );
}

async fn a_full_server_says_when_to_come_again_and_takes_more_once_drained(kind: Kind) {
    let gate = Gate::new();
    let capacity = Capacity {
        tasks: 10,
        bytes: 1 << 20,
    };
    let upstream = simulator::Config::default();
    let home = Home::new(kind).await;
    let start = TestServer::start_on(home, upstream, gate.functions(), |config| {
        config.capacity = capacity;
    });
    let mut server = start.await;
    let info = server.client.get_server_info(GetServerInfoRequest {}).await;
    let limits = info.unwrap().into_inner().limits.unwrap();
    assert_eq!((limits.queue_tasks, limits.queue_bytes), (10, 1 << 20));
    let held = submit(&mut server.client, vec![Gate::task(); 10]).await;
    let more = || SubmitBatchRequest {
        tasks: vec![prompt("one more")],
        idempotency_key: "more".into(),
        ..SubmitBatchRequest::default()
    };
    let refusal = server.client.submit_batch(more()).await.unwrap_err();
    assert_full(&refusal);
    let metrics = reqwest::get(format!("{}/metrics", server.admin)).await;
    let metrics = metrics.unwrap().text().await.unwrap();
    for name in ["tidings_store_full_total ", "tidings_input_bytes "] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }

    gate.open();

    let told = watch_batch(&mut server.client, &held.batch_id).await;
    assert_lawful(&told);
    let accepted = server.client.submit_batch(more()).await.unwrap();
    let batch = accepted.into_inner().batch_id;
    assert_lawful(&watch_batch(&mut server.client, &batch).await);
    server.stop().await;
}

/// Resident memory of a process, in KiB.
fn resident(id: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let field = line.unwrap().split_whitespace().nth(1);
    field.unwrap().parse().unwrap()
}

/// Offers `calls` batches one after the other, never waiting as it is told to; the ids of those accepted.
async fn offer(mut client: Client, calls: usize) -> Vec<String> {
    let text = "x".repeat(4 << 10);
    let mut accepted = Vec::new();
    for _ in 0..calls {
        let request = SubmitBatchRequest {
            tasks: vec![prompt(text.as_str()); 50],
            ..SubmitBatchRequest::default()
        };
        match client.submit_batch(request).await {
            Ok(reply) => accepted.push(reply.into_inner().batch_id),
            Err(refusal) => assert_full(&refusal),
        }
    }
    accepted
}

async fn ten_times_too_much_is_refused_and_what_was_accepted_is_done(kind: Kind) {
    let slow = simulator::Config {
        latency: Latency::Fixed(Duration::from_millis(50)),
        ..simulator::Config::default()
    };
    let any = "127.0.0.1:0".parse().unwrap();
    let upstream = Simulator::start(slow, any).await.unwrap();
    let home = Home::new(kind).await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "[limits]\nqueue_tasks = 1000").unwrap();
    let path = file.path().to_str().unwrap();
    let more = ["--config", path, "--concurrency", "16"];
    let server = Process::serve(&home.url(), &upstream.base_url(), &more);
    let before = resident(server.id());

    // 200 calls of 50 tasks: ten times what may be unfinished.
    let mut offers = JoinSet::new();
    for _ in 0..8 {
        offers.spawn(offer(server.client().await, 25));
    }
    let accepted: Vec<String> = offers.join_all().await.into_iter().flatten().collect();

    assert!((20..200).contains(&accepted.len()), "{}", accepted.len());
    let growth = resident(server.id()).saturating_sub(before);
    assert!(growth < MOST_GROWTH_KIB, "{growth} KiB more");
    let mut client = server.client().await;
    for batch in &accepted {
        let told = watch_batch(&mut client, batch).await;
        assert_lawful(&told);
        let completed = told
            .iter()
            .filter(|task| status_of(task) == TaskStatus::Completed);
        assert_eq!(completed.count(), 50);
    }
    assert_eq!(upstream.calls().len(), accepted.len() * 50);
    soon("there is room again", async || {
        let tasks = vec![prompt("later"); 1_000];
        let request = SubmitBatchRequest {
            tasks,
            ..SubmitBatchRequest::default()
        };
        client.submit_batch(request).await.is_ok()
    })
    .await;
}
