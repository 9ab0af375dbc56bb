use super::*;
use crate::model::{
    BatchId, Caching, Charges, ErrorCode, Event, Failure, IdRange, ParkReason, Parked, Priority,
    Spec, Work, WorkerId,
};

const START: Timestamp = Timestamp(1_700_000_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

fn spec(text: &str) -> Spec {
    Spec {
        work: Work::Prompt { text: text.into() },
        custom_id: String::new(),
        model: "m".into(),
        priority: Priority::Normal,
        timeout_ms: 1_000,
        deadline: START + HOUR,
        not_before: None,
        status_retention_ms: 1_000,
        result_retention_ms: 1_000,
        max_attempts: 5,
        labels: [].into(),
        retry_of: None,
        create_time: START,
        caching: Some(Caching::default()),
        stream: false,
        max_cost_micros: 0,
        validation_retries: None,
    }
}

fn task(batch: u64, text: &str, events: impl IntoIterator<Item = Event>) -> Task {
    let id = IdRange::new(START, 0, batch << 9, 1).first;
    let mut task = Task::new(id, BatchId::new(START, 0, batch), Arc::new(spec(text)), 1);
    let worker = WorkerId(1);
    task.apply(Event::Acquired { worker }, START).unwrap();
    for event in events {
        task.apply(event, START).unwrap();
    }
    task
}

fn answer(change: impl FnOnce(&mut Outcome)) -> Event {
    let mut outcome = Outcome {
        text: "yes".into(),
        ..Outcome::default()
    };
    change(&mut outcome);
    Event::Succeeded(Box::new(outcome))
}

/// How a lead that went through these events stands for an equal task of batch 1, some time later.
fn standing(lead: &Task, later: Duration, has_waited: bool) -> Standing {
    let own = task(1, "p", []);
    let asker = Asker {
        task: &own,
        key: upstream::cache_key(&own.spec).unwrap(),
        max_age: HOUR,
        has_waited,
    };
    let fence = task(2, "p", []).fence();
    let id = lead.id;
    let found = Lookup::Found(Box::new(lead.clone()));
    asker.judge(Lead { task: id, fence }, found, START + later)
}

fn stands(events: impl IntoIterator<Item = Event>, later: Duration) -> Standing {
    standing(&task(2, "p", events), later, false)
}

#[test]
fn a_lead_runs_as_long_as_it_is_processing_as_it_was() {
    assert_eq!(stands([], HOUR), Standing::Running);
    let worker = WorkerId(2);
    let events = [Event::Released, Event::Acquired { worker }];
    assert_eq!(stands(events, Duration::ZERO), Standing::Gone);
}

#[test]
fn an_answer_is_taken_while_it_is_fresh_or_was_waited_for() {
    let answered = task(2, "p", [answer(|_| {})]);
    let answer = answered.outcome.clone().unwrap();
    let fresh = HOUR - Duration::from_millis(1);
    assert_eq!(
        standing(&answered, fresh, false),
        Standing::Answered(answer.clone())
    );
    assert_eq!(standing(&answered, HOUR, false), Standing::Gone);
    assert_eq!(standing(&answered, HOUR, true), Standing::Answered(answer));
}

#[test]
fn an_answer_to_something_else_is_never_taken() {
    let other = task(2, "q", [answer(|_| {})]);
    assert_eq!(standing(&other, Duration::ZERO, true), Standing::Gone);
}

#[test]
fn an_answer_that_is_cut_filtered_or_refused_is_for_its_own_task_alone() {
    let changes: [fn(&mut Outcome); 3] = [
        |it| it.truncated = true,
        |it| it.filtered = true,
        |it| it.refused = true,
    ];
    for change in changes {
        let lead = task(2, "p", [answer(change)]);
        assert_eq!(standing(&lead, Duration::ZERO, true), Standing::Unshareable);
        assert_eq!(standing(&lead, Duration::ZERO, false), Standing::Gone);
    }
}

#[test]
fn the_place_of_a_lead_that_came_to_nothing_is_free() {
    let failure = || Failure::new(ErrorCode::UpstreamError, "no");
    for event in [
        Event::Failed(failure()),
        Event::Released,
        Event::LeaseExpired(failure()),
        Event::CancelRequested,
        Event::DeadlinePassed(failure()),
    ] {
        assert_eq!(stands([event], Duration::ZERO), Standing::Gone);
    }
    let own = task(1, "p", []);
    let asker = Asker {
        task: &own,
        key: upstream::cache_key(&own.spec).unwrap(),
        max_age: HOUR,
        has_waited: true,
    };
    let lead = Lead {
        task: own.id,
        fence: own.fence(),
    };
    let judge = |lookup| asker.judge(lead, lookup, START);
    assert_eq!(judge(Lookup::Missing), Standing::Gone);
    assert_eq!(judge(Lookup::Fault("?".into())), Standing::Gone);
    assert_eq!(judge(Lookup::Expired), Standing::Unshareable);
}

#[test]
fn after_a_failed_call_there_is_a_pause_of_bounded_length() {
    let retried = |pause: Duration| Event::Retried {
        failure: Failure::new(ErrorCode::UpstreamError, "no"),
        due: START + pause,
        charges: Charges::default(),
    };
    let second = Duration::from_secs(1);
    let free = START + second;
    assert_eq!(
        stands([retried(second)], Duration::ZERO),
        Standing::Pausing(free)
    );
    assert_eq!(stands([retried(second)], second), Standing::Gone);
    let free = START + LONGEST_PAUSE;
    assert_eq!(stands([retried(HOUR)], second), Standing::Pausing(free));
    assert_eq!(stands([retried(HOUR)], LONGEST_PAUSE), Standing::Gone);
}

#[test]
fn a_parked_lead_holds_back_its_own_batch_alone() {
    let parked = || Event::Parked {
        failure: Failure::new(ErrorCode::QuotaExhausted, "no money"),
        parked: Parked {
            reason: ParkReason::QuotaExhausted,
            message: "top up".into(),
            time: START,
        },
    };
    let lead = task(1, "p", [parked()]);
    assert_eq!(standing(&lead, Duration::ZERO, true), Standing::HeldBack);
    assert_eq!(stands([parked()], Duration::ZERO), Standing::Gone);
}
