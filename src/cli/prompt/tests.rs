use super::*;
use crate::proto::v1::Priority;

fn only(line: &str) -> TaskSpec {
    let mut prompts = read(line.as_bytes(), None).unwrap();
    assert_eq!(prompts.len(), 1);
    prompts.remove(0).spec
}

fn fault(line: &str) -> String {
    read(line.as_bytes(), None).unwrap_err().to_string()
}

fn prompt(spec: &TaskSpec) -> &str {
    match &spec.work {
        Some(Work::Prompt(text)) => text,
        other => panic!("not a prompt: {other:?}"),
    }
}

#[test]
fn formats_mix_line_by_line_and_lines_keep_their_numbers() {
    let input = "\u{feff}  plain, kept as it is \r\n\n{\"prompt\": \"a\\nb \"}\n[1]\n";
    let prompts = read(input.as_bytes(), None).unwrap();
    let seen: Vec<(usize, &str)> = prompts.iter().map(|p| (p.line, prompt(&p.spec))).collect();
    assert_eq!(
        seen,
        [(1, "  plain, kept as it is "), (3, "a\nb "), (4, "[1]")]
    );
}

#[test]
fn a_prompt_line_carries_its_options() {
    let spec = only(
        r#"{"prompt":"p","custom_id":"c","model":"m","priority":"high","timeout":"30s",
            "deadline":"2030-01-01T00:00:00Z","max_attempts":2,"validation_retries":0,"labels":{"k":"v"}}"#
            .replace('\n', " ")
            .as_str(),
    );
    let options = spec.options.clone().unwrap();
    assert_eq!((prompt(&spec), spec.custom_id.as_str()), ("p", "c"));
    assert_eq!(
        (options.model.as_str(), options.priority()),
        ("m", Priority::High)
    );
    assert_eq!(options.timeout.unwrap().seconds, 30);
    assert_eq!(options.deadline.unwrap().seconds, 1_893_456_000);
    assert_eq!(options.max_attempts, 2);
    assert_eq!(options.validation_retries, Some(0));
    assert_eq!(options.labels["k"], "v");
    assert_eq!(only(r#"{"prompt":"p"}"#).options, None);
}

#[test]
fn the_body_of_an_openai_batch_line_is_passed_on_byte_for_byte() {
    let body = r#"{ "model":"m",  "n" : 1e0, "messages":[], "unheard_of": {"z":1,"a":2} }"#;
    for url in [
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/completions",
        "/v1/embeddings",
        "/embeddings",
    ] {
        let spec = only(&format!(
            r#"{{"custom_id":"r1","method":"POST","url":"{url}","body":{body}}}"#
        ));
        let Some(Work::OpenaiRequest(request)) = spec.work else {
            panic!("not a request");
        };
        assert_eq!((request.path.as_str(), request.body.as_str()), (url, body));
        assert_eq!(spec.custom_id, "r1");
    }
}

#[test]
fn a_field_makes_records_of_a_data_set_prompts() {
    let input = br#"{"question":"q","answer":7}"#;
    let prompts = read(input, Some("question")).unwrap();
    assert_eq!(prompt(&prompts[0].spec), "q");
    let text = read(input, Some("prompt")).unwrap_err().to_string();
    assert_eq!(text, "line 1: has no member `prompt`");
}

#[test]
fn faults_name_line_and_member_and_never_the_text() {
    for (line, message) in [
        (
            r#"{"prompt":"secret","tmeout":"1s"}"#,
            "line 1: unknown member `tmeout`; known are prompt",
        ),
        (
            r#"{"prompt":"secret","prompt":"b"}"#,
            "line 1: member `prompt` appears twice",
        ),
        (
            r#"{"prompt":["secret"]}"#,
            "line 1: member `prompt` must be a string",
        ),
        (
            r#"{"prompt":"secret"#,
            "line 1: not a JSON object (column 17)",
        ),
        (
            r#"{"question":"secret"}"#,
            "line 1: unknown member `question`",
        ),
        (r#"{"custom_id":"c"}"#, "line 1: has no member `prompt`"),
        (
            r#"{"prompt":"secret","timeout":5}"#,
            "line 1: member `timeout` must be a string",
        ),
        (
            r#"{"prompt":"secret","timeout":"-5s"}"#,
            "line 1: member `timeout` must be a duration",
        ),
        (
            r#"{"prompt":"secret","priority":"urgent"}"#,
            "must be low, normal or high",
        ),
        (
            r#"{"prompt":"secret","max_attempts":-1}"#,
            "`max_attempts` must be a whole number",
        ),
        (
            r#"{"custom_id":"c","method":"GET","url":"/","body":{}}"#,
            "must be POST",
        ),
        (
            r#"{"custom_id":"c","method":"POST","body":{}}"#,
            "has no member `url`",
        ),
        (
            r#"{"custom_id":"c","method":"POST","url":"/","body":"secret"}"#,
            "must be a JSON object",
        ),
        (
            r#"{"body":{},"prompt":"secret"}"#,
            "unknown member `prompt` of an OpenAI Batch line",
        ),
    ] {
        let text = fault(line);
        assert!(text.contains(message), "{line}: {text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn every_faulty_line_is_named_and_too_many_are_counted() {
    let text = read(b"ok\n\xff\n{", None).unwrap_err().to_string();
    assert_eq!(
        text,
        "line 2: not UTF-8\n  line 3: not a JSON object (column 1)"
    );
    let text = fault(&"{\n".repeat(25));
    assert!(text.ends_with("and 5 more faulty lines"), "{text}");
}

#[test]
fn calls_stay_within_the_servers_limits_and_keep_the_order() {
    let small = read("p\n".repeat(2_500).as_bytes(), None).unwrap();
    let sizes: Vec<usize> = chunks(small).iter().map(Vec::len).collect();
    assert_eq!(sizes, [1_000, 1_000, 500]);
    let large = read(
        format!("{}\n", "x".repeat(1_000_000)).repeat(9).as_bytes(),
        None,
    )
    .unwrap();
    let cut = chunks(large);
    let sizes: Vec<usize> = cut.iter().map(Vec::len).collect();
    assert_eq!(sizes, [4, 4, 1]);
    let lines: Vec<usize> = cut.iter().flatten().map(|prompt| prompt.line).collect();
    assert_eq!(lines, (1..=9).collect::<Vec<_>>());
    assert!(chunks(Vec::new()).is_empty());
}
