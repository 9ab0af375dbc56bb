use super::*;

const PRICE: Price = Price {
    input: 1_000_000,
    cached_input: 500_000,
    output: 4_000_000,
    max_output_tokens: None,
};

fn request(path: &str, body: &str) -> Work {
    Work::Request {
        path: path.into(),
        body: body.into(),
    }
}

/// Input and output tokens of a chat.
fn chat(body: &str) -> Result<(u64, u64), String> {
    let work = request("/chat/completions", body);
    bound(&work, "m", &PRICE).map(|bound| (bound.input - body.len() as u64, bound.output))
}

#[test]
fn the_output_is_bounded_by_whatever_the_body_says() {
    for name in OUTPUT_BOUNDS {
        let body = format!(r#"{{"{name}":7}}"#);
        assert_eq!(chat(&body), Ok((HIDDEN, 7)));
    }
    let both = r#"{"max_tokens":7,"max_completion_tokens":9,"n":3}"#;
    assert_eq!(chat(both), Ok((HIDDEN, 27)));
    let tools = r#"{"max_tokens":7,"tools":[{"type":"function"}]}"#;
    assert_eq!(chat(tools), Ok((HIDDEN_WITH_TOOLS, 7)));
    let predicted = r#"{"max_tokens":7,"prediction":{"content":"x"}}"#;
    assert_eq!(chat(predicted), Ok((HIDDEN, 7 + predicted.len() as u64)));
}

#[test]
fn an_output_without_a_bound_is_refused_unless_the_price_has_one_or_it_is_free() {
    let fault = chat("{}").unwrap_err();
    assert!(fault.contains("[prices.\"m\"]"), "{fault}");
    assert!(chat(r#"{"max_tokens":null}"#).is_err());
    let text = "héllo".to_owned();
    let prompt = Work::Prompt { text };
    let bounded = Price {
        max_output_tokens: Some(50),
        ..PRICE
    };
    let bound_of = |price| bound(&prompt, "m", price).map(|it| (it.input, it.output));
    assert_eq!(bound_of(&bounded), Ok((6 + HIDDEN, 50)));
    assert!(bound_of(&PRICE).is_err());
    let free = Price { output: 0, ..PRICE };
    assert_eq!(bound_of(&free), Ok((6 + HIDDEN, 0)));
}

#[test]
fn embeddings_put_nothing_out_and_completions_answer_each_prompt() {
    let embeddings = request("/embeddings", r#"{"input":"a"}"#);
    assert_eq!(bound(&embeddings, "m", &PRICE).unwrap().output, 0);
    let prompts = r#"{"prompt":["a","b"],"max_tokens":5,"n":2}"#;
    let completions = request("/completions", prompts);
    assert_eq!(bound(&completions, "m", &PRICE).unwrap().output, 20);
    let tokens = request("/completions", r#"{"prompt":[1,2,3],"max_tokens":5}"#);
    assert_eq!(bound(&tokens, "m", &PRICE).unwrap().output, 5);
}

#[test]
fn what_bytes_do_not_bound_is_refused_by_name() {
    for (name, body) in [
        (
            "messages",
            r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"u"}}]}]}"#,
        ),
        (
            "input",
            r#"{"input":[{"content":[{"type":"input_file","file_id":"f"}]}]}"#,
        ),
        (
            "tools",
            r#"{"tools":[{"type":"function"},{"type":"web_search"}]}"#,
        ),
        ("prompt", r#"{"prompt":{"id":"p"}}"#),
        ("previous_response_id", r#"{"previous_response_id":"r"}"#),
    ] {
        let fault = chat(body).unwrap_err();
        assert!(fault.contains(&format!("`{name}`")), "{fault}");
    }
    let plain =
        r#"{"messages":[{"role":"user","content":"type: image"}],"audio":null,"max_tokens":1}"#;
    assert!(chat(plain).is_ok());
}

#[test]
fn money_is_told_to_the_millionth() {
    assert_eq!(money(1_234_567_890), "1.234567");
    assert_eq!(money(5_000), "0.000005");
}
