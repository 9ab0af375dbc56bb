//! The queue: nothing lost, nothing unexpected, one end each, attempts that grow, results that stay.

use std::collections::{BTreeMap, BTreeSet};

use tidings::{
    model::{Status, TaskId},
    proto::v1::{Task, TransitionCause},
    simulator::answer_to,
};

use super::{Evidence, Verdict, is_lost, millis};
use crate::support::history::Seen;

pub(super) fn judge(evidence: &Evidence, verdict: &mut Verdict) {
    for (id, prompt) in &evidence.accepted {
        let Some(task) = evidence.ends.get(id) else {
            verdict.lost += 1;
            verdict.fault(format!("{id}: accepted and gone"));
            continue;
        };
        let status = Status::from_code(u8::try_from(task.status).unwrap());
        if !status.is_some_and(Status::is_terminal) {
            verdict.lost += 1;
            verdict.fault(format!("{id}: {status:?} at the end"));
        }
        verdict.poisoned += usize::from(task.cause() == TransitionCause::Poisoned);
        if let Err(fault) = ended_well(task, prompt).and_then(|()| attempts_grow(task)) {
            verdict.fault(format!("{id}: {fault}"));
        }
        if evidence.again.get(id) != Some(task) {
            verdict.fault(format!("{id}: reads otherwise on another replica"));
        }
    }
    let accepted: BTreeSet<TaskId> = evidence.accepted.keys().copied().collect();
    for id in evidence.listed.difference(&accepted) {
        verdict.fault(format!("{id}: is there and was never accepted"));
    }
    for id in accepted.difference(&evidence.listed) {
        verdict.fault(format!("{id}: accepted and not listed"));
    }
    double_terminals(evidence, verdict);
}

/// Faults that the harness makes end a task with its answer, or as poison after three lost workers.
fn ended_well(task: &Task, prompt: &str) -> Result<(), String> {
    match task.cause() {
        TransitionCause::Succeeded => {
            let text = task.result.as_ref().map(|result| result.text.as_str());
            let is_answer = text == Some(answer_to(prompt).as_str());
            is_answer
                .then_some(())
                .ok_or_else(|| format!("{text:?} is no answer to it"))
        }
        TransitionCause::Poisoned => {
            let lost = task.attempts.iter().filter(|a| is_lost(a)).count();
            (lost == 3)
                .then_some(())
                .ok_or_else(|| format!("poisoned after {lost} lost workers"))
        }
        cause => Err(format!("{cause:?} ended it: {:?}", task.error)),
    }
}

/// Attempts follow each other: the next one begins when the one before has ended.
fn attempts_grow(task: &Task) -> Result<(), String> {
    if task.attempt as usize != task.attempts.len() {
        return Err(format!(
            "attempt {} of {}",
            task.attempt,
            task.attempts.len()
        ));
    }
    let mut ended = i64::MIN;
    for (index, attempt) in task.attempts.iter().enumerate() {
        let started = millis(attempt.start_time.as_ref());
        if attempt.number as usize != index + 1 || started.is_none_or(|at| at < ended) {
            return Err(format!(
                "attempt {} is out of order: {:?}",
                index + 1,
                task.attempts
            ));
        }
        ended = millis(attempt.end_time.as_ref()).unwrap_or(i64::MAX);
    }
    Ok(())
}

/// Counts tasks of which anybody, at any time, was told two different ends, or an end twice on one watch.
fn double_terminals(evidence: &Evidence, verdict: &mut Verdict) {
    let mut ends: BTreeMap<TaskId, (u64, Status)> = BTreeMap::new();
    let mut doubled = BTreeSet::new();
    let mut told = |history: &mut dyn Iterator<Item = Seen<TaskId>>| {
        let mut here = BTreeSet::new();
        for seen in history.filter(|seen| seen.status.is_terminal()) {
            let end = (seen.revision, seen.status);
            let first = *ends.entry(seen.task).or_insert(end);
            if first != end || !here.insert(seen.task) {
                doubled.insert(seen.task);
            }
        }
    };
    told(&mut evidence.replay.iter().copied());
    for watched in &evidence.watchers {
        told(&mut watched.told.iter().map(|told| told.seen));
    }
    for id in &doubled {
        verdict.fault(format!("{id}: told as ended more than once"));
    }
    verdict.double_terminals = doubled.len();
}
