//! What the hot pieces cost, each by itself: by the clock, and in instructions, which come out the same on a machine
//! that is busy. Both go through the same rounds.
//!
//! `cargo bench --bench micro` takes the time, `cargo bench --bench micro -- hub` that of one piece.
//! `scripts/count-instructions` counts, and compares with `instructions.json`.

mod baseline;
mod callgrind;
mod piece;
mod round;
mod world;

use std::{collections::BTreeMap, error::Error, fs, hint::black_box, process::ExitCode};

use divan::{Bencher, counter::ItemsCount};

use baseline::{Counts, percent};
use piece::Piece;
use round::Round;

/// What cannot go on says why.
pub(crate) type Fallible<T> = Result<T, Box<dyn Error>>;

/// Where the baseline is.
const BASELINE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/benches/micro/instructions.json"
);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["count", name] => run(name),
        ["instructions"] => compare(),
        ["instructions", "--record"] => record(),
        ["instructions", ..] => Err("the only option is --record".into()),
        _ => {
            divan::main();
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

// One round at a time: some leave things as the next one needs them.
#[divan::bench(args = piece::ALL, sample_count = 200, sample_size = 1)]
fn time(bencher: Bencher<'_, '_>, piece: &Piece) {
    let mut rounds = (piece.prepare)();
    piece.check(rounds().run());
    bencher
        .counter(ItemsCount::new(piece.count))
        .with_inputs(rounds)
        .bench_local_values(|round| piece.check(round.run()));
}

/// A round to warm up, and one that is counted.
fn run(name: &str) -> Fallible<()> {
    let piece = piece::ALL.iter().find(|piece| piece.name == name);
    let piece = piece.ok_or_else(|| format!("no piece is called `{name}`"))?;
    let mut rounds = (piece.prepare)();
    piece.check(rounds().run());
    let round = rounds();
    piece.check(counted_round(round));
    Ok(())
}

/// What callgrind counts; it finds this by its name.
#[inline(never)]
fn counted_round(round: Round) -> u64 {
    black_box(black_box(round).run())
}

/// Counts all pieces, and shows them beside what was recorded.
fn count(baseline: Option<&Counts>) -> Fallible<Counts> {
    let mut instructions = BTreeMap::new();
    println!(
        "{:<20}{:>14}{:>14}{:>10}  of one",
        "instructions", "baseline", "now", "change"
    );
    for piece in &piece::ALL {
        let now = callgrind::count(piece)?;
        let then = baseline.and_then(|baseline| baseline.instructions.get(piece.name));
        let (shown, change) = match then {
            Some(then) => (then.to_string(), format!("{:+.1} %", percent(*then, now))),
            None => Default::default(),
        };
        let each = format!("{} per {}", now / piece.count, piece.unit);
        println!("{:<20}{shown:>14}{now:>14}{change:>10}  {each}", piece.name);
        instructions.insert(piece.name.to_owned(), now);
    }
    Ok(Counts {
        built_with: callgrind::built_with()?,
        instructions,
    })
}

fn compare() -> Fallible<()> {
    let baseline = fs::read_to_string(BASELINE)?;
    let baseline: Counts = serde_json::from_str(&baseline)?;
    let now = count(Some(&baseline))?;
    let judgement = baseline.judge(&now);
    for hint in &judgement.hints {
        println!("{hint}");
    }
    if judgement.faults.is_empty() {
        return Ok(());
    }
    let profile = callgrind::profile("<piece>")?;
    Err(format!(
        "{}\nwhere they go: callgrind_annotate {}\nif what they do is worth it, record them with \
         `scripts/count-instructions --record` and say so in the commit",
        judgement.faults.join("\n"),
        profile.display()
    )
    .into())
}

fn record() -> Fallible<()> {
    let counts = count(None)?;
    fs::write(BASELINE, serde_json::to_string_pretty(&counts)? + "\n")?;
    println!("written to {BASELINE}");
    Ok(())
}
