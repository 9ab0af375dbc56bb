//! What scenarios of failovers share: load before, during and after, and the promise that all replicas go on soon.

use std::time::Duration;

use super::{
    fleet::now,
    load::Watching,
    row::row,
    run::{Run, Title, upstream},
};
use crate::support::{
    chance::Seed,
    checker::{Evidence, Losses, Millis, Verdict, Window, comebacks, judge_losses, recovery},
    scale::soaking,
    server::soon,
};

/// Everything has ended by then, or something hangs.
pub(super) const LIMIT: Duration = Duration::from_secs(300);
/// Longer than a failover: what is struck is the store, not the workers.
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// The promise: this long after there is a primary again, every replica has started a task.
const MOVES_WITHIN: Duration = Duration::from_secs(2);
/// Next to a compiler on two cores a promise in seconds says nothing; the long runs hold to it.
const BUSY: Duration = Duration::from_secs(15);

/// Three replicas on a store with this address and these settings.
pub(super) async fn start(seed: Seed, store: String, settings: &'static str) -> Run {
    let upstream = upstream(100, 900).await;
    let mut setup = super::kills::on_store(store, &upstream, LEASE);
    setup.settings = settings;
    Run::start(seed, setup, upstream, Watching::Tasks).await
}

/// Submits, and waits until tasks are under way. In many batches: those of a cluster lie with all of its primaries then.
pub(super) async fn get_going(run: &mut Run) {
    let before = run.upstream.finished_calls();
    run.load.submit(100, 10).await;
    let upstream = run.upstream.clone();
    soon("tasks are under way", async || {
        upstream.finished_calls() > before && upstream.open_calls() > 0
    })
    .await;
}

/// There is a primary again after what began at `at`: every replica gets something to start.
pub(super) async fn go_on(run: &mut Run, at: Millis) {
    run.fleet.all_struck(at);
    run.load.submit(90, 30).await;
}

pub(super) fn moves_within() -> Duration {
    MOVES_WITHIN + if soaking() { Duration::ZERO } else { BUSY }
}

/// After every fault those replicas went on in time whose starts are known: one may find nothing left to start, and what
/// the next fault undid is not known.
#[track_caller]
pub(super) fn assert_went_on(evidence: &Evidence, faults: usize) {
    let back = comebacks(evidence);
    assert_eq!(back.len(), faults, "something was started after each fault");
    for (fault, comeback) in back.iter().enumerate() {
        let in_time = comeback.last <= moves_within();
        assert!(in_time, "fault {fault}: {comeback:?}");
    }
}

/// Judges a run in which these windows explain losses, reports it, and panics unless all that was lost was told.
#[track_caller]
pub(super) fn conclude_losses(
    run: &Run,
    mut title: Title,
    evidence: &Evidence,
    windows: &[Window],
) -> (Verdict, Losses) {
    let (verdict, losses) = judge_losses(evidence, windows);
    let so_far = if title.note.is_empty() { "" } else { "; " };
    title.note += &format!(
        "{so_far}{} lost, each accepted while nothing else had it and said to be kept no better; {} watches told of a reset, \
         {} that all was lost, {} had ended before what they were told was lost",
        verdict.lost, losses.resets, losses.told_gone, losses.left_before
    );
    row(&title, evidence, &verdict, recovery(evidence), &run.seed).report();
    assert!(verdict.faults.is_empty(), "{:#?}", verdict.faults);
    assert_eq!(verdict.double_terminals, 0);
    (verdict, losses)
}

/// A window that ends now.
pub(super) fn window(from: Millis) -> Window {
    Window { from, until: now() }
}
