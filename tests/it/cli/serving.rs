use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{run, run_with_input, running::Running};

const ANY: &str = "127.0.0.1:0";
const SOON: Duration = Duration::from_secs(20);

fn serve(store: &str, more: &[&str]) -> Running {
    let arguments = [
        "serve",
        "--listen",
        ANY,
        "--admin-listen",
        ANY,
        "--store",
        store,
    ];
    Running::start(&[&arguments[..], more].concat())
}

fn directory() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = format!("embedded:{}", directory.path().display());
    (directory, store)
}

/// A server and the upstream it asks.
struct Pair {
    _upstream: Running,
    _directory: tempfile::TempDir,
    server: Running,
    endpoint: String,
}

impl Pair {
    fn start(upstream: &[&str]) -> Self {
        Self::with(upstream, &[])
    }

    /// With arguments for the server too.
    fn with(upstream: &[&str], more: &[&str]) -> Self {
        let simulate = ["simulate-upstream", "--listen", ANY];
        let upstream = Running::start(&[&simulate[..], upstream].concat());
        let (directory, store) = directory();
        let at = ["--upstream-url", upstream.word("http://")];
        let server = serve(&store, &[&at[..], more].concat());
        Pair {
            endpoint: format!("http://{}", server.word("127.0.0.1:")),
            _upstream: upstream,
            _directory: directory,
            server,
        }
    }

    /// Runs a client command; exit code and one JSON value a line.
    fn ask(&self, arguments: &[&str], input: &str) -> (i32, Vec<Value>) {
        let at = ["--endpoint", self.endpoint.as_str(), "--output", "json"];
        let (code, stdout, _) = run_with_input(&[&at[..], arguments].concat(), input);
        let objects = stdout
            .lines()
            .map(|line| serde_json::from_str(line).expect("one object a line"));
        (code, objects.collect())
    }
}

#[test]
fn prompts_go_from_a_file_through_a_server_to_a_simulated_upstream_and_back() {
    let mut pair = Pair::start(&["--fault", "500=0.2", "--fault-attempts", "1"]);
    assert!(
        pair.server
            .banner
            .starts_with("tidings is serving on 127.0.0.1:")
    );
    let submit = ["submit", "-", "--watch", "--results"];
    let (code, lines) = pair.ask(&submit, "one\n{\"prompt\":\"two\",\"custom_id\":\"c\"}\n");
    assert_eq!(code, 0, "{lines:?}");
    assert_eq!(lines.last().expect("a summary")["summary"]["completed"], 2);
    let results = lines
        .iter()
        .filter(|line| line["task"]["result"]["text"].is_string());
    assert_eq!(results.count(), 2, "{lines:?}");

    pair.server.signal("-TERM");
    let (code, rest, stderr) = pair.server.end(SOON);
    assert_eq!((code, rest.as_str()), (Some(0), ""), "{stderr}");
}

/// Lines as the OpenAI Batch API takes them.
const BATCH_LINES: &str = r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"p"}]}}
{"custom_id":"b","method":"POST","url":"/v1/responses","body":{"model":"m","input":"p","max_output_tokens":2}}
{"custom_id":"c","method":"POST","url":"/v1/completions","body":{"model":"m","prompt":"p"}}
{"custom_id":"d","method":"POST","url":"/v1/embeddings","body":{"model":"m","input":["p","q"]}}
"#;

#[test]
fn lines_of_openais_batch_api_are_answered_in_the_shape_that_each_url_has() {
    let pair = Pair::start(&[]);
    let (code, lines) = pair.ask(&["submit", "-", "--watch", "--results"], BATCH_LINES);
    assert_eq!(code, 0, "{lines:?}");
    for (custom_id, object) in [
        ("a", "chat.completion"),
        ("b", "response"),
        ("c", "text_completion"),
        ("d", "list"),
    ] {
        let body = lines.iter().find_map(|line| {
            let task = &line["task"];
            let body = task["result"]["body"].as_str()?;
            (task["custom_id"] == custom_id).then(|| body.to_owned())
        });
        let body = body.unwrap_or_else(|| panic!("no result of {custom_id}: {lines:?}"));
        let body: Value = serde_json::from_str(&body).expect("the upstream's reply");
        assert_eq!(body["object"], object);
    }
    let elsewhere = BATCH_LINES.replace("/v1/embeddings", "/v1/moderations");
    let (code, lines) = pair.ask(&["submit", "-"], &elsewhere);
    assert_eq!(code, 2, "{lines:?}");
}

#[test]
fn every_command_has_its_answer_from_a_server() {
    let pair = Pair::start(&[]);
    let (code, lines) = pair.ask(&["submit", "-", "--watch", "--label", "k=v"], "one\ntwo\n");
    assert_eq!(code, 0, "{lines:?}");
    let id = |value: &Value| value.as_str().expect("an id").to_owned();
    let (batch, task) = (id(&lines[0]["batch_id"]), id(&lines[0]["task_ids"][0]));
    let ask = |arguments: &[&str]| pair.ask(arguments, "");

    let (code, listed) = ask(&["list", "--label", "k=v", "--batch", &batch]);
    assert_eq!((code, listed.len()), (0, 2), "{listed:?}");
    let (code, shown) = ask(&["status", &task]);
    assert_eq!(
        (code, &shown[0]["status"]),
        (0, &"TASK_STATUS_COMPLETED".into())
    );
    let (code, history) = ask(&["watch", &task]);
    assert_eq!((code, history.len()), (0, 3), "{history:?}");
    let (code, outcome) = ask(&["cancel", &task]);
    assert_eq!(
        (code, &outcome[0]["result"]),
        (0, &"CANCEL_RESULT_ALREADY_TERMINAL".into())
    );
    let (code, outcome) = ask(&["retry", &task]);
    assert_eq!(
        (code, &outcome[0]["result"]),
        (0, &"RETRY_RESULT_NOT_FAILED".into())
    );
    let (code, resumed) = ask(&["resume", &batch]);
    assert_eq!((code, &resumed[0]["id"]), (0, &batch.into()));
    assert_eq!(ask(&["status", "no-id"]).0, 2);
}

#[test]
fn a_batch_with_a_budget_is_parked_at_its_end_and_resumed_with_more() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("tidings.toml");
    let prices = "model = \"m\"\n[prices.m]\ninput = 1\noutput = 1\nmax_output_tokens = 500\n";
    std::fs::write(&file, prices).expect("a file");
    let file = file.to_str().expect("a path");
    let pair = Pair::with(&[], &["--config", file]);
    let prompts = "prompt\n".repeat(40);
    let submit = ["submit", "-", "--budget", "0.001"];
    let (code, lines) = pair.ask(&submit, &prompts);
    assert_eq!(code, 0, "{lines:?}");
    let batch = lines[0]["batch_id"].as_str().expect("an id").to_owned();
    let (code, lines) = pair.ask(&["watch", &batch, "--timeout", "5s"], "");
    let mut told = lines.iter().filter_map(|line| line["progress"].as_object());
    let parked = told.next_back().expect("counters");
    assert_ne!(code, 0, "{lines:?}");
    assert_eq!(parked["parked"]["reason"], "PARK_REASON_BUDGET");
    assert_eq!(parked["budget"]["limit_nanos"], 1_000_000);

    let (code, _) = pair.ask(&["resume", &batch, "--budget", "0.0000001"], "");
    assert_ne!(code, 0);
    let (code, resumed) = pair.ask(&["resume", &batch, "--budget", "1"], "");
    let limit = &resumed[0]["progress"]["budget"]["limit_nanos"];
    assert_eq!((code, limit), (0, &1_000_000_000.into()), "{resumed:?}");
    let (code, lines) = pair.ask(&["watch", &batch], "");
    assert_eq!(code, 0, "{lines:?}");
    assert_eq!(lines.last().expect("a summary")["summary"]["completed"], 40);
    for amount in ["", "1.", ".5", "-1", "1e3", "0.0000000001"] {
        let (code, _) = pair.ask(&["submit", "-", "--budget", amount], "one\n");
        assert_eq!(code, 2, "{amount}");
    }
}

#[test]
fn a_cancelled_batch_ends_its_watch_with_1() {
    let pair = Pair::start(&["--latency", "1h"]);
    let (_, lines) = pair.ask(&["submit", "-"], "one\ntwo\n");
    let batch = lines[0]["batch_id"].as_str().expect("an id");
    let (code, outcomes) = pair.ask(&["cancel", "--batch", batch], "");
    assert_eq!((code, outcomes.len()), (0, 2), "{outcomes:?}");
    let (code, lines) = pair.ask(&["watch", batch], "");
    assert_eq!(code, 1);
    assert_eq!(lines.last().expect("a summary")["summary"]["cancelled"], 2);
}

#[test]
fn a_second_signal_does_not_wait_for_running_tasks() {
    let mut pair = Pair::start(&["--latency", "1h"]);
    pair.ask(&["submit", "-"], "one\n");
    let start = Instant::now();
    while pair
        .ask(&["list", "--status", "processing"], "")
        .1
        .is_empty()
    {
        assert!(start.elapsed() < SOON, "the task never started");
    }
    // Two kinds, because two of one kind may arrive as one.
    pair.server.signal("-TERM");
    pair.server.signal("-INT");
    let (code, _, stderr) = pair.server.end(Duration::from_secs(10));
    assert!(matches!(code, Some(130 | 143)), "{code:?} {stderr}");
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let taken = TcpListener::bind(ANY).expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let (_directory, store) = directory();
    let (code, stdout, stderr) = run(&[
        "serve",
        "--listen",
        &address,
        "--admin-listen",
        ANY,
        "--store",
        &store,
    ]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(
        stderr.contains(&address) && stderr.contains("--listen"),
        "{stderr}"
    );

    let first = serve(&store, &[]);
    assert!(first.banner.contains(&store), "{}", first.banner);
    let (code, stdout, stderr) = run(&[
        "serve",
        "--listen",
        ANY,
        "--admin-listen",
        ANY,
        "--store",
        &store,
    ]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(
        stderr.contains("error: failed to open the embedded store"),
        "{stderr}"
    );

    let (code, _, stderr) = run(&["serve", "--lease", "1ms", "--concurrency", "0"]);
    assert_eq!(code, 2);
    assert!(
        stderr.contains("the configuration has 2 faults"),
        "{stderr}"
    );
}

#[test]
fn a_simulated_upstream_ends_by_signal() {
    let mut upstream = Running::start(&["simulate-upstream", "--listen", ANY, "--latency", "1ms"]);
    assert!(upstream.banner.contains("/v1"), "{}", upstream.banner);
    upstream.signal("-INT");
    assert_eq!(upstream.end(SOON).0, Some(0));
    for fault in ["500", "999=0.1", "reset=often"] {
        assert_eq!(
            run(&["simulate-upstream", "--fault", fault]).0,
            2,
            "{fault}"
        );
    }
}

#[test]
fn a_simulated_upstreams_limits_and_faults_are_checked_before_it_starts() {
    let limits = [
        "--requests-per-minute",
        "600",
        "--window",
        "1m",
        "--charge-refused",
    ];
    let told = [
        "--rate-headers",
        "seconds",
        "--retry-after",
        "date",
        "--quota-change",
        "200s=0.5",
    ];
    let tokens = ["--tokens-per-minute", "90000", "--token-charge", "larger"];
    let faults = [
        "--fault-rule",
        "503,during=30s..90s",
        "--fault-rule",
        "429:89s,every=10",
    ];
    let mut args = vec![
        "simulate-upstream",
        "--listen",
        ANY,
        "--answer-tokens",
        "50..800",
    ];
    args.extend(limits.iter().chain(&told).chain(&tokens).chain(&faults));
    let mut upstream = Running::start(&args);
    assert!(upstream.banner.contains("/v1"), "{}", upstream.banner);
    upstream.signal("-INT");
    assert_eq!(upstream.end(SOON).0, Some(0));
    for (wrong, says) in [
        (&["--window", "1m"][..], "--requests-per-minute"),
        (
            &[
                "--requests-per-minute",
                "60",
                "--window",
                "1m",
                "--burst",
                "2s",
            ],
            "cannot be used with",
        ),
        (
            &["--requests-per-minute", "60", "--burst", "0s"],
            "a burst of 0",
        ),
        (
            &["--requests-per-minute", "60", "--quota-change", "soon"],
            "200s=0.5",
        ),
        (
            &["--requests-per-minute", "60", "--token-charge", "sum"],
            "--tokens-per-minute",
        ),
        (&["--rate-headers", "honest"], "minus-one"),
        (&["--retry-after", "90s"], "date"),
        (&["--fault-rule", "503,sometimes"], "during=TIME..TIME"),
        (&["--fault-rule", "503,every=0"], "never comes"),
        (&["--answer-tokens", "9..3"], "longer than the longest"),
    ] {
        let mut args = vec!["simulate-upstream", "--listen", ANY];
        args.extend(wrong);
        let (code, _, stderr) = run(&args);
        assert_eq!(code, 2, "{wrong:?}: {stderr}");
        assert!(stderr.contains(says), "{wrong:?}: {stderr}");
    }
}

#[test]
fn the_demo_heals_every_fault_and_ends_by_itself() {
    let (code, stdout, stderr) = run(&["--output", "json", "demo"]);
    assert_eq!(code, 0, "{stderr}");
    let value: serde_json::Value = serde_json::from_str(&stdout).expect("one object");
    let summary = &value["summary"];
    assert_eq!(summary["progress"]["completed"], 200, "{stdout}");
    assert_eq!(summary["simulated_upstream"], true);
    assert_eq!(
        summary["injected"].as_object().expect("kinds").len(),
        5,
        "{stdout}"
    );
    let retries = summary["retries"].as_u64().expect("a number");
    // Each task is queued, taken up and answered; each retry adds a way back and another start.
    assert_eq!(summary["transitions"], 600 + 2 * retries, "{stdout}");
    assert!(retries >= 5, "{stdout}");
}

#[test]
fn the_demo_takes_a_file_of_the_users_own() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("records.jsonl");
    std::fs::write(&path, "{\"question\":\"q\",\"answer\":\"a\"}\nplain\n").expect("written");
    let (code, stdout, stderr) = run(&["demo", path.to_str().expect("text")]);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains("2 tasks: 2 completed") && stdout.contains("simulated"),
        "{stdout}"
    );
    std::fs::write(&path, "{\"answer\":\"a\"}\n").expect("written");
    let (code, _, stderr) = run(&["demo", path.to_str().expect("text")]);
    assert_eq!(code, 2);
    assert!(
        stderr.contains("line 1: unknown member `answer`"),
        "{stderr}"
    );
}

#[test]
fn the_log_says_what_keeps_tasks_from_running() {
    let (_directory, store) = directory();
    let mut server = serve(&store, &[]);
    server.signal("-TERM");
    let (_, _, log) = server.end(SOON);
    assert!(log.contains("no API key is set"), "{log}");

    let mut pair = Pair::start(&["--fault", "insufficient-quota=1"]);
    let (code, _) = pair.ask(&["submit", "-"], "never in a log\n");
    assert_eq!(code, 0);
    let start = Instant::now();
    while pair.ask(&["list"], "").1[0]["wait_reason"] != "WAIT_REASON_PARKED" {
        assert!(start.elapsed() < SOON, "the batch is not parked");
    }
    pair.server.signal("-TERM");
    let (_, _, log) = pair.server.end(SOON);
    let told = log.lines().find(|line| line.contains("batch parked"));
    assert!(
        told.is_some_and(|line| line.contains("QuotaExhausted")),
        "{log}"
    );
    assert!(
        !log.contains("no API key") && !log.contains("never in a log"),
        "{log}"
    );
}
