//! What the table is told of a run.

use super::run::Title;
use crate::support::{
    chance::Seed,
    checker::{
        Comeback, Evidence, Freshness, Recovery, Verdict, comebacks, freshness, freshness_in_peace,
    },
    report::Row,
};

/// The row of a run.
pub(super) fn row(
    title: &Title,
    evidence: &Evidence,
    verdict: &Verdict,
    waited: Option<Recovery>,
    seed: &Seed,
) -> Row {
    let back = comebacks(evidence);
    let away = back.iter().map(|it| it.down + it.last).max();
    let fresh = freshness(evidence);
    let resumed: usize = evidence.watchers.iter().map(|w| w.resumed.len()).sum();
    let mut notes = vec![format!(
        "{} watches, resumed {resumed} times",
        evidence.watchers.len()
    )];
    notes.extend((fresh.counted > 0).then(|| told_live(&fresh)));
    let peace = freshness_in_peace(evidence);
    if (1..fresh.counted).contains(&peace.counted) {
        notes.push(format!(
            "of those while nothing was broken {}",
            told_live(&peace)
        ));
    }
    if let Some(waited) = waited {
        let offered = waited.offered.as_secs_f64();
        notes.push(format!(
            "the last struck task was offered again after {offered:.1} s"
        ));
    }
    notes.extend(went_on(&back));
    if verdict.poisoned > 0 {
        notes.push(format!(
            "{} lost three workers and ended so",
            verdict.poisoned
        ));
    }
    notes.extend((!title.note.is_empty()).then(|| title.note.clone()));
    Row {
        fault: title.fault.clone(),
        on: title.on.clone(),
        times: title.times,
        tasks: Some(evidence.accepted.len()),
        lost: Some(verdict.lost),
        double_terminals: Some(verdict.double_terminals),
        duplicate_calls: Some(verdict.duplicate_calls),
        duplicates_allowed: Some(verdict.duplicates_allowed),
        longest_recovery: waited.map(|waited| waited.resumed).max(away),
        note: notes.join("; "),
        repeat: seed.repeat(),
    }
}

fn went_on(back: &[Comeback]) -> Option<String> {
    let down = back.iter().map(|it| it.down).max()?.as_secs_f64();
    let last = back.iter().map(|it| it.last).max()?.as_secs_f64();
    Some(format!(
        "the store was away for {down:.1} s at most, and {last:.1} s later at most all replicas that went on had \
         started a task"
    ))
}

fn told_live(fresh: &Freshness) -> String {
    let millis = [fresh.median, fresh.p99, fresh.longest].map(|time| time.as_millis());
    let [median, p99, longest] = millis;
    let counted = fresh.counted;
    format!(
        "{counted} transitions told live, median after {median} ms, p99 {p99} ms, longest {longest} ms"
    )
}
