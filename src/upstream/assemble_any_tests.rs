//! Whatever the chunks: what is told is the text, and nothing a server sends does any harm.

use proptest::{collection::vec, option, prelude::*, sample};
use serde_json::json;

use super::{tests::assembled, *};
use crate::upstream::reply;

/// Something that a server might put into a chunk, well or badly.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0_u64..3).prop_map(Value::from),
        "[a-c数🦀]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let names = sample::select(
            &[
                "index",
                "id",
                "type",
                "text",
                "content",
                "function",
                "name",
                "arguments",
                "error",
                "role",
                "delta",
            ][..],
        );
        let members = vec((names, inner.clone()), 0..4);
        prop_oneof![
            vec(inner, 0..3).prop_map(Value::from),
            members.prop_map(|members| members.into_iter().collect()),
        ]
    })
}

fn content() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => "[a-c数🦀]{0,3}".prop_map(Value::from),
        1 => Just(Value::Null),
        1 => vec("[a-c数🦀]{0,3}", 0..3).prop_map(|texts| {
            texts.into_iter().map(|text| json!({"type": "text", "text": text})).collect()
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_told_on_the_way_is_the_text_of_the_whole(
        pieces in vec((content(), 0_u64..2, option::of("[a-z]{0,3}")), 1..12),
    ) {
        let chunks: Vec<Value> = pieces
            .into_iter()
            .map(|(content, index, reason)| {
                let delta = json!({"role": "assistant", "content": content});
                json!({"choices": [{"index": index, "delta": delta, "finish_reason": reason}]})
            })
            .collect();
        let (body, said) = assembled(&chunks, true);
        let body = body.unwrap();
        let has_first = body["choices"][0]["index"] == 0;
        if let (true, Ok(outcome)) = (has_first, reply::read(Kind::Chat, body.to_string(), "m")) {
            prop_assert_eq!(outcome.text, said);
        }
    }

    #[test]
    fn no_chunk_is_too_strange_to_be_taken_or_refused(
        chunks in vec(vec(value(), 0..3), 0..6),
        strange in vec(value(), 0..3),
    ) {
        let mut assembly = Assembly::new(Kind::Chat, 1, 1 << 20);
        let choices = chunks.into_iter().map(|choices| json!({ "choices": choices }));
        for chunk in choices.chain(strange) {
            let event = Event { name: Vec::new(), data: chunk.to_string().into() };
            if assembly.take(&event, &mut |_| {}).is_err() {
                return Ok(());
            }
        }
        if let Ok(body) = assembly.finish() {
            prop_assert!(serde_json::from_slice::<Value>(&body).is_ok());
        }
    }
}
