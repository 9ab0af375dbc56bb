use super::{ended, run, run_with_input, tidings};

#[test]
fn wrong_usage_ends_with_2_and_help_with_0() {
    assert_eq!(run(&["--help"]).0, 0);
    for arguments in [
        &["frobnicate"][..],
        &["status"],
        &["cancel"],
        &["cancel", "a", "--batch", "b"],
        &["retry"],
        &["list", "--status", "done"],
        &["list", "--label", "no-equals-sign"],
        &["submit", "-", "--results"],
        &["config", "check", "--endpoint", "http://h:1"],
        &["list", "--endpoint", "localhost:50051"],
        &["list", "--endpoint", "https://localhost:50051"],
    ] {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

#[test]
fn a_variable_that_no_command_knows_is_fatal_for_clients_too() {
    let output = tidings(&["list"])
        .env("TIDINGS_ENDPONT", "http://127.0.0.1:1")
        .output()
        .expect("the binary runs");
    let (code, _, stderr) = ended(&output);
    assert_eq!(code, 2);
    assert!(
        stderr.contains("did you mean `TIDINGS_ENDPOINT`?"),
        "{stderr}"
    );
}

#[test]
fn faulty_lines_are_named_before_the_server_is_asked_for() {
    let input = "fine\n{\"prompt\": \"secret\", \"modle\": \"m\"}\n{\n";
    let (code, stdout, stderr) = run_with_input(&["submit", "-"], input);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(
        stderr.contains("line 2: unknown member `modle`"),
        "{stderr}"
    );
    assert!(stderr.contains("line 3: not a JSON object"), "{stderr}");
    assert!(!stderr.contains("secret"), "{stderr}");
    let (code, _, stderr) = run_with_input(&["submit", "-"], "\n \n");
    assert_eq!(code, 2);
    assert!(
        stderr.contains("standard input holds no prompts"),
        "{stderr}"
    );
    let (code, _, stderr) = run(&["submit", "/nonexistent/prompts.jsonl"]);
    assert_eq!(code, 2);
    assert!(
        stderr.contains("cannot read /nonexistent/prompts.jsonl"),
        "{stderr}"
    );
}
