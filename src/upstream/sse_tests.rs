//! Whatever the chunks, the events are the same.

use proptest::{collection::vec, prelude::*};

use super::*;

const MAX: usize = 64;

/// The events of a stream that comes in these chunks; none when one is oversized.
fn events_of<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<(String, String)>> {
    let mut parser = Parser::new(MAX);
    let mut events = Vec::new();
    for chunk in chunks {
        parser.push(chunk, &mut events).ok()?;
        assert!(parser.line.len() + parser.event.data.len() <= MAX + 1);
    }
    events.extend(parser.finish());
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let events = events.into_iter();
    Some(
        events
            .map(|event| (text(event.name), text(event.data)))
            .collect(),
    )
}

fn data_of(stream: &str) -> Vec<String> {
    let events = events_of([stream.as_bytes()]).expect("within the bound");
    events.into_iter().map(|(_, data)| data).collect()
}

#[test]
fn data_is_read_however_it_is_written() {
    for stream in [
        "data: a\n\ndata: b\n\n",
        "data:a\n\ndata:b\n\n",
        "data: a\r\n\r\ndata: b\r\n\r\n",
        "data: a\r\rdata: b\r\r",
        "\u{feff}data: a\n\ndata: b\n\n",
        ": comment\n\ndata: a\n: comment\n\n:\n\ndata: b\n\n",
        "id: 7\nretry: 10\ndata: a\nunknown: x\nnocolon\n\n\n\n\ndata: b\n\n",
        "data: a\n\ndata: b\n",
        "data: a\n\ndata: b",
    ] {
        assert_eq!(data_of(stream), ["a", "b"], "{stream:?}");
    }
}

#[test]
fn only_one_space_goes_and_lines_of_one_event_are_joined() {
    assert_eq!(data_of("data:  a \ndata\ndata:b\n\n"), [" a \n\nb"]);
    assert_eq!(data_of("data:\n\n"), [""]);
    // A mark that is not the first thing is text.
    assert_eq!(data_of("data: \u{feff}a\n\n"), ["\u{feff}a"]);
    assert!(data_of("event: ping\n\n: and nothing else\n\n").is_empty());
}

#[test]
fn an_event_keeps_its_name_to_itself() {
    let events = events_of([&b"event: error\ndata: a\n\ndata: b\n\n"[..]]).unwrap();
    let expected = [("error", "a"), ("", "b")];
    let expected = expected.map(|(name, data)| (name.to_owned(), data.to_owned()));
    assert_eq!(events, expected);
}

#[test]
fn a_character_cut_by_a_chunk_is_whole() {
    let stream = "data: 数🦀\n\n".as_bytes();
    for cut in 0..stream.len() {
        let (head, tail) = stream.split_at(cut);
        assert_eq!(events_of([head, tail]).unwrap()[0].1, "数🦀", "{cut}");
    }
}

#[test]
fn what_is_larger_than_the_bound_is_refused_and_not_held() {
    let long = "x".repeat(MAX);
    assert_eq!(events_of([long.as_bytes(), b"x"]), None);
    assert_eq!(events_of([format!("data: {long}\n\n").as_bytes()]), None);
    let lines = "data: x\n".repeat(MAX);
    assert_eq!(events_of([lines.as_bytes()]), None);
    // Each by itself is small.
    let many = "data: x\n\n: comment\n\n".repeat(MAX);
    assert_eq!(events_of([many.as_bytes()]).unwrap().len(), MAX);
}

proptest! {
    #[test]
    fn any_split_gives_the_same_events(
        bytes in vec(
            prop_oneof![
                4 => prop::sample::select(&b"\r\n: adtevn{}\xef\xbb\xbf\xf0\x9f"[..]).prop_map(|byte| vec![byte]),
                2 => prop::sample::select(&["data: ", "data:", "\n\n", "\r\n", "event: x", ": c"][..])
                    .prop_map(|piece| piece.as_bytes().to_vec()),
                1 => any::<u8>().prop_map(|byte| vec![byte]),
            ],
            0..60,
        ),
        cuts in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes = bytes.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let mut chunks = Vec::new();
        let mut from = 0;
        for to in cuts.into_iter().chain([bytes.len()]) {
            chunks.push(&bytes[from..to]);
            from = to;
        }
        let whole = events_of([&bytes[..]]);
        prop_assert_eq!(&events_of(chunks), &whole);
        prop_assert_eq!(&events_of(bytes.chunks(1)), &whole);
    }
}
