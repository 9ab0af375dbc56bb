//! No prompt, result or key reaches a log, a metric or an error, at any level.

use std::process::{Command, Stdio};

use tidings::{
    proto::v1::{SubmitBatchRequest, TaskStatus},
    simulator::{self, Fault, Faults, Simulator, answer_to},
};

use crate::support::server::{
    Home, Kind, assert_lawful, connect, function, on_each_store, prompt, status_of, submit,
    watch_batch,
};

on_each_store! {
    nothing_secret_is_logged_even_at_trace,
}

const PROMPT: &str = "canary-prompt-7f3a";
const KEY: &str = "sk-canary-key-91bc";

async fn nothing_secret_is_logged_even_at_trace(kind: Kind) {
    let home = Home::new(kind).await;
    let echoing = format!(r#"{{"error":{{"message":"bad {PROMPT} with {KEY}","code":"{KEY}"}}}}"#);
    let faults = Faults::in_order([
        Fault::reply(400, &[], echoing.clone()),
        Fault::reply(500, &[], echoing),
        Fault::Malformed,
        Fault::Reset,
    ]);
    let config = simulator::Config {
        faults,
        ..simulator::Config::default()
    };
    let upstream = Simulator::start(config, "127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidings"))
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .args([
            "--store",
            &home.url(),
            "--upstream-url",
            &upstream.base_url(),
        ])
        .args(["--log", "trace", "--log-format", "json"])
        .env("TIDINGS_UPSTREAM_API_KEY", KEY)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    let endpoint = format!("http://{}", line.split_whitespace().nth(4).unwrap());
    let mut client = connect(&endpoint).await;

    let tasks = (0..6).map(|n| prompt(format!("{PROMPT} {n}")));
    let tasks = tasks.chain([function("debug.echo", &format!("\"{PROMPT}\""))]);
    let batch = submit(&mut client, tasks).await;
    let told = watch_batch(&mut client, &batch.batch_id).await;
    let refused = SubmitBatchRequest {
        tasks: vec![function(PROMPT, PROMPT)],
        ..SubmitBatchRequest::default()
    };
    client.submit_batch(refused).await.unwrap_err();
    child.kill().unwrap();
    child.wait().unwrap();

    assert_lawful(&told);
    let failed: Vec<_> = told
        .iter()
        .filter(|t| status_of(t) == TaskStatus::Error)
        .collect();
    assert_eq!(failed.len(), 1, "the 400 alone is final");
    let logged = std::fs::read_to_string(&log).unwrap();
    let finished = logged.lines().filter(|line| line.contains("task finished"));
    assert_eq!(finished.count(), 7, "one line for each finished task");
    assert!(
        logged
            .lines()
            .all(|l| serde_json::from_str::<serde_json::Value>(l).is_ok())
    );
    for secret in [PROMPT, KEY, &answer_to(PROMPT)] {
        assert!(!logged.contains(secret), "{secret} was logged");
    }
    for task in told {
        for error in task
            .attempts
            .iter()
            .filter_map(|a| a.error.as_ref())
            .chain(&task.error)
        {
            let error = format!("{error:?}");
            assert!(!error.contains(PROMPT) && !error.contains(KEY), "{error}");
        }
    }
}
