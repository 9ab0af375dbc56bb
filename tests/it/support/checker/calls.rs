//! The upstream: no call that no attempt explains, no attempt lost that no fault explains.

use std::collections::{BTreeMap, BTreeSet};

use tidings::simulator::hash16;

use super::{Evidence, Verdict, is_lost};

pub(super) fn judge(evidence: &Evidence, verdict: &mut Verdict) {
    let mut known = BTreeSet::new();
    for (id, prompt) in &evidence.accepted {
        let hash = hash16(prompt);
        let calls = evidence.calls.get(&hash).copied().unwrap_or_default();
        known.insert(hash);
        verdict.duplicate_calls += calls.saturating_sub(1);
        let Some(task) = evidence.ends.get(id) else {
            continue;
        };
        if calls > task.attempts.len() {
            let attempts = task.attempts.len();
            verdict.fault(format!("{id}: {calls} calls in {attempts} attempts"));
        }
        if calls == 0 && task.result.is_some() {
            verdict.fault(format!("{id}: a result without a call"));
        }
    }
    for hash in evidence.calls.keys().filter(|hash| !known.contains(*hash)) {
        verdict.fault(format!("the prompt {hash} was never accepted, and called"));
    }
    allowed(evidence, verdict);
    if verdict.duplicate_calls > verdict.duplicates_allowed {
        verdict.fault(format!(
            "{} calls repeated, {} attempts lost to faults",
            verdict.duplicate_calls, verdict.duplicates_allowed
        ));
    }
}

/// Attempts lost by the workers that were struck, which hold no more than they may.
pub(super) fn allowed(evidence: &Evidence, verdict: &mut Verdict) {
    let mut strikes: BTreeMap<&str, usize> = BTreeMap::new();
    for worker in evidence.strikes.iter().filter_map(|s| s.worker.as_deref()) {
        *strikes.entry(worker).or_default() += 1;
    }
    let of_all = evidence.strikes.iter().filter(|s| s.replica.is_none());
    let of_all = of_all.count();
    let mut lost: BTreeMap<&str, usize> = BTreeMap::new();
    let attempts = evidence.ends.values().flat_map(|task| &task.attempts);
    for attempt in attempts.filter(|attempt| is_lost(attempt)) {
        *lost.entry(&attempt.worker).or_default() += 1;
    }
    for (worker, lost) in lost {
        let strikes = of_all + strikes.get(worker).copied().unwrap_or_default();
        // Besides those under way one in eight may have its answer, and wait for its commit.
        let at_most = strikes * (evidence.concurrency + evidence.concurrency / 8);
        if lost > at_most {
            verdict.fault(format!(
                "worker {worker} lost {lost} attempts to faults that explain {at_most}"
            ));
        }
        verdict.duplicates_allowed += lost.min(at_most);
    }
}
