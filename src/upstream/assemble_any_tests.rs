//! Whatever the chunks: what is told is the text, and nothing a server sends does any harm.

use proptest::{collection::vec, option, prelude::*, sample};
use serde_json::json;

use super::{
    tests::{assemble, assembled},
    *,
};
use crate::upstream::reply;

const EVENTS: [&str; 8] = [
    "response.created",
    "response.output_text.delta",
    "response.refusal.delta",
    "response.output_text.done",
    "response.output_item.done",
    "response.completed",
    "response.incomplete",
    "response.failed",
];

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

/// Texts of messages and of their parts, each cut into pieces.
fn messages() -> impl Strategy<Value = Vec<Vec<Vec<String>>>> {
    vec(vec(vec("[a-c数🦀]{0,3}", 0..3), 0..3), 0..3)
}

/// The events of a response that says these texts. `turns` says which of the places that still have something to say
/// goes on; they begin in their order, and may then speak all at once.
fn response(messages: &[Vec<Vec<String>>], turns: &[usize], ends: &[bool]) -> Vec<Value> {
    let mut places = Vec::new();
    let mut output = Vec::new();
    for (item, parts) in messages.iter().enumerate() {
        let texts = parts.iter().map(|pieces| pieces.concat());
        let texts = texts.map(|text| json!({"type": "output_text", "text": text}));
        output.push(json!({"type": "message", "content": texts.collect::<Vec<_>>()}));
        for (part, pieces) in parts.iter().enumerate() {
            let pieces: Vec<&String> = pieces.iter().filter(|it| !it.is_empty()).collect();
            if !pieces.is_empty() {
                places.push((item, part, pieces.into_iter()));
            }
        }
    }
    let mut events = Vec::new();
    let mut ends = ends.iter().cycle();
    let mut turns = turns.iter().cycle();
    let mut begun = 0;
    while !places.is_empty() {
        let turn = turns.next().unwrap_or(&0) % places.len().min(begun + 1);
        begun = begun.max(turn + 1);
        let (item, part, pieces) = &mut places[turn];
        let at = json!({"output_index": item, "content_index": part});
        let mut event = |kind: &str, delta: &str| {
            let mut event = at.clone();
            event["type"] = kind.into();
            event["delta"] = delta.into();
            events.push(event);
        };
        match pieces.next() {
            Some(piece) => event("response.output_text.delta", piece),
            None => {
                // Some servers do not say when a part is over.
                if *ends.next().unwrap_or(&true) {
                    event("response.output_text.done", "");
                }
                places.remove(turn);
                begun -= 1;
            }
        }
    }
    events.push(json!({"type": "response.completed", "response": {"output": output}}));
    events
}

proptest! {
    #[test]
    fn what_is_told_of_a_response_is_its_text_however_its_parts_are_mixed(
        messages in messages(),
        turns in vec(0_usize..4, 1..8),
        ends in vec(any::<bool>(), 1..4),
    ) {
        let text: String = messages.iter().flatten().flatten().map(String::as_str).collect();
        let events = response(&messages, &turns, &ends);
        let events: Vec<String> = events.iter().map(Value::to_string).collect();
        let events = events.iter().map(|data| ("", data.as_str()));
        let (body, said) = assemble(Kind::Response, 1, events);
        prop_assert!(body.is_ok());
        prop_assert_eq!(said, text);
    }

    #[test]
    fn no_event_of_a_response_is_too_strange_to_be_taken_or_refused(
        events in vec((sample::select(&EVENTS[..]), value(), value()), 0..8),
    ) {
        let mut assembly = Assembly::new(Kind::Response, 1, 1 << 20);
        for (kind, one, other) in events {
            let data = json!({"type": kind, "response": {"output": one.clone(), "status": other.clone()},
                              "delta": other.clone(), "item": one.clone(), "output_index": other,
                              "content_index": one});
            let event = Event { name: Vec::new(), data: data.to_string().into() };
            if assembly.take(&event, &mut |_| {}).is_err() {
                return Ok(());
            }
        }
        if let Ok(body) = assembly.finish() {
            prop_assert!(serde_json::from_slice::<Value>(&body).is_ok());
            let _ = reply::read(Kind::Response, String::from_utf8(body).unwrap(), "m");
        }
    }

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
