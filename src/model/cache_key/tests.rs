use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn key(body: &str) -> Option<CacheKey> {
    CacheKey::of("default", Kind::Chat, body.as_bytes())
}

#[track_caller]
fn assert_equal(one: &str, other: &str) {
    assert!(key(one).is_some());
    assert_eq!(key(one), key(other), "{one} and {other}");
}

#[track_caller]
fn assert_apart(one: &str, other: &str) {
    assert!(key(one).is_some() && key(other).is_some());
    assert_ne!(key(one), key(other), "{one} and {other}");
}

#[test]
fn order_white_space_and_spelling_make_no_difference() {
    assert_equal(
        r#"{"a":1,"b":[true,null]}"#,
        " { \"b\" : [ true , null ] ,\n\"a\":1 } ",
    );
    assert_equal(r#"{"a":{"x":1,"y":2}}"#, r#"{"a":{"y":2,"x":1}}"#);
    for zero in ["0.0", "0e5", "-0", "-0.0", "0.000"] {
        assert_equal(r#"{"t":0}"#, &format!(r#"{{"t":{zero}}}"#));
    }
    assert_equal(r#"{"t":0.5}"#, r#"{"t":5e-1}"#);
    assert_equal(r#"{"t":100}"#, r#"{"t":1e2}"#);
    assert_equal(r#"{"s":"é\n/"}"#, r#"{"s":"\u00e9\u000a\/"}"#);
}

#[test]
fn whatever_may_change_the_answer_makes_a_difference() {
    let plain = r#"{"model":"m","messages":[{"role":"user","content":"p"}]}"#;
    for other in [
        r#"{"model":"n","messages":[{"role":"user","content":"p"}]}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"p "}]}"#,
        r#"{"model":"m","messages":[{"role":"system","content":"p"}]}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"p","user":"u"}]}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"p"}],"temperature":0}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"p"}],"seed":1}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"p"}],"tools":[]}"#,
        r#"{"model":"m","messages":[{"role":"user","content":"p"}],"unheard_of":null}"#,
    ] {
        assert_apart(plain, other);
    }
    assert_apart(r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#);
    assert_apart(r#"{"a":"1"}"#, r#"{"a":1}"#);
    assert_apart(r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#);
    assert_apart(r#"{"a":1,"a":2}"#, r#"{"a":2}"#);
    assert_apart(r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#);
    assert_apart(r#"{"a":0.1}"#, r#"{"a":0.10000001}"#);
}

#[test]
fn what_only_says_how_to_deliver_or_whom_to_bill_makes_none() {
    for name in LEFT_OUT {
        assert_equal(r#"{"a":1}"#, &format!(r#"{{"{name}":"x","a":1}}"#));
    }
}

#[test]
fn tenants_and_kinds_are_kept_apart() {
    let body = br#"{"a":1}"#;
    let mine = CacheKey::of("one", Kind::Chat, body);
    assert_ne!(mine, CacheKey::of("two", Kind::Chat, body));
    assert_ne!(mine, CacheKey::of("one", Kind::Completion, body));
    assert_ne!(mine, CacheKey::of("one/chat", Kind::Completion, body));
}

#[test]
fn what_cannot_be_compared_has_no_key() {
    for body in [
        "",
        "[]",
        "1",
        "{",
        r#"{"a":"\ud800"}"#,
        r#"{"seed":18446744073709551616}"#,
        r#"{"seed":-92233720368547758090}"#,
        r#"{"a":1e300}"#,
    ] {
        assert_eq!(key(body), None, "{body}");
    }
}

#[test]
fn a_request_is_repeatable_at_temperature_zero_or_with_a_seed() {
    for body in [
        r#"{"temperature":0}"#,
        r#"{"temperature":0.0,"x":1}"#,
        r#"{"temperature":1,"seed":7}"#,
    ] {
        assert!(is_repeatable(Kind::Chat, body.as_bytes()), "{body}");
    }
    for body in [
        "{}",
        r#"{"temperature":0.1}"#,
        r#"{"seed":null}"#,
        r#"{"temperature":"0"}"#,
        r#"{"x":{"temperature":0}}"#,
        r#"{"temperature":0,"conversation":"conv_1"}"#,
        "no",
    ] {
        assert!(!is_repeatable(Kind::Chat, body.as_bytes()), "{body}");
    }
}

#[test]
fn what_nothing_is_drawn_for_is_repeatable_as_it_is() {
    let body = br#"{"model":"m","input":"a"}"#;
    assert!(is_repeatable(Kind::Embedding, body));
    assert!(!is_repeatable(Kind::Response, body));
    assert!(!is_repeatable(Kind::Completion, body));
}

#[test]
fn an_answer_that_is_kept_for_later_requests_is_another_one() {
    let (kept, not) = (br#"{"a":1}"#, br#"{"a":1,"store":false}"#);
    let key = |kind, body: &[u8]| CacheKey::of("default", kind, body);
    assert_ne!(key(Kind::Response, kept), key(Kind::Response, not));
    assert_eq!(key(Kind::Chat, kept), key(Kind::Chat, not));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e6..1e6).prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            members(inner).prop_map(Value::Object),
        ]
    })
}

fn members(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec((".{0,3}", value), 0..4).prop_map(Map::from_iter)
}

/// The same value in another spelling: members turned round, white space, every character of a text escaped.
fn respelled(value: &Value, to: &mut String) {
    let list = |open, close, parts: Vec<String>, to: &mut String| {
        *to += &format!("{open}\t{} {close}\n", parts.join(" , "));
    };
    let spell = |value: &Value| {
        let mut text = String::new();
        respelled(value, &mut text);
        text
    };
    match value {
        Value::String(text) => {
            to.push('"');
            for unit in text.encode_utf16() {
                *to += &format!("\\u{unit:04X}");
            }
            to.push('"');
        }
        Value::Array(items) => list('[', ']', items.iter().map(spell).collect(), to),
        Value::Object(members) => {
            let member = |(name, value)| {
                let name = spell(&Value::from(String::clone(name)));
                format!("{name} : {}", spell(value))
            };
            list('{', '}', members.iter().rev().map(member).collect(), to);
        }
        Value::Number(number) if number.is_i64() && number.as_i64().unwrap().abs() < 1 << 50 => {
            *to += &format!("{number}.0e0");
        }
        other => *to += &other.to_string(),
    }
}

proptest! {
    #[test]
    fn every_spelling_of_a_body_has_one_key(body in members(value())) {
        let body = Value::Object(body);
        let mut other = String::new();
        respelled(&body, &mut other);
        prop_assert_eq!(key(&body.to_string()), key(&other), "{}", other);
    }

    #[test]
    fn bodies_that_differ_have_keys_that_differ(one in members(value()), other in members(value())) {
        // As the numbers are written: 1 and 1.0 are one number.
        let same = Value::Object(one.clone()).to_string().replace(".0", "")
            == Value::Object(other.clone()).to_string().replace(".0", "");
        let left_out = one.keys().chain(other.keys()).any(|name| LEFT_OUT.contains(&name.as_str()));
        prop_assume!(!same && !left_out);
        prop_assert_ne!(key(&json!(one).to_string()), key(&json!(other).to_string()));
    }

    #[test]
    fn one_member_more_makes_another_key(body in members(value()), more in value()) {
        let mut longer = body.clone();
        prop_assume!(longer.insert("none-else".into(), more).is_none());
        prop_assert_ne!(key(&json!(body).to_string()), key(&json!(longer).to_string()));
    }

    #[test]
    fn no_input_is_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for kind in Kind::ALL {
            let _ = CacheKey::of("", kind, &bytes);
            let _ = is_repeatable(kind, &bytes);
        }
    }
}
