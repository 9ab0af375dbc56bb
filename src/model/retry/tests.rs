use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::model::{
    BatchId, IdRange, ParkReason, Priority, Spec, Status, Work, WorkerId, task::PARTIAL_MAX,
};

const START: Timestamp = Timestamp(1_700_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn processing() -> Task {
    let spec = Spec {
        work: Work::Prompt { text: "p".into() },
        custom_id: String::new(),
        model: "m".into(),
        priority: Priority::Normal,
        timeout_ms: 1_000,
        deadline: START + DAY,
        not_before: None,
        status_retention_ms: 1,
        result_retention_ms: 1,
        max_attempts: 5,
        labels: BTreeMap::new(),
        retry_of: None,
        create_time: START,
        caching: None,
        stream: false,
        max_cost_micros: 0,
        validation_retries: None,
    };
    let id = IdRange::new(START, 0, 1, 1).first;
    let mut task = Task::new(id, BatchId::new(START, 0, 1), Arc::new(spec), 1);
    acquire(&mut task, START);
    task
}

fn acquire(task: &mut Task, now: Timestamp) {
    let worker = WorkerId(1);
    task.apply(Event::Acquired { worker }, now).unwrap();
}

fn failed(code: ErrorCode, recourse: Recourse) -> Failed {
    Failed {
        failure: Failure::new(code, "no"),
        recourse,
    }
}

fn retry(budget: Budget, wait: Wait) -> Recourse {
    Recourse::Retry { budget, wait }
}

const BACKOFF: Wait = Wait::Backoff {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(8),
};

/// Fails the task in the same way until it ends, and answers with its last event and how many failures it took.
fn until_it_ends(code: ErrorCode, recourse: Recourse) -> (Event, usize) {
    let (mut task, mut now) = (processing(), START);
    for count in 1.. {
        let event = after_failure(&task, failed(code, recourse), now, 0.5);
        if let Event::Retried { due, .. } = &event {
            now = *due;
        }
        task.apply(event.clone(), now).unwrap();
        if task.status().is_terminal() {
            return (event, count);
        }
        acquire(&mut task, now);
    }
    unreachable!("a count does not end")
}

#[test]
fn each_budget_ends_where_it_should() {
    let code = ErrorCode::UpstreamError;
    for (budget, most) in [
        (Budget::Attempts, 5),
        (Budget::Ambiguous, 2),
        (Budget::AttemptsAndAmbiguous, 2),
        (Budget::Overload, 20),
    ] {
        let (event, count) = until_it_ends(code, retry(budget, BACKOFF));
        assert!(matches!(event, Event::Failed(failure) if failure.code == code));
        assert_eq!(count, most, "{budget:?}");
    }
}

#[test]
fn a_day_of_rate_limits_or_of_an_upstream_that_is_away_fails_no_task() {
    let waits = [
        (ErrorCode::RateLimited, Wait::Told(Duration::from_secs(3))),
        (ErrorCode::UpstreamUnreachable, BACKOFF),
    ];
    for (code, wait) in waits {
        let (mut task, mut now) = (processing(), START);
        while now < START + DAY {
            let event = after_failure(&task, failed(code, retry(Budget::Time, wait)), now, 0.5);
            let Event::Retried { due, .. } = &event else {
                panic!("{code:?} ended the task: {event:?}");
            };
            now = *due;
            task.apply(event, now).unwrap();
            assert_eq!(task.failures.len(), 1, "the same failure is kept once");
            acquire(&mut task, now);
        }
        assert_eq!(task.charges.failures + task.charges.ambiguous, 0);
    }
}

#[test]
fn what_the_upstream_tells_is_waited_at_least() {
    let told = Duration::from_secs(7);
    let recourse = retry(Budget::Time, Wait::Told(told));
    for jitter in [0.0, 0.5, 1.0] {
        let event = after_failure(
            &processing(),
            failed(ErrorCode::RateLimited, recourse),
            START,
            jitter,
        );
        let Event::Retried { due, .. } = event else {
            panic!("{event:?}");
        };
        let waited = due.since(START);
        assert!(waited >= told && waited <= told.mul_f64(1.1), "{waited:?}");
    }
}

#[test]
fn no_money_parks_and_an_invalid_request_ends() {
    let parked = failed(
        ErrorCode::QuotaExhausted,
        Recourse::Park(ParkReason::QuotaExhausted),
    );
    let event = after_failure(&processing(), parked, START, 0.5);
    assert!(matches!(event, Event::Parked { .. }));
    let invalid = failed(ErrorCode::InvalidRequest, Recourse::Never);
    let event = after_failure(&processing(), invalid, START, 0.5);
    assert!(matches!(event, Event::Failed(_)));
}

#[test]
fn what_was_put_out_is_kept_where_no_answer_came_of_it_and_up_to_a_bound() {
    let failure = || Failure::new(ErrorCode::StreamTruncated, "no");
    for (event, is_kept) in [
        (Event::Failed(failure()), true),
        (Event::CancelRequested, true),
        (Event::DeadlinePassed(failure()), true),
        (Event::Poisoned(failure()), true),
        (Event::Released, false),
        (Event::Succeeded(Box::default()), false),
    ] {
        let mut task = processing();
        task.apply(event, START).unwrap();
        task.keep_partial("half");
        assert_eq!(task.partial.is_some(), is_kept, "{:?}", task.last());
        task.keep_partial(&"数".repeat(PARTIAL_MAX));
        let kept = task.partial.map_or(0, |text| text.len());
        assert_eq!(kept, if is_kept { PARTIAL_MAX / 3 * 3 } else { 0 });
    }
}

#[test]
fn a_third_lost_worker_is_poison() {
    let mut task = processing();
    for _ in 1..MAX_CRASHES {
        let event = after_lost_worker(&task);
        assert!(matches!(&event, Event::LeaseExpired(failure) if !failure.maybe_billed));
        task.apply(event, START).unwrap();
        acquire(&mut task, START);
    }
    task.sent = true;
    task.apply(after_lost_worker(&task), START).unwrap();
    assert_eq!(task.status(), Status::Error);
    assert_eq!(task.error().unwrap().code, ErrorCode::WorkerLost);
    assert!(task.error().unwrap().maybe_billed);
}

#[test]
fn answers_that_do_not_fit_have_an_allowance_of_their_own_and_no_wait() {
    let code = ErrorCode::OutputSchemaInvalid;
    for (retries, failures) in [(None, 1), (Some(0), 1), (Some(2), 3), (Some(10), 11)] {
        let mut task = processing();
        Arc::make_mut(&mut task.spec).validation_retries = retries;
        task.charges.failures = 4;
        for number in 1..=failures {
            assert_eq!(task.generation(), number - 1);
            let again = retry(Budget::Validation, Wait::Told(Duration::ZERO));
            let event = after_failure(&task, failed(code, again), START, 1.0);
            let is_last = number == failures;
            assert_eq!(matches!(event, Event::Failed(_)), is_last, "{retries:?}");
            task.apply(event, START).unwrap();
            if !is_last {
                assert_eq!((task.due, task.charges.failures), (START, 4));
                acquire(&mut task, START);
            }
        }
    }
}

#[test]
fn only_a_failure_that_cost_nothing_begins_another_generation() {
    let retried = |code, http_status, maybe_billed, budget| Failed {
        failure: Failure {
            http_status,
            maybe_billed,
            ..Failure::new(code, "no")
        },
        recourse: retry(budget, BACKOFF),
    };
    let (mut task, mut generation) = (processing(), 0);
    for (failed, begins) in [
        (
            retried(ErrorCode::UpstreamError, 500, false, Budget::Attempts),
            true,
        ),
        (
            retried(
                ErrorCode::UpstreamError,
                502,
                true,
                Budget::AttemptsAndAmbiguous,
            ),
            false,
        ),
        (
            retried(ErrorCode::RateLimited, 429, false, Budget::Time),
            false,
        ),
        (
            retried(ErrorCode::UpstreamUnreachable, 0, false, Budget::Time),
            false,
        ),
        (
            retried(ErrorCode::UpstreamOverloaded, 503, false, Budget::Overload),
            true,
        ),
    ] {
        let event = after_failure(&task, failed.clone(), START, 0.5);
        task.apply(event, START).unwrap();
        generation += usize::from(begins);
        assert_eq!(task.generation(), generation, "{failed:?}");
        acquire(&mut task, START);
    }
    task.apply(after_lost_worker(&task), START).unwrap();
    assert_eq!(
        task.generation(),
        generation,
        "what was lost may have been sent"
    );
}
