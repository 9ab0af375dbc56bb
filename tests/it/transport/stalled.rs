//! Watches whose clients read nothing.

use std::fs;

use tidings::proto::v1::WatchBatchRequest;

use super::{
    assert_serves,
    raw::{Raw, WATCH_BATCH},
};
use crate::support::{
    process::Process,
    server::{Home, Kind, assert_lawful, function, soon, submit, watch_batch},
};

const WATCHES: usize = 1_000;
/// Far below what the batch would take if each watch had it in memory, which is 4 GiB.
const MOST_KIB: usize = 400 << 10;

/// Resident memory of a process, in KiB.
fn resident(id: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let field = line.unwrap().split_whitespace().nth(1);
    field.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_nobody_reads_costs_little_and_delays_nobody() {
    let home = Home::new(Kind::Embedded).await;
    let server = Process::serve(&home.url(), "http://127.0.0.1:9/v1", &[]);
    let mut client = server.client().await;
    let large = format!("\"{}\"", "x".repeat(32 << 10));
    let batch = submit(&mut client, vec![function("debug.echo", &large); 64]).await;
    assert_lawful(&watch_batch(&mut client, &batch.batch_id).await);
    let before = resident(server.id());

    let raw = Raw::connect_deaf(&server.endpoint).await;
    let watch = WatchBatchRequest {
        batch_id: batch.batch_id.clone(),
        include_results: true,
        ..WatchBatchRequest::default()
    };
    let mut unread = Vec::new();
    for _ in 0..WATCHES {
        unread.push(raw.call(WATCH_BATCH, &[], &watch).await.await.unwrap());
    }

    assert_serves(&server.endpoint).await;
    assert_lawful(&watch_batch(&mut client, &batch.batch_id).await);
    let grown = resident(server.id()).saturating_sub(before);
    println!(
        "{WATCHES} stalled watches: {grown} KiB, {} KiB each",
        grown / WATCHES
    );
    assert!(grown < MOST_KIB, "{grown} KiB");
    drop(unread);
    soon("nothing is left open", async || raw.is_open().await).await;
}
