use std::sync::Arc;

use super::*;
use crate::{
    clock::Timestamp,
    model::{
        BatchId, ErrorCode, Event, Failure, IdRange, Outcome, Priority, Spec, Task, Work, WorkerId,
    },
};

fn task() -> Task {
    let now = Timestamp(1_700_000_000_000);
    let ids = IdRange::new(now, 3, 99, 1);
    let spec = Spec {
        work: Work::Prompt {
            text: " \u{0} 数 \n".into(),
        },
        custom_id: "mine".into(),
        model: "m".into(),
        priority: Priority::High,
        timeout_ms: 1,
        deadline: now,
        not_before: None,
        status_retention_ms: 2,
        result_retention_ms: 3,
        max_attempts: 4,
        labels: [("k".into(), "v".into())].into(),
        retry_of: Some(ids.first),
        create_time: now,
        caching: None,
        stream: false,
        max_cost_micros: 0,
        validation_retries: None,
    };
    Task::new(ids.first, BatchId::new(now, 3, 5), Arc::new(spec), 7)
}

fn after_everything() -> Task {
    let mut task = task();
    let worker = WorkerId(42);
    let failure = Failure::new(ErrorCode::UpstreamError, "no");
    let events = [
        Event::Acquired { worker },
        Event::LeaseExpired(failure),
        Event::Acquired { worker },
        Event::Succeeded(Box::new(Outcome {
            text: "yes".into(),
            ..Outcome::default()
        })),
    ];
    for event in events {
        task.apply(event, Timestamp(1_700_000_000_001)).unwrap();
    }
    task
}

fn cancelled_in_the_midst() -> Task {
    let mut task = task();
    let worker = WorkerId(42);
    for event in [Event::Acquired { worker }, Event::CancelRequested] {
        task.apply(event, Timestamp(1_700_000_000_001)).unwrap();
    }
    task.keep_partial("so f\0数");
    task
}

#[test]
fn a_task_comes_back_as_it_was_written() {
    for task in [task(), after_everything(), cancelled_in_the_midst()] {
        assert_eq!(decode(task.id, &encode(&task)), Ok(task.clone()));
        let outcome = task.outcome.as_deref().map(encode_outcome);
        let apart = decode_state(
            task.id,
            encode_state(&task, &mut vec![7; 5]),
            encode_spec_in(&task.spec, &mut vec![7; 5]),
            outcome.as_deref(),
        );
        assert_eq!(apart, Ok(task));
    }
}

#[test]
fn parts_that_are_kept_apart_are_named_and_put_back() {
    let task = after_everything();
    let spec = encode_spec(&task.spec);
    let outcome = task.outcome.as_deref().map(encode_outcome).unwrap();
    for (spec_apart, outcome_apart) in [(true, true), (true, false), (false, true)] {
        let apart = Apart {
            spec: spec_apart,
            outcome: outcome_apart,
        };
        let record = encode_without(&task, apart);
        let named = kept_apart(&record);
        assert_eq!(named.0, apart);
        assert!(named.1 > 0);
        let spec = spec_apart.then_some(&spec[..]);
        let outcome = outcome_apart.then_some(&outcome[..]);
        let decode = |spec, outcome| decode_with(task.id, &record, spec, outcome);
        assert_eq!(decode(spec, outcome), Ok(task.clone()));
        assert!(decode(spec.filter(|_| false), outcome.filter(|_| false)).is_err());
        for length in 0..record.len() {
            assert!(decode_with(task.id, &record[..length], spec, outcome).is_err());
        }
    }
    assert_eq!(kept_apart(&encode(&task)), (Apart::default(), 0));
    assert_eq!(kept_apart(&[255; 30]), (Apart::default(), 0));
}

#[test]
fn a_record_cut_anywhere_is_a_fault_and_never_a_panic() {
    let task = after_everything();
    let bytes = encode(&task);
    for length in 0..bytes.len() {
        assert!(decode(task.id, &bytes[..length]).is_err(), "{length}");
    }
}

#[test]
fn a_record_of_another_format_is_a_fault() {
    let mut bytes = encode(&task());
    bytes[14] = 9;
    assert!(decode(task().id, &bytes).is_err());
}

#[test]
fn a_spec_from_before_the_cache_and_streams_is_read() {
    let spec = Spec::clone(&task().spec);
    let bytes = encode_spec(&spec);
    let mut fields = minicbor::Decoder::new(&bytes);
    fields.array().unwrap();
    (0..13).for_each(|_| fields.skip().unwrap());
    let mut before = bytes[..fields.position()].to_vec();
    // A list of thirteen.
    before[0] = 0x8d;
    assert_eq!(from_cbor::<Spec>(&before, "spec"), Ok(spec));
}

#[test]
fn an_outcome_from_before_the_cache_is_read() {
    /// As both were written then: what is left out at the end was not there.
    #[derive(minicbor::Encode)]
    struct Early {
        #[n(0)]
        text: String,
        #[n(1)]
        body: String,
        #[n(2)]
        model: String,
        #[n(3)]
        finish_reason: String,
        #[n(4)]
        usage: crate::model::Usage,
        #[n(5)]
        truncated: bool,
        #[n(6)]
        filtered: bool,
        #[n(7)]
        refused: bool,
    }
    let early = Early {
        text: "yes".into(),
        body: "{}".into(),
        model: "m".into(),
        finish_reason: "stop".into(),
        usage: crate::model::Usage::default(),
        truncated: true,
        filtered: false,
        refused: false,
    };
    let read: Outcome = from_cbor(&cbor(&early), "outcome").unwrap();
    assert_eq!((read.cached, read.truncated), (None, true));
}
