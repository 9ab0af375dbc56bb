use super::*;

const NOW: Seconds = 1e9;

fn line(tokens: f64) -> Line {
    Line::new(Settings {
        requests: None,
        tokens: Some(tokens / 0.995),
    })
}

fn cost(tokens: u64) -> Cost {
    Cost {
        bytes: 0,
        max_tokens: Some(tokens),
    }
}

#[test]
fn a_call_of_many_seconds_takes_its_turn_as_soon_as_a_small_one_would() {
    let mut line = line(100.0);
    let tokens = line.tokens(cost(1_000), NOW);
    assert!((line.length(tokens, NOW) - 10.0).abs() < 1e-6);
    let busy = line.lease_shared(Bucket::default(), 100.0, (1.0, 100.0), NOW);
    let (bucket, _) = busy.unwrap();
    let (bucket, block) = line
        .lease_shared(bucket, tokens, (1.0, tokens), NOW)
        .unwrap();
    line.told(bucket, Some(block), NOW);
    let Step::Wait(due) = line.step(tokens, NOW) else {
        panic!("it was not paid for yet");
    };
    // Not given back while it waits, however long that is.
    assert_eq!(line.step(tokens, due - 0.1), Step::Wait(due));
    assert_eq!(line.step(tokens, due), Step::Go);
}

#[test]
fn nothing_weighs_more_than_a_minutes_tokens() {
    let line = line(100.0);
    assert!((line.tokens(cost(1_000_000), NOW) - 6_000.0).abs() < 1e-6);
}

#[test]
fn an_answer_that_cannot_be_is_not_learnt_from() {
    let mut line = line(100.0);
    let before = line.tokens(cost(100), NOW);
    for answer in [Answer::Used(u64::MAX, 1), Answer::Used(1, u64::MAX)] {
        let sent = line.used(cost(100), before, NOW);
        let reply = Reply {
            answer,
            ..Reply::default()
        };
        line.heard(&sent, &reply, NOW);
    }
    assert_eq!(line.tokens(cost(100), NOW), before);
    assert!(line.due((0.0, 0.0), 100.0, NOW) < NOW + 10.0);
}
