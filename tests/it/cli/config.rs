use super::{ended, run, tidings};

#[test]
fn a_sound_configuration_is_shown_without_its_secrets() {
    let output = tidings(&["config", "check", "--store", "redis://:hunter2@h:6379/0"])
        .env("TIDINGS_UPSTREAM_API_KEY", "hunter2")
        .output()
        .expect("the binary runs");
    let (code, stdout, stderr) = ended(&output);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("upstream.api_key = set"), "{stdout}");
    assert!(stdout.contains("store = redis://h:6379/0"), "{stdout}");
    assert!(!stdout.contains("hunter2") && !stderr.contains("hunter2"));
}

#[test]
fn every_fault_is_said_at_once_with_exit_code_2() {
    let output = tidings(&["config", "check", "--lease", "10ms"])
        .env("TIDINGS_CONCURENCY", "5")
        .env("TIDINGS_STORE", "redis+sentinel://a:1")
        .output()
        .expect("the binary runs");
    let (code, stdout, stderr) = ended(&output);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(
        stderr.contains("the configuration has 3 faults"),
        "{stderr}"
    );
    assert!(
        stderr.contains("did you mean `TIDINGS_CONCURRENCY`?"),
        "{stderr}"
    );
    assert!(stderr.contains("--lease: `10ms` is too short"), "{stderr}");
    assert!(
        stderr.contains("names no master; write redis://"),
        "{stderr}"
    );
}

#[test]
fn scripts_get_one_json_object() {
    let (code, stdout, _) = run(&["--output", "json", "config", "check"]);
    let value: serde_json::Value = serde_json::from_str(&stdout).expect("one object");
    assert_eq!((code, &value["lease"]), (0, &"15s".into()));
}
