//! The judge of `make instructions`: counts that are made up, so that what must be said of them is known.

#[path = "../../benches/micro/baseline.rs"]
mod baseline;

use std::collections::BTreeMap;

use baseline::Counts;

fn counts(instructions: &[(&str, u64)]) -> Counts {
    let instructions = instructions
        .iter()
        .map(|(name, it)| ((*name).to_owned(), *it));
    Counts {
        built_with: "rustc 1".to_owned(),
        instructions: BTreeMap::from_iter(instructions),
    }
}

#[test]
fn a_piece_that_takes_over_a_twentieth_more_is_a_fault_that_names_it() {
    let then = counts(&[("hub", 1_000), ("sse", 1_000)]);
    let judgement = then.judge(&counts(&[("hub", 1_051), ("sse", 1_050)]));
    let fault = "hub: 1051 instructions a round, 5.1 % more than the 1000 of the baseline";
    assert_eq!(judgement.faults, [fault]);
    assert!(judgement.hints.is_empty(), "{:?}", judgement.hints);
}

#[test]
fn a_piece_that_takes_much_less_passes_and_is_to_be_recorded() {
    let then = counts(&[("hub", 1_000), ("sse", 1_000)]);
    let judgement = then.judge(&counts(&[("hub", 949), ("sse", 950)]));
    assert!(judgement.faults.is_empty(), "{:?}", judgement.faults);
    let [hint] = &judgement.hints[..] else {
        panic!("{:?}", judgement.hints);
    };
    assert!(hint.starts_with("hub: 949 instructions a round, 5.1 % fewer than the 1000"));
    assert!(hint.contains("--record"), "{hint}");
}

#[test]
fn a_piece_that_is_on_one_side_alone_is_a_fault() {
    let then = counts(&[("gone", 1_000)]);
    let judgement = then.judge(&counts(&[("new", 1_000)]));
    let [gone, new] = &judgement.faults[..] else {
        panic!("{:?}", judgement.faults);
    };
    assert!(gone.starts_with("gone: it is in the baseline, and there is no such piece"));
    assert!(new.starts_with("new: it is not in the baseline"));
}

#[test]
fn another_compiler_is_told_and_regressions_are_faults_all_the_same() {
    let then = counts(&[("hub", 1_000)]);
    let with = |instructions| Counts {
        built_with: "rustc 2".to_owned(),
        ..counts(&[("hub", instructions)])
    };
    let same = then.judge(&with(1_000));
    let [hint] = &same.hints[..] else {
        panic!("{:?}", same.hints);
    };
    assert!(hint.contains("with rustc 1, this with rustc 2"), "{hint}");
    assert!(same.faults.is_empty(), "{:?}", same.faults);
    assert_eq!(then.judge(&with(2_000)).faults.len(), 1);
}
