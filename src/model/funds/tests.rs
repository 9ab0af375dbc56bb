use std::sync::Arc;

use super::*;
use crate::model::{
    BatchId, ErrorCode, Event, Failure, IdRange, Outcome, Priority, Spec, Usage, Work, WorkerId,
};

const NOW: Timestamp = Timestamp(1_000);

fn ended(event: Event) -> Bill {
    let spec = Spec {
        work: Work::Prompt { text: "p".into() },
        custom_id: String::new(),
        model: "m".into(),
        priority: Priority::Normal,
        timeout_ms: 1,
        deadline: Timestamp(2_000),
        not_before: None,
        status_retention_ms: 1,
        result_retention_ms: 1,
        max_attempts: 1,
        labels: [].into(),
        retry_of: None,
        create_time: NOW,
        caching: None,
        stream: false,
        max_cost_micros: 9,
        validation_retries: None,
    };
    let id = IdRange::new(NOW, 0, 1, 1).first;
    let mut task = Task::new(id, BatchId::new(NOW, 0, 1), Arc::new(spec), 1);
    let worker = WorkerId(1);
    task.apply(Event::Acquired { worker }, NOW).unwrap();
    task.apply(event, NOW).unwrap();
    Bill::of(&task)
}

fn answered(cost_nanos: u64, cached: Option<Cached>) -> Event {
    let usage = Usage {
        cost_nanos,
        ..Usage::default()
    };
    Event::Succeeded(Box::new(Outcome {
        usage,
        cached,
        ..Outcome::default()
    }))
}

fn failure(maybe_billed: bool) -> Failure {
    Failure {
        maybe_billed,
        ..Failure::new(ErrorCode::UpstreamError, "no")
    }
}

#[test]
fn an_answer_costs_what_it_says_and_in_doubt_the_most() {
    assert_eq!(ended(answered(7, None)), Bill::Known(7));
    assert_eq!(ended(answered(7, Some(Cached::Miss))), Bill::Known(7));
    assert_eq!(ended(answered(0, Some(Cached::Miss))), Bill::Unknown);
    for cached in [Cached::Hit, Cached::Coalesced] {
        assert_eq!(ended(answered(0, Some(cached))), Bill::Known(0));
    }
    assert_eq!(Bill::Unknown.cost(9, true), 9);
    assert_eq!(Bill::Unknown.cost(9, false), 0);
    assert_eq!(Bill::Known(10).cost(9, false), 10);
}

#[test]
fn what_was_certainly_refused_costs_nothing_and_all_else_may_have() {
    assert_eq!(ended(Event::Failed(failure(false))), Bill::Known(0));
    // An answer that is no good is paid for as any other.
    let misfit = |cost_nanos| Failure {
        cost_nanos,
        ..failure(true)
    };
    assert_eq!(ended(Event::Failed(misfit(7))), Bill::Known(7));
    assert_eq!(
        ended(Event::Failed(misfit(u64::MAX))),
        Bill::Known(MAX_BUDGET)
    );
    for event in [
        Event::Failed(failure(true)),
        Event::Released,
        Event::CancelRequested,
        Event::LeaseExpired(failure(false)),
        Event::Poisoned(failure(false)),
        Event::DeadlinePassed(failure(false)),
    ] {
        assert_eq!(ended(event.clone()), Bill::Unknown, "{event:?}");
    }
}

#[test]
fn what_is_reserved_and_spent_is_never_more_than_the_budget() {
    let mut funds = Funds::new(10);
    assert!(funds.has_room(10) && !funds.has_room(11));
    funds.reserve(6);
    assert!(funds.has_room(4) && !funds.has_room(5));
    funds.settle(6, 2);
    assert_eq!((funds.spent, funds.reserved), (2, 0));
    assert!(!funds.change(2) && funds.budget == 10);
    assert!(funds.change(3) && funds.budget == 3);
    assert!(!Funds::new(u64::MAX).may_go_on());
}

#[test]
fn a_batch_that_is_short_goes_on_when_there_is_room_or_nothing_to_wait_for() {
    let mut funds = Funds {
        short: Some(5),
        ..Funds::new(10)
    };
    funds.reserve(4);
    funds.reserve(4);
    assert!(!funds.may_go_on());
    funds.settle(4, 4);
    assert!(!funds.may_go_on());
    funds.settle(4, 0);
    assert!(funds.may_go_on());
    funds.settle(0, 6);
    assert!(
        funds.may_go_on(),
        "somebody has to find out that it is over"
    );
}
