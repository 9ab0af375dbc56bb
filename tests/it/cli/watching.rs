use std::{
    collections::{HashMap, VecDeque},
    io::{BufRead as _, BufReader},
    process::Stdio,
    time::Duration,
};

use tidings::proto::v1::{
    self, BatchProgress, Task, TaskStatus, WatchBatchResponse, WatchTaskResponse,
    watch_batch_response, watch_task_response,
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{
    run, run_with_input,
    scripted::{Script, Scripted},
    tidings,
};

fn task(status: TaskStatus, revision: u64) -> Task {
    Task {
        id: "the-task".to_owned(),
        status: status.into(),
        revision,
        ..Task::default()
    }
}

fn of_batch(token: &str, event: watch_batch_response::Event) -> Result<WatchBatchResponse, Status> {
    Ok(WatchBatchResponse {
        event: Some(event),
        resume_token: token.to_owned(),
        reset: false,
    })
}

fn of_task(status: TaskStatus, revision: u64) -> Result<WatchTaskResponse, Status> {
    Ok(WatchTaskResponse {
        event: Some(watch_task_response::Event::Task(task(status, revision))),
        reset: false,
    })
}

/// An end of all tasks of a batch.
fn done(token: &str, completed: u64, error: u64) -> Result<WatchBatchResponse, Status> {
    of_batch(
        token,
        watch_batch_response::Event::Progress(BatchProgress {
            total: completed + error,
            completed,
            error,
            done: true,
            ..BatchProgress::default()
        }),
    )
}

fn soon() -> Status {
    let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(1)));
    Status::with_error_details(Code::Unavailable, "going away", details)
}

#[test]
fn a_broken_batch_stream_goes_on_after_the_last_token() {
    let transition = |status, revision| watch_batch_response::Event::Task(task(status, revision));
    let server = Scripted::start(Script {
        batches: VecDeque::from([
            vec![
                of_batch("t1", transition(TaskStatus::Queued, 1)),
                Err(soon()),
            ],
            vec![
                of_batch("t2", transition(TaskStatus::Processing, 2)),
                Err(Status::internal("hm")),
            ],
            vec![
                of_batch("t3", transition(TaskStatus::Completed, 3)),
                done("t4", 1, 0),
            ],
        ]),
        ..Script::default()
    });
    let arguments = [
        "--output",
        "json",
        "--endpoint",
        &server.endpoint,
        "watch",
        "the-batch",
    ];
    let (code, stdout, stderr) = run(&arguments);
    assert_eq!(code, 0, "{stderr}");
    let lines: Vec<serde_json::Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect();
    let revisions: Vec<u64> = lines
        .iter()
        .filter_map(|line| line["task"]["revision"].as_u64())
        .collect();
    assert_eq!(revisions, [1, 2, 3]);
    assert_eq!(lines.last().expect("a summary")["summary"]["completed"], 1);
    assert_eq!(
        server.script.lock().expect("not poisoned").tokens,
        ["", "t1", "t2"]
    );
}

#[test]
fn an_id_that_is_no_batch_is_watched_as_a_task_and_resumed_by_revision() {
    let server = Scripted::start(Script {
        tasks: VecDeque::from([
            vec![
                of_task(TaskStatus::Queued, 1),
                of_task(TaskStatus::Processing, 2),
                Err(soon()),
            ],
            vec![of_task(TaskStatus::Completed, 3)],
        ]),
        ..Script::default()
    });
    let (code, stdout, stderr) = run(&["--endpoint", &server.endpoint, "watch", "the-task"]);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stdout.lines().count(), 3, "{stdout}");
    assert!(
        stdout.contains("completed") && !stdout.contains('\u{1b}'),
        "{stdout}"
    );
    assert_eq!(
        server.script.lock().expect("not poisoned").revisions,
        [0, 2]
    );

    let (code, _, stderr) = run(&["--endpoint", &server.endpoint, "watch", "nothing"]);
    assert_eq!(code, 2);
    assert!(
        stderr.contains("no batch and no task has the id nothing"),
        "{stderr}"
    );
}

fn of_output(attempt: u32, offset: u64, text: &str) -> Result<WatchTaskResponse, Status> {
    let delta = v1::OutputDelta {
        task_id: "the-task".to_owned(),
        text: text.to_owned(),
        attempt,
        offset,
    };
    Ok(WatchTaskResponse {
        event: Some(watch_task_response::Event::Delta(delta)),
        reset: false,
    })
}

#[test]
fn output_is_printed_as_it_comes_and_once() {
    let completed = Task {
        attempt: 2,
        result: Some(v1::TaskResult {
            text: "new\u{1b} words".to_owned(),
            ..v1::TaskResult::default()
        }),
        ..task(TaskStatus::Completed, 5)
    };
    let script = || Script {
        tasks: VecDeque::from([
            vec![
                of_task(TaskStatus::Processing, 2),
                of_output(1, 0, "old"),
                Err(soon()),
            ],
            vec![
                of_output(1, 0, "older"),
                of_task(TaskStatus::Queued, 3),
                of_task(TaskStatus::Processing, 4),
                of_output(2, 0, "new\u{1b} "),
                Ok(WatchTaskResponse {
                    event: Some(watch_task_response::Event::Task(completed.clone())),
                    reset: false,
                }),
            ],
        ]),
        ..Script::default()
    };
    let server = Scripted::start(script());
    let watch = ["--endpoint", &server.endpoint, "watch", "--deltas", "x"];
    let (code, stdout, stderr) = run(&watch);
    assert_eq!(code, 0, "{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.len(), 6, "{stdout}");
    assert_eq!((lines[1], lines[4]), ("older", "new\u{fffd} words"));
    assert_eq!(
        server.script.lock().expect("not poisoned").revisions,
        [0, 2]
    );

    let server = Scripted::start(script());
    let endpoint = &server.endpoint;
    let json = ["--output", "json", "--endpoint", endpoint, "watch", "x"];
    let (_, stdout, _) = run(&[&json[..], &["--deltas"]].concat());
    let told: Vec<serde_json::Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect();
    let texts: Vec<&str> = told
        .iter()
        .filter_map(|line| line["delta"]["text"].as_str())
        .collect();
    assert_eq!(texts, ["old", "er", "new\u{1b} ", "words"]);
    assert_eq!(told[1]["delta"]["attempt"], 1);

    let (code, _, stderr) = run(&["--endpoint", endpoint, "watch", "--deltas", "nothing"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("no task has the id nothing"), "{stderr}");
}

#[test]
fn a_reset_is_told_before_the_truth_and_the_end_of_age_is_no_news() {
    let aged = || {
        let mut details = ErrorDetails::with_retry_info(Some(Duration::from_millis(1)));
        details.set_error_info(
            "STREAM_AGE",
            "tidings.dev",
            HashMap::<String, String>::new(),
        );
        Status::with_error_details(Code::Unavailable, "lived its time", details)
    };
    let truth = WatchTaskResponse {
        reset: true,
        ..of_task(TaskStatus::Queued, 1).expect("a message")
    };
    let script = || Script {
        tasks: VecDeque::from([
            vec![
                of_task(TaskStatus::Queued, 1),
                of_task(TaskStatus::Processing, 2),
                Err(aged()),
            ],
            vec![Ok(truth.clone()), of_task(TaskStatus::Completed, 2)],
        ]),
        ..Script::default()
    };
    let server = Scripted::start(script());
    let (code, stdout, stderr) = run(&["--endpoint", &server.endpoint, "watch", "the-task"]);
    assert_eq!((code, stdout.lines().count()), (0, 4), "{stderr}");
    assert!(stderr.contains("the store lost writes"), "{stderr}");
    assert!(!stderr.contains("lost the stream"), "{stderr}");

    let server = Scripted::start(script());
    let watch = [
        "--output",
        "json",
        "--endpoint",
        &server.endpoint,
        "watch",
        "x",
    ];
    let (_, stdout, _) = run(&watch);
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!((lines.len(), lines[2]), (5, "{\"reset\":true}"), "{stdout}");
}

#[test]
fn a_failed_task_ends_a_watch_with_1() {
    let server = Scripted::start(Script {
        batches: VecDeque::from([vec![done("t", 1, 1)]]),
        tasks: VecDeque::from([vec![of_task(TaskStatus::Error, 3)]]),
        ..Script::default()
    });
    let watch = ["--endpoint", &server.endpoint, "watch", "x"];
    let (code, stdout, _) = run(&watch);
    assert_eq!(
        (code, stdout.as_str()),
        (1, "2 tasks: 1 completed, 1 error\n")
    );
    assert_eq!(run(&watch).0, 1, "the second time it is a task");
}

#[test]
fn a_timeout_ends_with_4_on_an_open_stream_and_with_3_without_a_server() {
    let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(60)));
    let away = Status::with_error_details(Code::Unavailable, "store away", details);
    let server = Scripted::start(Script {
        tasks: VecDeque::from([vec![of_task(TaskStatus::Queued, 1)], vec![Err(away)]]),
        endless: true,
        ..Script::default()
    });
    let watch = [
        "--endpoint",
        &server.endpoint,
        "watch",
        "x",
        "--timeout",
        "500ms",
    ];
    let (code, stdout, stderr) = run(&watch);
    assert_eq!((code, stdout.lines().count()), (4, 1), "{stderr}");
    assert!(
        stderr.contains("follow it again with `tidings watch x`"),
        "{stderr}"
    );
    let (code, _, stderr) = run(&watch);
    assert_eq!(code, 3);
    assert!(stderr.contains("lost the stream (store away)"), "{stderr}");
}

#[test]
fn a_submit_is_repeated_with_its_key_and_cut_into_calls() {
    let server = Scripted::start(Script {
        submits: VecDeque::from([None, Some(soon()), None, None]),
        batches: VecDeque::from([vec![done("t", 2_500, 0)]]),
        ..Script::default()
    });
    let arguments = [
        "--endpoint",
        &server.endpoint,
        "submit",
        "-",
        "--watch",
        "--label",
        "k=v",
        "--priority",
        "high",
    ];
    let (code, stdout, stderr) = run_with_input(&arguments, &"prompt\n".repeat(2_500));
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stdout, "the-batch\n2500 tasks: 2500 completed\n");
    let script = server.script.lock().expect("not poisoned");
    let calls = &script.submitted;
    let sizes: Vec<usize> = calls.iter().map(|call| call.tasks.len()).collect();
    assert_eq!(sizes, [1_000, 1_000, 1_000, 500]);
    assert_eq!(calls[1], calls[2], "the repeated call is the same call");
    let keys: Vec<&str> = calls
        .iter()
        .map(|call| call.idempotency_key.as_str())
        .collect();
    assert!(keys[0] != keys[1] && keys[1] != keys[3], "{keys:?}");
    let open: Vec<bool> = calls.iter().map(|call| call.keep_open).collect();
    assert_eq!(open, [true, true, true, false]);
    let batches: Vec<&str> = calls.iter().map(|call| call.batch_id.as_str()).collect();
    assert_eq!(batches, ["", "the-batch", "the-batch", "the-batch"]);
    let options = calls[0].options.as_ref().expect("options");
    assert_eq!(options.priority(), v1::Priority::High);
    assert_eq!(options.labels["k"], "v");
}

#[test]
fn a_refused_submit_names_the_line_and_leaves_no_debug_dump() {
    let mut details = ErrorDetails::new();
    details.add_bad_request_violation("tasks[1].prompt", "must not be empty");
    let refusal = Status::with_error_details(Code::InvalidArgument, "1 field is wrong", details);
    let server = Scripted::start(Script {
        submits: VecDeque::from([Some(refusal)]),
        ..Script::default()
    });
    let arguments = ["--endpoint", &server.endpoint, "submit", "-"];
    let (code, stdout, stderr) = run_with_input(&arguments, "a\n\n{\"prompt\":\"\"}\n");
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert_eq!(
        stderr,
        "error: failed to submit: 1 field is wrong\n  tasks[1].prompt: must not be empty\n  \
         tasks[1] is line 3 of the input\n"
    );
}

#[test]
fn an_unknown_id_ends_a_status_with_2() {
    let server = Scripted::start(Script::default());
    let (code, stdout, _) = run(&["--endpoint", &server.endpoint, "status", "x"]);
    assert_eq!((code, stdout.as_str()), (2, "x  not found\n"));
}

#[test]
fn a_list_pages_up_to_its_limit() {
    let server = Scripted::start(Script {
        listed: 2_500,
        ..Script::default()
    });
    let list = [
        "--endpoint",
        &server.endpoint,
        "--output",
        "json",
        "list",
        "--limit",
    ];
    let count = |limit| {
        let (code, stdout, stderr) = run(&[&list[..], &[limit]].concat());
        assert_eq!(code, 0, "{stderr}");
        stdout.lines().count()
    };
    assert_eq!((count("0"), count("1001"), count("7")), (2_500, 1_001, 7));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let server = Scripted::start(Script {
        listed: 100_000,
        ..Script::default()
    });
    let mut child = tidings(&["--endpoint", &server.endpoint, "list", "--limit", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let mut first = String::new();
    stdout.read_line(&mut first).expect("a line");
    drop(stdout);
    let output = child.wait_with_output().expect("the binary ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
