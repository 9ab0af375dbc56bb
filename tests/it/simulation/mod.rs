//! Deterministic simulation: whole replicas (workers, hub, service) on one store in memory, in virtual time, with faults
//! that follow from a seed. What a run does depends on nothing but its seed, so that a seed that fails can be run again.
//!
//! `TIDINGS_SEED=123 cargo test --test it simulation` runs one seed and shows what happened in it.

mod client;
mod clock;
mod feed;
mod ledger;
mod link;
mod plan;
mod replica;
mod run;
mod verdict;
mod watcher;
mod work;
mod world;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use tidings::upstream::{self, Client};

use crate::support::{
    report::{Row, repeat},
    scale::scale,
};

/// Enough to meet every kind of fault many times over.
const SEEDS: usize = 240;
/// What a night is for.
const SOAKED: usize = 20_000;
/// Seeds that are run twice, to see the same.
const REPEATED: u64 = 12;
/// Failing seeds shown at most.
const SHOWN: usize = 10;

/// A client that is never used: the tasks of a simulation need no upstream.
fn no_upstream() -> Client {
    Client::new(upstream::Config::new("http://127.0.0.1:9/v1")).unwrap()
}

/// The one seed asked for, if there is one.
#[expect(
    clippy::disallowed_methods,
    reason = "the settings of a test run are no configuration of the server"
)]
fn wanted() -> Option<u64> {
    let seed = std::env::var("TIDINGS_SEED").ok()?;
    Some(seed.parse().expect("TIDINGS_SEED is a number"))
}

/// How to see a seed again, and what is wrong with it.
fn repro(seed: u64, faults: &[String]) -> String {
    let mut text = format!("TIDINGS_SEED={seed} cargo test --test it simulation");
    for fault in faults {
        let _ = write!(text, "\n    {fault}");
    }
    text
}

#[test]
fn whatever_goes_wrong_every_promise_is_kept() {
    if let Some(seed) = wanted() {
        let report = run::run(seed, &no_upstream(), true);
        println!("{}", report.trace.join("\n"));
        assert!(report.faults.is_empty(), "{}", repro(seed, &report.faults));
        return;
    }
    let (next, failed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let (seeds, upstream) = (scale(SEEDS, SOAKED) as u64, no_upstream());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= seeds {
                return;
            }
            let report = run::run(seed, &upstream, false);
            if !report.faults.is_empty() {
                let shown = repro(seed, &report.faults);
                failed.lock().unwrap().push((seed, shown));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    let row = Row {
        fault: "whatever a seed draws: crashes, pauses, cuts, lost answers, lost writes".into(),
        on: "simulation: replicas and a store in memory, in virtual time".into(),
        times: seeds as usize,
        note: format!("{} of {seeds} seeds broke a promise", failed.len()),
        repeat: repeat("simulation::whatever_goes_wrong"),
        ..Row::default()
    };
    row.report();
    let shown: Vec<_> = failed.iter().take(SHOWN).map(|(_, text)| text).collect();
    assert!(
        failed.is_empty(),
        "{} of {seeds} seeds failed:\n{}",
        failed.len(),
        shown
            .iter()
            .map(|text| format!("{text}\n"))
            .collect::<String>()
    );
}

#[test]
fn the_same_seed_gives_the_same_run_event_for_event() {
    let upstream = no_upstream();
    let mut runs = BTreeSet::new();
    for seed in 0..REPEATED {
        let [first, second] = [(); 2].map(|()| run::run(seed, &upstream, true));
        let mut pairs = first.trace.iter().zip(&second.trace);
        let differs = pairs.find(|(first, second)| first != second);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first, second, "seed {seed}");
        runs.insert(first.trace);
    }
    assert_eq!(
        runs.len() as u64,
        REPEATED,
        "every seed is a run of its own"
    );
}
