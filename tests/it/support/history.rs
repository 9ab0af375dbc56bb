//! Whether what a watcher was told could have happened: the check that ends every behaviour and fault test.

use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
};

use tidings::model::{Status, transition::TABLE};

/// One event as a watcher recorded it, in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen<Id> {
    /// The task.
    pub(crate) task: Id,
    /// The revision it came to.
    pub(crate) revision: u64,
    /// The status it came to.
    pub(crate) status: Status,
    /// How often a worker had acquired it by then.
    pub(crate) attempt: u32,
}

/// What a lawful history keeps to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Law {
    /// Attempts that no task may exceed.
    pub(crate) max_attempts: u32,
    /// Whether the watcher stayed to the end, so that every task must have come to one.
    pub(crate) is_complete: bool,
}

/// A task that was told wrongly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unlawful(String);

impl fmt::Display for Unlawful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Panics unless every history is lawful: see [`check`].
#[track_caller]
pub(crate) fn assert_lawful<Id: Copy + Ord + Debug>(
    histories: &[impl AsRef<[Seen<Id>]>],
    law: Law,
) {
    for (watcher, history) in histories.iter().enumerate() {
        if let Err(fault) = check(history.as_ref(), law) {
            panic!("watcher {watcher}: {fault}");
        }
    }
}

/// Checks what one watcher was told, of however many tasks: each task's revisions come in order, once, and without
/// a gap from the first one told; every step is in the transition table; nothing follows a terminal status; and
/// attempts grow by one with each start and stay within the limit.
///
/// # Errors
/// Names the task and what is wrong.
pub(crate) fn check<Id: Copy + Ord + Debug>(
    history: &[Seen<Id>],
    law: Law,
) -> Result<(), Unlawful> {
    let mut last: BTreeMap<Id, Seen<Id>> = BTreeMap::new();
    for now in history {
        let checked = match last.insert(now.task, *now) {
            Some(before) => check_step(&before, now),
            None => check_first(now),
        };
        let checked = checked.and_then(|()| check_attempts(now, law));
        checked.map_err(|fault| Unlawful(format!("task {:?}: {fault}", now.task)))?;
    }
    let unfinished = last.values().find(|seen| !seen.status.is_terminal());
    match unfinished {
        Some(seen) if law.is_complete => Err(Unlawful(format!(
            "task {:?}: the last event told, revision {}, is {:?}, which is no end",
            seen.task, seen.revision, seen.status
        ))),
        _ => Ok(()),
    }
}

fn check_first<Id>(now: &Seen<Id>) -> Result<(), String> {
    let is_first = now.revision == 1;
    if now.revision == 0 || (is_first && now.status != Status::Queued) {
        return Err(format!("revision {} is {:?}", now.revision, now.status));
    }
    if is_first && now.attempt != 0 {
        return Err(format!("attempt {} before the first start", now.attempt));
    }
    Ok(())
}

fn check_step<Id>(before: &Seen<Id>, now: &Seen<Id>) -> Result<(), String> {
    if before.status.is_terminal() {
        return Err(format!(
            "revision {} follows the end at {}",
            now.revision, before.revision
        ));
    }
    if now.revision != before.revision + 1 {
        return Err(format!(
            "revision {} follows {}",
            now.revision, before.revision
        ));
    }
    let is_legal = TABLE
        .iter()
        .any(|(from, _, to)| (*from, *to) == (before.status, now.status));
    if !is_legal {
        return Err(format!(
            "{:?} follows {:?} at revision {}",
            now.status, before.status, now.revision
        ));
    }
    let starts = u32::from(now.status == Status::Processing);
    if now.attempt != before.attempt + starts {
        return Err(format!(
            "attempt {} follows {} at revision {}",
            now.attempt, before.attempt, now.revision
        ));
    }
    Ok(())
}

fn check_attempts<Id>(now: &Seen<Id>, law: Law) -> Result<(), String> {
    if now.attempt > law.max_attempts {
        return Err(format!(
            "attempt {} of {} allowed",
            now.attempt, law.max_attempts
        ));
    }
    let has_run = matches!(now.status, Status::Processing | Status::Completed);
    if has_run && now.attempt == 0 {
        return Err(format!("{:?} without an attempt", now.status));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Law, Seen, assert_lawful, check};
    use tidings::model::Status::{self, Cancelled, Completed, Error, Processing, Queued};

    const LAW: Law = Law {
        max_attempts: 2,
        is_complete: true,
    };

    fn seen(revision: u64, status: Status, attempt: u32) -> Seen<char> {
        Seen {
            task: 'a',
            revision,
            status,
            attempt,
        }
    }

    fn refused(history: &[Seen<char>]) -> String {
        check(history, LAW).unwrap_err().to_string()
    }

    #[test]
    fn lawful_histories_pass() {
        let retried = [
            seen(1, Queued, 0),
            seen(2, Processing, 1),
            seen(3, Queued, 1),
            seen(4, Processing, 2),
            seen(5, Completed, 2),
        ];
        let cancelled = [seen(1, Queued, 0), seen(2, Cancelled, 0)];
        let resumed = [seen(3, Queued, 1), seen(4, Error, 1)];
        assert_lawful(
            &[&retried[..], &cancelled, &resumed, &retried[4..], &[]],
            LAW,
        );
        let open = Law {
            is_complete: false,
            ..LAW
        };
        assert_lawful(&[&retried[..4]], open);
    }

    #[test]
    fn tasks_may_be_told_in_turns() {
        let other = |seen: Seen<char>| Seen { task: 'b', ..seen };
        let turns = [
            seen(1, Queued, 0),
            other(seen(1, Queued, 0)),
            other(seen(2, Cancelled, 0)),
            seen(2, Processing, 1),
            seen(3, Completed, 1),
        ];
        assert_lawful(&[turns], LAW);
    }

    #[test]
    fn a_gap_is_caught() {
        let fault = refused(&[seen(1, Queued, 0), seen(3, Completed, 1)]);
        assert_eq!(fault, "task 'a': revision 3 follows 1");
    }

    #[test]
    fn a_repeat_is_caught() {
        let fault = refused(&[seen(1, Queued, 0), seen(1, Queued, 0)]);
        assert_eq!(fault, "task 'a': revision 1 follows 1");
    }

    #[test]
    fn a_step_back_is_caught() {
        let fault = refused(&[seen(2, Processing, 1), seen(1, Queued, 0)]);
        assert_eq!(fault, "task 'a': revision 1 follows 2");
    }

    #[test]
    fn a_step_that_is_not_in_the_table_is_caught() {
        let fault = refused(&[seen(1, Queued, 0), seen(2, Completed, 0)]);
        assert_eq!(fault, "task 'a': Completed follows Queued at revision 2");
    }

    #[test]
    fn a_second_end_is_caught() {
        let fault = refused(&[seen(3, Completed, 1), seen(4, Cancelled, 1)]);
        assert_eq!(fault, "task 'a': revision 4 follows the end at 3");
    }

    #[test]
    fn a_missing_end_is_caught() {
        let fault = refused(&[seen(1, Queued, 0)]);
        assert_eq!(
            fault,
            "task 'a': the last event told, revision 1, is Queued, which is no end"
        );
    }

    #[test]
    fn a_false_beginning_is_caught() {
        assert_eq!(
            refused(&[seen(0, Queued, 0)]),
            "task 'a': revision 0 is Queued"
        );
        assert_eq!(
            refused(&[seen(1, Completed, 1)]),
            "task 'a': revision 1 is Completed"
        );
        let fault = refused(&[seen(1, Queued, 1), seen(2, Cancelled, 1)]);
        assert_eq!(fault, "task 'a': attempt 1 before the first start");
    }

    #[test]
    fn an_attempt_miscounted_is_caught() {
        let fault = refused(&[seen(1, Queued, 0), seen(2, Processing, 2)]);
        assert_eq!(fault, "task 'a': attempt 2 follows 0 at revision 2");
        let fault = refused(&[seen(2, Processing, 1), seen(3, Queued, 2)]);
        assert_eq!(fault, "task 'a': attempt 2 follows 1 at revision 3");
        assert_eq!(
            refused(&[seen(3, Completed, 0)]),
            "task 'a': Completed without an attempt"
        );
    }

    #[test]
    fn too_many_attempts_are_caught() {
        let fault = refused(&[seen(5, Queued, 2), seen(6, Processing, 3)]);
        assert_eq!(fault, "task 'a': attempt 3 of 2 allowed");
    }

    #[test]
    #[should_panic(expected = "watcher 1: task 'a': revision 3 follows 1")]
    fn the_watcher_that_was_told_wrongly_is_named() {
        let fine = vec![seen(1, Queued, 0), seen(2, Cancelled, 0)];
        let gap = vec![seen(1, Queued, 0), seen(3, Cancelled, 0)];
        assert_lawful(&[fine, gap], LAW);
    }
}
