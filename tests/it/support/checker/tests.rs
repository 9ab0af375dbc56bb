//! That the checker sees: each fault it is there for, alone in a run that is lawful without it.

mod losses;

use std::time::Duration;

use prost_types::Timestamp;
use tidings::{
    model::{IdRange, Status, TaskId},
    proto::v1::{DurabilityLevel, Task, TaskAttempt, TaskResult, TaskStatus, TransitionCause},
    simulator::{answer_to, hash16},
};

use super::{
    Evidence, Receipt, Strike, Told, Watched, freshness, freshness_in_peace, judge, recovery,
};
use crate::support::history::Seen;

const PROMPT: &str = "p";
/// When the first attempt's worker was killed.
const STRUCK: i64 = 10_000;
const RECEIPT: Receipt = Receipt {
    at: 9_500,
    level: DurabilityLevel::Memory,
};

fn id() -> TaskId {
    IdRange::new(tidings::clock::Timestamp(1), 0, 1, 1).first
}

fn at(millis: i64) -> Option<Timestamp> {
    Some(Timestamp {
        seconds: millis / 1_000,
        nanos: i32::try_from(millis % 1_000 * 1_000_000).unwrap(),
    })
}

fn attempt(number: u32, worker: &str, from: i64, to: i64, outcome: TransitionCause) -> TaskAttempt {
    TaskAttempt {
        number,
        start_time: at(from),
        end_time: at(to),
        outcome: outcome as i32,
        worker: worker.into(),
        ..TaskAttempt::default()
    }
}

fn seen(revision: u64, status: Status, attempt: u32) -> Seen<TaskId> {
    Seen {
        task: id(),
        revision,
        status,
        attempt,
    }
}

fn told(seen: Seen<TaskId>) -> Told {
    let happened = 9_000 + 1_000 * i64::try_from(seen.revision).unwrap();
    Told {
        seen,
        happened,
        arrived: happened + 7,
        by: 1,
        since: 9_000,
        epoch: 1,
        reset: false,
        body: seen.status.is_terminal().then(|| "body".into()),
    }
}

fn when(seen: Seen<TaskId>) -> ((TaskId, u64), i64) {
    ((seen.task, seen.revision), told(seen).happened)
}

/// One task, killed once with its worker and finished by another, followed by one watcher.
fn lawful() -> Evidence {
    let task = Task {
        id: id().to_string(),
        status: TaskStatus::Completed as i32,
        cause: TransitionCause::Succeeded as i32,
        revision: 5,
        attempt: 2,
        attempts: vec![
            attempt(1, "a", 9_000, 12_000, TransitionCause::LeaseExpired),
            attempt(2, "b", 12_500, 14_000, TransitionCause::Succeeded),
        ],
        result: Some(TaskResult {
            text: answer_to(PROMPT),
            body: "body".into(),
            ..TaskResult::default()
        }),
        ..Task::default()
    };
    let replay = vec![
        seen(1, Status::Queued, 0),
        seen(2, Status::Processing, 1),
        seen(3, Status::Queued, 1),
        seen(4, Status::Processing, 2),
        seen(5, Status::Completed, 2),
    ];
    Evidence {
        accepted: [(id(), PROMPT.to_owned())].into(),
        listed: [id()].into(),
        ends: [(id(), task.clone())].into(),
        again: [(id(), task)].into(),
        watchers: vec![Watched {
            asked: [id()].into(),
            told: replay.iter().copied().map(told).collect(),
            is_over: true,
            ..Watched::default()
        }],
        times: replay.iter().copied().map(when).collect(),
        receipts: [(id(), RECEIPT)].into(),
        replay,
        calls: [(hash16(PROMPT), 2)].into(),
        strikes: vec![Strike {
            replica: Some(0),
            worker: Some("a".into()),
            at: STRUCK,
            until: STRUCK + 500,
        }],
        lease: Duration::from_secs(2),
        concurrency: 1,
    }
}

/// The faults found when the evidence is changed like this.
fn faults(change: impl FnOnce(&mut Evidence)) -> String {
    let mut evidence = lawful();
    change(&mut evidence);
    judge(&evidence).faults.join("\n")
}

fn end(evidence: &mut Evidence) -> &mut Task {
    evidence.ends.get_mut(&id()).unwrap()
}

#[track_caller]
fn caught(part: &str, change: impl FnOnce(&mut Evidence)) {
    let found = faults(change);
    assert!(found.contains(part), "{part:?} is not among: {found}");
}

#[test]
fn a_lawful_run_passes_and_is_counted() {
    let evidence = lawful();
    let verdict = judge(&evidence);
    assert_eq!(verdict.faults, [""; 0]);
    assert_eq!((verdict.lost, verdict.double_terminals), (0, 0));
    assert_eq!(
        (verdict.duplicate_calls, verdict.duplicates_allowed),
        (1, 1)
    );
    let waited = recovery(&evidence).unwrap();
    assert_eq!(waited.offered, Duration::from_millis(2_000));
    assert_eq!(waited.resumed, Duration::from_millis(2_500));
    let fresh = freshness(&evidence);
    assert_eq!((fresh.median.as_millis(), fresh.counted), (7, 5));
    assert_eq!((fresh.p99, fresh.longest), (fresh.median, fresh.median));
}

#[test]
fn a_lost_task_is_caught() {
    caught("accepted and gone", |run| run.ends.clear());
    caught("Some(Processing) at the end", |run| {
        end(run).status = TaskStatus::Processing as i32;
    });
    caught("accepted and not listed", |run| run.listed.clear());
}

#[test]
fn an_unexpected_task_is_caught() {
    let other = IdRange::new(tidings::clock::Timestamp(2), 0, 1, 1).first;
    caught("was never accepted", |run| {
        run.listed.insert(other);
    });
    caught("was never accepted, and called", |run| {
        run.calls.insert(hash16("another"), 1);
    });
    caught("which it did not ask for", |run| {
        run.watchers[0].asked = [other].into();
    });
}

#[test]
fn two_ends_are_caught() {
    let mut run = lawful();
    let mut other = run.watchers[0].told[4].clone();
    other.seen.status = Status::Error;
    run.watchers.push(Watched {
        asked: [id()].into(),
        told: vec![other],
        is_over: true,
        ..Watched::default()
    });
    assert_eq!(judge(&run).double_terminals, 1);
    caught("reads otherwise", |run| {
        run.again.get_mut(&id()).unwrap().result = None;
    });
    caught("another result than is stored", |run| {
        run.watchers[0].told[4].body = Some("another".into());
    });
}

#[test]
fn a_result_that_nobody_gave_is_caught() {
    caught("is no answer to it", |run| {
        end(run).result.as_mut().unwrap().text = "invented".into();
    });
    caught("a result without a call", |run| run.calls.clear());
    caught("Failed ended it", |run| {
        end(run).cause = TransitionCause::Failed as i32;
    });
    caught("poisoned after 1 lost workers", |run| {
        end(run).cause = TransitionCause::Poisoned as i32;
    });
}

#[test]
fn calls_that_no_fault_explains_are_caught() {
    caught("3 calls in 2 attempts", |run| {
        run.calls.insert(hash16(PROMPT), 3);
    });
    caught("1 calls repeated, 0 attempts lost", |run| {
        end(run).attempts[0].outcome = TransitionCause::Released as i32;
    });
    caught("worker a lost 1 attempts to faults that explain 0", |run| {
        run.strikes.clear();
    });
    let all = faults(|run| run.strikes[0].replica = None);
    assert_eq!(all, "", "what strikes all strikes each");
}

#[test]
fn attempts_out_of_order_are_caught() {
    caught("attempt 2 is out of order", |run| {
        end(run).attempts[1].start_time = at(11_000);
    });
    caught("attempt 2 is out of order", |run| {
        end(run).attempts[1].number = 3;
    });
    caught("attempt 2 of 1", |run| {
        end(run).attempts.pop();
    });
}

#[test]
fn a_watch_that_is_not_what_happened_is_caught() {
    caught("revision 4 follows 2", |run| {
        run.watchers[0].told.remove(2);
    });
    caught("revision 3 follows 3", |run| {
        let again = run.watchers[0].told[2].clone();
        run.watchers[0].told.insert(2, again);
    });
    caught("happened", |run| {
        run.watchers[0].told.remove(0);
    });
    caught("happened", |run| run.watchers[0].told.clear());
    caught("is no end", |run| {
        run.watchers[0].told.pop();
    });
    caught("did not end with OK", |run| run.watchers[0].is_over = false);
    caught("writes were lost", |run| run.watchers[0].resets = 1);
    caught("more than there is", |run| run.watchers[0].refused = 1);
    caught("the replay is not its whole history", |run| {
        run.replay.remove(0);
    });
    caught("replayed:", |run| {
        run.replay.remove(1);
    });
}

#[test]
fn what_a_fault_delays_is_not_counted_as_slow() {
    let counted = |change: &dyn Fn(&mut Evidence)| {
        let mut run = lawful();
        change(&mut run);
        freshness(&run).counted
    };
    assert_eq!(counted(&|run| run.strikes[0].replica = None), 2);
    assert_eq!(counted(&|run| run.strikes[0].replica = Some(1)), 2);
    assert_eq!(counted(&|_| ()), 5);
    assert_eq!(freshness_in_peace(&lawful()).counted, 2);
    assert_eq!(counted(&|run| run.watchers[0].told[0].since = 20_000), 4);
}
