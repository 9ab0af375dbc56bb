//! Runs in which the store may lose what it had acknowledged, in a window and at a level that promised no more: whatever
//! was lost there has to be told, to everybody whom it concerns.
//!
//! Within an epoch a history is lawful; it goes back only with a reset and in a higher epoch. What is gone was accepted
//! while nobody else had it, in memory alone or to be on disk within a second. What is left is judged like any other run.

use std::collections::BTreeMap;

use tidings::{model::TaskId, proto::v1::DurabilityLevel, simulator::hash16};

use super::{
    Evidence, Gone, Millis, Told, Verdict, Watched, calls, queue,
    watch::{LAW, replayed},
};
use crate::support::history::{Law, Seen, check};

/// From when writes reached one server, or its memory, alone until another one, which has them not, had taken its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// The beginning.
    pub(crate) from: Millis,
    /// The end.
    pub(crate) until: Millis,
}

/// What was lost, and told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Losses {
    /// Watches told that what they had been told before was taken back.
    pub(crate) resets: usize,
    /// Watches told that the store lost all that they asked for.
    pub(crate) told_gone: usize,
    /// Watches that had ended when the end that they were told was lost: nobody was left to be told.
    pub(crate) left_before: usize,
}

type Truth = BTreeMap<TaskId, Vec<Seen<TaskId>>>;

/// Judges a run in which these windows explain losses. `Verdict::lost` counts them, and is no fault by itself.
pub(crate) fn judge_losses(evidence: &Evidence, windows: &[Window]) -> (Verdict, Losses) {
    let (mut verdict, mut losses) = (Verdict::default(), Losses::default());
    let mut kept = evidence.clone();
    kept.accepted.retain(|id, _| evidence.ends.contains_key(id));
    kept.watchers.clear();
    queue::judge(&kept, &mut verdict);
    let truth = replayed(&kept, &mut verdict);
    for id in evidence.accepted.keys() {
        if !evidence.ends.contains_key(id) {
            verdict.lost += 1;
            if let Err(fault) = may_be_gone(evidence, *id, windows) {
                verdict.fault(format!("{id}: {fault}"));
            }
        }
    }
    let run = Run {
        evidence,
        truth: &truth,
        windows,
    };
    for (number, watched) in evidence.watchers.iter().enumerate() {
        if let Err(fault) = run.of_one(watched, &mut losses) {
            verdict.fault(format!("watcher {number}: {fault}"));
        }
    }
    count_calls(evidence, &mut verdict);
    (verdict, losses)
}

fn may_be_gone(evidence: &Evidence, id: TaskId, windows: &[Window]) -> Result<(), String> {
    let receipt = evidence.receipts.get(&id).ok_or("gone without a receipt")?;
    let weak = [DurabilityLevel::Memory, DurabilityLevel::Fsync1s];
    if !weak.contains(&receipt.level) {
        let level = receipt.level.as_str_name();
        return Err(format!("gone, and was said to be kept as {level}"));
    }
    if !is_within(receipt.at, windows) {
        return Err("gone, and was accepted when nothing was cut off".into());
    }
    Ok(())
}

fn is_within(at: Millis, windows: &[Window]) -> bool {
    windows.iter().any(|w| (w.from..=w.until).contains(&at))
}

struct Run<'a> {
    evidence: &'a Evidence,
    truth: &'a Truth,
    windows: &'a [Window],
}

impl Run<'_> {
    fn of_one(&self, watched: &Watched, losses: &mut Losses) -> Result<(), String> {
        if watched.refused > 0 {
            return Err("told that it knows more than there is, instead of a reset".into());
        }
        let eras: Vec<&[Told]> = watched.told.chunk_by(|_, next| !next.reset).collect();
        for era in &eras {
            lawful(era)?;
        }
        for pair in eras.windows(2) {
            let (before, after) = (pair[0].last(), pair[1].first());
            let epoch = |told: Option<&Told>| told.map(|told| told.epoch);
            if epoch(before) >= epoch(after) {
                return Err(format!(
                    "reset from epoch {:?} to {:?}",
                    epoch(before),
                    epoch(after)
                ));
            }
        }
        losses.resets += usize::from(eras.len() > 1);
        if let Some(gone) = watched.gone {
            losses.told_gone += 1;
            return self.is_gone(watched, gone);
        }
        if !watched.is_over {
            return Err("its last stream did not end with OK".into());
        }
        let last = eras.last().copied().unwrap_or_default();
        let is_whole = eras.len() == 1;
        let mut left = false;
        for id in &watched.asked {
            let told: Vec<&Told> = last.iter().filter(|told| told.seen.task == *id).collect();
            left |= self.of_task(*id, &told, is_whole || watched.asked.len() > 1)?;
        }
        losses.left_before += usize::from(left);
        Ok(())
    }

    fn is_gone(&self, watched: &Watched, gone: Gone) -> Result<(), String> {
        if let Some(id) = watched.asked.iter().find(|id| self.is_there(id)) {
            return Err(format!("told that there is nothing, and {id} is there"));
        }
        if gone == Gone::Unknown && !watched.told.is_empty() {
            return Err("not told that the store lost what had been told before".into());
        }
        Ok(())
    }

    fn is_there(&self, id: &TaskId) -> bool {
        self.evidence.ends.contains_key(id)
    }

    /// Whether what was told of a task, to its end, was lost later. Else it is what happened, all of it or from a reset on.
    fn of_task(&self, id: TaskId, told: &[&Told], is_whole: bool) -> Result<bool, String> {
        let truth = self.truth.get(&id).map_or(&[][..], Vec::as_slice);
        let from = if is_whole {
            Some(1)
        } else {
            told.first().map(|told| told.seen.revision)
        };
        let happened = truth.iter().filter(|seen| Some(seen.revision) >= from);
        if happened.eq(told.iter().map(|told| &told.seen)) && told.iter().all(|it| self.is_true(it))
        {
            return Ok(false);
        }
        let ended = told
            .last()
            .is_some_and(|told| told.seen.status.is_terminal());
        // What had not happened in a window is still there, and nothing that is follows what is not.
        let explained = |told: &&Told| self.is_true(told) || is_within(told.happened, self.windows);
        let parts_once = told.iter().is_sorted_by_key(|told| !self.is_true(told));
        if ended && parts_once && told.iter().all(explained) {
            return Ok(true);
        }
        Err(format!("{id}: told {told:?}, and {truth:?} happened"))
    }

    /// It is in the history at the end: the same step, at the same time.
    fn is_true(&self, told: &Told) -> bool {
        let key = (told.seen.task, told.seen.revision);
        self.evidence.times.get(&key) == Some(&told.happened)
    }
}

fn lawful(era: &[Told]) -> Result<(), String> {
    let seen: Vec<Seen<TaskId>> = era.iter().map(|told| told.seen).collect();
    let law = Law {
        is_complete: false,
        ..LAW
    };
    check(&seen, law).map_err(|fault| fault.to_string())?;
    let grows = era.is_sorted_by_key(|told| told.epoch);
    grows.then_some(()).ok_or_else(|| "the epoch fell".into())
}

/// Starts that were lost with the writes leave no trace but with those who watched: they are counted, not judged.
fn count_calls(evidence: &Evidence, verdict: &mut Verdict) {
    let prompts: Vec<String> = evidence.accepted.values().map(|it| hash16(it)).collect();
    for hash in &prompts {
        let calls = evidence.calls.get(hash).copied().unwrap_or_default();
        verdict.duplicate_calls += calls.saturating_sub(1);
    }
    calls::allowed(evidence, verdict);
    let mut undone: Vec<(TaskId, Millis)> = evidence
        .watchers
        .iter()
        .flat_map(|watched| &watched.told)
        .filter(|told| told.seen.status == tidings::model::Status::Processing)
        .filter(|told| {
            let key = (told.seen.task, told.seen.revision);
            evidence.times.get(&key) != Some(&told.happened)
        })
        .map(|told| (told.seen.task, told.happened))
        .collect();
    undone.sort_unstable();
    undone.dedup();
    verdict.duplicates_allowed += undone.len();
}
