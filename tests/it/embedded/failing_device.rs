//! A device that fails a write or a sync once: the process stops, and nothing that it acknowledged is lost.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;
use tidings::proto::v1::{GetStatusRequest, SubmitBatchRequest};
use tonic::Code;

use crate::support::{
    binary::{Binary, Start},
    server::{Client, function},
};

const SOON: Duration = Duration::from_secs(60);
/// More than there are while a rule comes into force.
const CALLS: usize = 3_000;
const NO_UPSTREAM: &str = "http://127.0.0.1:9/v1";

/// Compiles the library that goes between the process and its device.
fn shim(home: &Path) -> PathBuf {
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/it/embedded/failing_device.c"
    );
    let library = home.join("failing_device.so");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
        .arg(&library)
        .arg(source)
        .arg("-ldl")
        .status()
        .expect("a C compiler is installed as `cc`, which the crates need as well");
    assert!(compiled.success());
    library
}

struct Server {
    binary: Binary,
    rule: PathBuf,
    log: PathBuf,
}

fn serve(home: &Path) -> Server {
    let (rule, log, shim) = (home.join("rule"), home.join("calls"), shim(home));
    let variables = [
        ("LD_PRELOAD", shim.as_path()),
        ("FAULT_RULE", &rule),
        ("FAULT_LOG", &log),
    ];
    let start = Start {
        home,
        upstream: NO_UPSTREAM,
        flags: &[],
        variables: &variables,
    };
    let binary = start.serve().unwrap();
    Server { binary, rule, log }
}

async fn submit(client: &mut Client, key: &str) -> Result<Vec<String>, tonic::Status> {
    let request = SubmitBatchRequest {
        tasks: vec![function("debug.echo", "{}"), function("debug.echo", "{}")],
        idempotency_key: key.to_owned(),
        ..SubmitBatchRequest::default()
    };
    Ok(client.submit_batch(request).await?.into_inner().task_ids)
}

/// Submits until a call fails, from several sides; answers what was acknowledged.
async fn submit_until_it_fails(client: &Client) -> Vec<String> {
    let callers = (0..4).map(|caller| {
        let mut client = client.clone();
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for call in 0..=CALLS {
                assert!(
                    call < CALLS,
                    "the device has failed and calls still succeed"
                );
                match submit(&mut client, &format!("{caller}/{call}")).await {
                    Ok(ids) => acknowledged.extend(ids),
                    Err(status) => {
                        let gone = [
                            Code::Unavailable,
                            Code::Unknown,
                            Code::Cancelled,
                            Code::Internal,
                        ];
                        assert!(gone.contains(&status.code()), "{status:?}");
                        break;
                    }
                }
            }
            acknowledged
        })
    });
    let mut acknowledged = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        acknowledged.extend(caller.await.unwrap());
    }
    acknowledged
}

/// Lets `call` fail for files whose path holds `part`. Answers what was called from then on.
async fn fails_once(call: &str, part: &str) -> Vec<String> {
    let home = TempDir::new().unwrap();
    let mut server = serve(home.path());
    let mut client = server.binary.client().await;
    let mut acknowledged = Vec::new();
    for number in 0..5 {
        acknowledged.extend(
            submit(&mut client, &format!("before/{number}"))
                .await
                .unwrap(),
        );
    }
    let draft = home.path().join("rule.new");
    fs::write(&draft, format!("{call} {part}\n")).unwrap();
    fs::rename(draft, &server.rule).unwrap();
    acknowledged.extend(submit_until_it_fails(&client).await);
    let (status, log) = server.binary.ended(SOON).await;
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(
        log.contains("the database failed and the process must be restarted"),
        "{log}"
    );
    assert!(log.contains("Input/output error"), "{log}");
    let calls = fs::read_to_string(&server.log).unwrap();

    fs::remove_file(&server.rule).unwrap();
    let mut again = serve(home.path());
    let mut client = again.binary.client().await;
    for ids in acknowledged.chunks(1_000) {
        let request = GetStatusRequest {
            task_ids: ids.to_vec(),
            omit_results: true,
        };
        let found = client.get_status(request).await.unwrap().into_inner();
        assert_eq!(
            found.tasks.len(),
            ids.len(),
            "missing {:?}",
            found.not_found
        );
    }
    again.binary.kill();
    calls.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_failed_sync_ends_the_process_and_is_not_tried_again() {
    let calls = fails_once("fdatasync", ".jnl").await;
    // The group's own write may be in the log, for the rule holds for the file from the sync on; no sync is.
    let syncs = calls.iter().filter(|call| call.ends_with("sync")).count();
    assert_eq!(
        (calls[0].as_str(), syncs),
        ("failed fdatasync", 1),
        "{calls:?}"
    );
}

#[tokio::test]
async fn a_failed_write_of_the_journal_ends_the_process() {
    let calls = fails_once("write", ".jnl").await;
    assert_eq!(calls[0], "failed write");
}

#[tokio::test]
async fn a_promise_that_cannot_be_written_or_synced_ends_the_process() {
    assert_eq!(fails_once("pwrite", "/acked").await[0], "failed pwrite");
    assert_eq!(
        fails_once("fdatasync", "/acked").await[0],
        "failed fdatasync"
    );
}
