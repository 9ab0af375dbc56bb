//! The watches, after etcd's `validate/watch.go`: what was told is what happened, all of it, in order, once.

use std::{collections::BTreeMap, time::Duration};

use tidings::model::TaskId;

use super::{Evidence, Millis, Strike, Told, Verdict, Watched};
use crate::support::history::{Law, Seen, check};

/// More attempts than the faults of any run bring about.
pub(super) const LAW: Law = Law {
    max_attempts: 64,
    is_complete: true,
};
/// After a fault, watchers come back and catch up.
const CATCH_UP: Millis = 2_000;

pub(super) fn judge(evidence: &Evidence, verdict: &mut Verdict) {
    let truth = replayed(evidence, verdict);
    for (number, watched) in evidence.watchers.iter().enumerate() {
        if let Err(fault) = of_one(watched, &truth, evidence) {
            verdict.fault(format!("watcher {number}: {fault}"));
        }
    }
}

/// What happened to each task: the whole of a lawful history, as a watch begun at the very end tells it.
pub(super) fn replayed(
    evidence: &Evidence,
    verdict: &mut Verdict,
) -> BTreeMap<TaskId, Vec<Seen<TaskId>>> {
    if let Err(fault) = check(&evidence.replay, LAW) {
        verdict.fault(format!("replayed: {fault}"));
    }
    let truth = by_task(evidence.replay.iter().copied());
    for id in evidence.accepted.keys() {
        let told = truth.get(id).map_or(&[][..], Vec::as_slice);
        let end = evidence.ends.get(id).map(|task| task.revision);
        if told.first().map(|seen| seen.revision) != Some(1)
            || told.last().map(|seen| seen.revision) != end
        {
            verdict.fault(format!("{id}: the replay is not its whole history"));
        }
    }
    truth
}

fn of_one(
    watched: &Watched,
    truth: &BTreeMap<TaskId, Vec<Seen<TaskId>>>,
    evidence: &Evidence,
) -> Result<(), String> {
    let told: Vec<Seen<TaskId>> = watched.told.iter().map(|told| told.seen).collect();
    check(&told, LAW).map_err(|fault| fault.to_string())?;
    if !watched.is_over {
        return Err("its last stream did not end with OK".into());
    }
    if watched.resets > 0 || watched.refused > 0 {
        return Err(format!(
            "told {} times that writes were lost, and {} times that it knows more than there is",
            watched.resets, watched.refused
        ));
    }
    let told = by_task(told.into_iter());
    if let Some(stranger) = told.keys().find(|id| !watched.asked.contains(id)) {
        return Err(format!("told of {stranger}, which it did not ask for"));
    }
    for id in &watched.asked {
        let (told, happened) = (told.get(id), truth.get(id));
        if told != happened {
            return Err(format!("{id}: told {told:?}, and {happened:?} happened"));
        }
    }
    let mut results = watched.told.iter().filter(|told| told.body.is_some());
    let changed = results.find(|told| told.body.as_deref() != stored(evidence, told));
    changed.map_or(Ok(()), |told| {
        Err(format!(
            "{}: was told another result than is stored",
            told.seen.task
        ))
    })
}

fn stored<'a>(evidence: &'a Evidence, told: &Told) -> Option<&'a str> {
    let task = evidence.ends.get(&told.seen.task)?;
    task.result.as_ref().map(|result| result.body.as_str())
}

pub(super) fn by_task(
    told: impl Iterator<Item = Seen<TaskId>>,
) -> BTreeMap<TaskId, Vec<Seen<TaskId>>> {
    let mut tasks: BTreeMap<TaskId, Vec<Seen<TaskId>>> = BTreeMap::new();
    for seen in told {
        tasks.entry(seen.task).or_default().push(seen);
    }
    tasks
}

/// How long transitions took to their watchers.
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    /// Half of them took no longer.
    pub(crate) median: Duration,
    /// 99 of 100 took no longer.
    pub(crate) p99: Duration,
    /// None took longer.
    pub(crate) longest: Duration,
    /// How many were timed.
    pub(crate) counted: usize,
    /// The slowest of all.
    pub(crate) slowest: Option<Told>,
}

/// Times what was told live. What happened before a watcher's stream stood, or while what it stood on was broken, is
/// left out.
pub(crate) fn freshness(evidence: &Evidence) -> Freshness {
    timed(evidence, |strike, told| {
        strike.replica.is_none_or(|struck| struck == told.by)
    })
}

/// The same when nothing at all was broken: those that were whole have those to serve that were cut off elsewhere.
pub(crate) fn freshness_in_peace(evidence: &Evidence) -> Freshness {
    timed(evidence, |_, _| true)
}

/// Times what was told live and not while a fault `concerned` it.
fn timed(evidence: &Evidence, concerned: impl Fn(&Strike, &Told) -> bool) -> Freshness {
    let live = |told: &&Told| {
        let struck = |strike: &&Strike| covers(strike, told.happened, told.arrived);
        let mut strikes = evidence.strikes.iter().filter(struck);
        told.happened >= told.since && !strikes.any(|strike| concerned(strike, told))
    };
    let told = evidence.watchers.iter().flat_map(|watched| &watched.told);
    let mut told: Vec<&Told> = told.filter(live).collect();
    told.sort_unstable_by_key(|told| told.arrived - told.happened);
    let at = |share: f64| {
        let index = ((told.len().max(1) - 1) as f64 * share) as usize;
        let delay = told
            .get(index)
            .map_or(0, |told| told.arrived - told.happened);
        Duration::from_millis(delay.max(0).unsigned_abs())
    };
    Freshness {
        median: at(0.5),
        p99: at(0.99),
        longest: at(1.0),
        counted: told.len(),
        slowest: told.last().map(|told| (*told).clone()),
    }
}

fn covers(strike: &Strike, from: Millis, to: Millis) -> bool {
    to >= strike.at && from <= strike.until + CATCH_UP
}
