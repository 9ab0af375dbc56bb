use std::num::NonZeroU64;

use secrecy::ExposeSecret as _;

use super::*;
use crate::upstream::{Models, Style};

/// The messages that this file and these variables cause.
fn faults(text: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    let file = file(text);
    let faults = Config::load(&with_file(file.path()), &variables(pairs)).unwrap_err();
    let file = format!("{}: ", file.path().display());
    faults
        .iter()
        .map(|fault| format!("{}: {}", fault.origin, fault.message).replace(&file, ""))
        .collect()
}

#[test]
fn endpoints_are_read_with_their_keys_prices_and_models() {
    let (first, second) = (file("key-a\n"), file("key-b"));
    let text = format!(
        "[[upstream.endpoints]]\nname = 'eu'\nurl = 'https://eu/openai/deployments/d?api-version=1'\n\
         api_key_file = ['{}', '{}']\napi_key_env = 'AZURE_KEY'\nstyle = 'azure'\nprice = 0.5\n\
         requests_per_minute = 600\ntokens_per_minute = 'auto'\nadaptive_concurrency = true\n\
         models = {{ 'gpt-4o' = 'd' }}\n\
         [[upstream.endpoints]]\nurl = 'http://127.0.0.1:8000/v1'\nprice = 2\nmodels = ['llama', 'gpt-4o']\n\
         [[upstream.endpoints]]\nurl = 'http://127.0.0.1:8001/v1'\n",
        first.path().display(),
        second.path().display(),
    );
    let file = file(&text);
    let variables = variables(&[("AZURE_KEY", "key-c"), ("OPENAI_API_KEY", "not-for-these")]);
    let config = Config::load(&with_file(file.path()), &variables).unwrap();
    let [eu, local, any] = config.endpoints.as_slice() else {
        panic!("{:?}", config.endpoints);
    };
    let keys: Vec<&str> = eu.keys.iter().map(|key| key.expose_secret()).collect();
    assert_eq!(keys, ["key-a", "key-b", "key-c"]);
    assert_eq!(
        (eu.name.as_str(), eu.style, eu.price),
        ("eu", Style::Azure, 0.5)
    );
    assert_eq!(eu.models.name_of("gpt-4o"), Some("d"));
    assert_eq!(eu.requests_per_minute, NonZeroU64::new(600));
    assert_eq!(eu.tokens_per_minute, None);
    assert_eq!(
        (eu.adaptive_concurrency, any.adaptive_concurrency),
        (true, false)
    );
    assert_eq!(local.name, "endpoint-2");
    assert_eq!(
        (local.style, local.price, local.keys.len()),
        (Style::OpenAi, 2.0, 0)
    );
    assert_eq!(local.models.name_of("llama"), Some("llama"));
    assert_eq!(local.models.name_of("mistral"), None);
    assert_eq!((&any.models, any.price), (&Models::Any, 1.0));

    let shown = config.to_string();
    assert!(
        shown.contains(
            "upstream.endpoints = eu https://eu/openai/deployments/d?… (azure, 3 keys, requests_per_minute 600, \
             tokens_per_minute auto, adaptive_concurrency true, price 0.5, models gpt-4o = d); \
             endpoint-2 http://127.0.0.1:8000/v1 (openai, no key, requests_per_minute auto, tokens_per_minute auto, \
             adaptive_concurrency false, price 2, models gpt-4o llama); \
             endpoint-3 http://127.0.0.1:8001/v1 (openai, no key, requests_per_minute auto, tokens_per_minute auto, \
             adaptive_concurrency false, price 1, any model)\n"
        ),
        "{shown}"
    );
    assert!(!shown.contains("upstream.url"), "{shown}");
    assert!(!format!("{shown} {config:?}").contains("key-"));
    assert_eq!(
        config.shown_upstream(),
        "eu https://eu/openai/deployments/d?…, endpoint-2 http://127.0.0.1:8000/v1, \
         endpoint-3 http://127.0.0.1:8001/v1"
    );
}

#[test]
fn every_fault_of_every_endpoint_is_named_at_once() {
    let text = "[[upstream.endpoints]]\nname = 'a b'\nurl = 'ftp://h'\nurll = 1\napi_key = 'sk-secret'\n\
                [[upstream.endpoints]]\nprice = -1\nstyle = 'aws'\nmodels = []\n\
                requests_per_minute = 0\ntokens_per_minute = 'many'\nadaptive_concurrency = 1\n\
                api_key_file = '/nonexistent/key'\napi_key_env = ['UNSET', 'TIDINGS_KEY', 'TWO_WORDS']";
    let faults = faults(text, &[("TWO_WORDS", "sk secret")]);
    let expected = [
        "upstream.endpoints[0].api_key: no such key; the key itself never stands here: set `api_key_file` or `api_key_env`",
        "upstream.endpoints[0].urll: no such key; did you mean `url`?",
        "upstream.endpoints[0].name: `a b` is not a name",
        "upstream.endpoints[0].url: is neither http:// nor https://",
        "upstream.endpoints[1].url: is missing",
        "upstream.endpoints[1].api_key_file: cannot read /nonexistent/key",
        "upstream.endpoints[1].api_key_env: the variable `UNSET` is not set",
        "upstream.endpoints[1].api_key_env: `TIDINGS_KEY` begins with TIDINGS_",
        "TWO_WORDS: the key holds a space",
        "upstream.endpoints[1].requests_per_minute: `0` is not a whole number from 1 to 1000000000000, and not auto",
        "upstream.endpoints[1].tokens_per_minute: `many` is not a whole number from 1",
        "upstream.endpoints[1].adaptive_concurrency: a integer is no value for this key",
        "upstream.endpoints[1].style: `aws` is neither openai nor azure",
        "upstream.endpoints[1].price: is not a number from 0 up",
        "upstream.endpoints[1].models: names no models",
    ];
    for part in expected {
        let found = faults.iter().any(|fault| fault.starts_with(part));
        assert!(found, "{part} is missing in {faults:#?}");
    }
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    assert!(!faults.concat().contains("secret"));
}

#[test]
fn one_server_and_several_are_not_said_together() {
    let text = "[upstream]\nurl = 'http://h/v1'\ntokens_per_minute = 9\n\
                [[upstream.endpoints]]\nurl = 'http://g/v1'";
    assert_eq!(
        faults(text, &[("TIDINGS_UPSTREAM_API_KEY", "k")]),
        [
            "upstream.url: says the same as [[upstream.endpoints]] does; leave one of them out",
            "upstream.tokens_per_minute: holds for no endpoint; write it into those of [[upstream.endpoints]] that it is for",
            "TIDINGS_UPSTREAM_API_KEY: no endpoint uses it; name it in `api_key_env` of one, or unset it",
        ]
    );
    let text =
        "[[upstream.endpoints]]\nurl = 'http://g/v1'\napi_key_env = 'TIDINGS_UPSTREAM_API_KEY'";
    let file = file(text);
    let variables = variables(&[("TIDINGS_UPSTREAM_API_KEY", "k")]);
    let config = Config::load(&with_file(file.path()), &variables).unwrap();
    assert_eq!(config.endpoints[0].keys.len(), 1);
}

#[test]
fn endpoints_are_a_list_of_tables_with_names_of_their_own() {
    for text in [
        "[upstream]\nendpoints = []",
        "[upstream]\nendpoints = ['http://h/v1']",
        "[upstream.endpoints]\nurl = 'http://h/v1'",
    ] {
        let faults = faults(text, &[]);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains("is no list of tables"), "{faults:?}");
    }
    let twin = "[[upstream.endpoints]]\nname = 'a'\nurl = 'http://h/v1'\n";
    let faults = faults(&twin.repeat(2), &[]);
    assert_eq!(
        faults,
        ["upstream.endpoints: two endpoints have the name `a`"]
    );
    let text = from_file("[[upstream.endpoint]]\nurl = 'http://h/v1'")
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("did you mean `upstream.endpoints`?"),
        "{text}"
    );
}
