use serde_json::json;

use super::*;

fn request(path: &str, body: &Value) -> Work {
    Work::Request {
        path: path.to_owned(),
        body: body.to_string(),
    }
}

fn person() -> Schema {
    Schema::new(json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": "^[A-Z]"},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
        },
        "required": ["name"],
        "additionalProperties": {"type": "integer"},
        "$defs": {"tag": {"enum": ["a", "b"]}},
    }))
    .unwrap()
}

fn told(schema: &Schema, text: &str) -> String {
    match schema.check(text) {
        Ok(()) => String::new(),
        Err(misfit) => misfit.to_string(),
    }
}

#[test]
fn a_schema_is_found_where_requests_of_its_kind_state_it() {
    let schema = json!({"type": "object"});
    let chat =
        json!({"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}});
    let response = json!({"text": {"format": {"type": "json_schema", "schema": schema}}});
    for (path, body, is_found) in [
        ("/chat/completions", &chat, true),
        ("/responses", &response, true),
        ("/chat/completions", &response, false),
        ("/responses", &chat, false),
        ("/completions", &chat, false),
        ("/embeddings", &response, false),
        (
            "/chat/completions",
            &json!({"response_format": {"type": "json_object"}}),
            false,
        ),
        ("/chat/completions", &json!([]), false),
    ] {
        let found = Schema::stated(&request(path, body));
        assert_eq!(found.is_some(), is_found, "{path} {body}");
        assert!(found.is_none_or(|found| found == schema), "{path} {body}");
    }
    let prompt = Work::Prompt {
        text: chat.to_string(),
    };
    assert_eq!(Schema::stated(&prompt), None);
}

#[test]
fn what_is_no_schema_or_refers_elsewhere_is_refused() {
    for (stated, place) in [
        (json!({"type": 12}), "at /type"),
        (
            json!({"properties": {"a": {"minLength": -1}}}),
            "at /properties/a/minLength",
        ),
        (json!({"pattern": "("}), "at /pattern"),
        (json!({"pattern": "(?=a)"}), "at /pattern"),
        (json!({"$ref": "https://example.com/schema.json"}), ""),
        (json!({"$ref": "file:///etc/hostname"}), ""),
        (json!({"$ref": "#/$defs/missing"}), ""),
        (json!("text"), "at the top"),
        (json!(null), "at the top"),
    ] {
        let misfit = Schema::new(stated.clone()).expect_err(&stated.to_string());
        assert!(misfit.to_string().contains(place), "{stated}: {misfit}");
    }
    for stated in [json!({}), json!(true), json!({"unknown": 1})] {
        assert!(Schema::new(stated.clone()).is_ok(), "{stated}");
    }
}

#[test]
fn an_answer_fits_or_is_told_where_it_does_not() {
    for (text, expected) in [
        (r#"{"name":"Ada","tags":["a","b"]}"#, ""),
        (" {\"name\":\"Ada\"}\n", ""),
        ("", "it is not JSON"),
        ("```json\n{\"name\":\"Ada\"}\n```", "it is not JSON"),
        (r#"{"name":"Ada"} Anything else?"#, "it is not JSON"),
        ("[]", "`type` does not hold at the top"),
        ("{}", "`required` does not hold at the top"),
        (r#"{"name":"ada"}"#, "`pattern` does not hold at /name"),
        (
            r#"{"name":"Ada","tags":["a","c"]}"#,
            "`enum` does not hold at /tags/1",
        ),
    ] {
        assert_eq!(told(&person(), text), expected, "{text}");
    }
}

#[test]
fn nothing_of_the_answer_is_told_but_names_that_the_schema_has() {
    let text = r#"{"name":"Ada","hunter2":"x"}"#;
    assert_eq!(told(&person(), text), "`type` does not hold at /*");
    let text = r#"{"name":"Ada","4155550100":"x"}"#;
    assert_eq!(told(&person(), text), "`type` does not hold at /*");
    let deep = json!({"properties": {"n".repeat(500): {"type": "string"}}});
    let text = json!({"n".repeat(500): 1}).to_string();
    assert!(told(&Schema::new(deep).unwrap(), &text).len() < 300);
}
