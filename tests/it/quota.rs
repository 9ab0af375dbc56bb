//! The judge of `make bench-quota`: figures from logs that are made up, so that what they must be is known.

#[expect(
    dead_code,
    reason = "the bench uses all of it, these tests what can be wrong"
)]
#[path = "../../benches/quota/judge.rs"]
mod judge;

use judge::{Call, Log, Quota, TRAILING, percentile, task_of};
use tidings::simulator::Ended;

fn call(task: usize, at: f64) -> Call {
    Call {
        at,
        end: at + 2.0,
        task: task.to_string(),
        admitted: true,
        throttled: false,
        units: 1.0,
        billed: 10,
        ended: Ended::Answered,
        fault: None,
    }
}

fn refused(task: usize, at: f64) -> Call {
    Call {
        admitted: false,
        throttled: true,
        billed: 0,
        ended: Ended::Throttled,
        ..call(task, at)
    }
}

/// Calls of a task each, so many a second, between two instants.
fn steady(first: usize, per_second: f64, (from, to): (f64, f64)) -> Vec<Call> {
    let count = ((to - from) * per_second).round() as usize;
    let at = |number: usize| from + number as f64 / per_second;
    (0..count)
        .map(|number| call(first + number, at(number)))
        .collect()
}

fn log(mut calls: Vec<Call>) -> Log {
    calls.sort_by(|one, other| one.at.total_cmp(&other.at));
    Log {
        calls,
        ..Log::default()
    }
}

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() < 0.005
}

#[test]
fn a_rate_of_nine_tenths_is_a_utilisation_of_nine_tenths() {
    let quota = Quota::steady(600);
    let log = log(steady(0, 9.0, (0.0, 200.0)));
    let (from, to) = log.window(1_800, &quota);
    assert_eq!(from, 30.0);
    assert!(
        (198.0..199.5).contains(&to),
        "less than a second's work is left: {to}"
    );
    assert!(close(log.utilisation((from, to), &quota), 0.9));
    assert_eq!(log.convergence(0.0, TRAILING, &quota), None);
}

#[test]
fn a_tail_of_one_slow_task_is_not_measured() {
    let quota = Quota::steady(600);
    let mut calls = steady(0, 10.0, (0.0, 100.0));
    calls.push(call(1_000, 300.0));
    let log = log(calls);
    let (_, to) = log.window(1_001, &quota);
    assert!(to < 101.0, "{to}");
    assert!(close(log.utilisation((30.0, to), &quota), 1.0));
}

#[test]
fn work_that_is_left_undone_is_measured_to_the_last_call() {
    let quota = Quota::steady(600);
    let log = log(steady(0, 5.0, (0.0, 100.0)));
    let (_, to) = log.window(1_000, &quota);
    assert!(to > 99.0, "{to}");
    assert!(close(log.utilisation((30.0, to), &quota), 0.5));
}

#[test]
fn refusals_count_as_calls_and_not_as_use() {
    let quota = Quota::steady(600);
    let mut calls = steady(0, 10.0, (0.0, 100.0));
    calls.extend((0..250).map(|number| refused(number, 30.0 + number as f64 / 10.0)));
    let log = log(calls);
    assert!(close(log.utilisation((30.0, 90.0), &quota), 1.0));
    assert!(close(log.throttled((30.0, 90.0)), 250.0 / 850.0));
    assert_eq!(log.throttled((60.0, 90.0)), 0.0);
}

#[test]
fn a_changed_quota_is_judged_by_what_it_was_at_the_time() {
    let mut quota = Quota::steady(600);
    quota.changes = vec![(100.0, 0.5), (200.0, 1.0)];
    assert_eq!(quota.between(0.0, 300.0), 2_500.0);
    assert_eq!(quota.between(150.0, 250.0), 750.0);
    // It goes on at the old rate for 20 s, is refused half of it, and finds its way.
    let mut calls = steady(0, 10.0, (0.0, 100.0));
    calls.extend(steady(1_000, 2.0, (100.0, 120.0)));
    calls.extend((0..160).map(|number| refused(number, 100.0 + number as f64 / 8.0)));
    calls.extend(steady(2_000, 5.0, (120.0, 230.0)));
    calls.extend(steady(3_000, 10.0, (230.0, 300.0)));
    let log = log(calls);
    let fall = log.convergence(100.0, TRAILING, &quota).unwrap();
    assert!((28.0..=30.0).contains(&fall), "{fall}");
    let rise = log.convergence(200.0, TRAILING, &quota).unwrap();
    assert!((38.0..=40.0).contains(&rise), "{rise}");
}

#[test]
fn what_came_before_a_change_does_not_count_as_convergence() {
    let mut quota = Quota::steady(600);
    quota.changes = vec![(100.0, 0.5)];
    let mut calls = steady(0, 10.0, (0.0, 100.0));
    calls.extend(steady(1_000, 1.0, (100.0, 200.0)));
    assert_eq!(log(calls).convergence(100.0, TRAILING, &quota), None);
}

#[test]
fn convergence_from_the_start_takes_no_longer_than_the_trailing_time_if_all_goes_well() {
    let quota = Quota::steady(600);
    let log = log(steady(0, 10.0, (0.0, 60.0)));
    let time = log.convergence(0.0, TRAILING, &quota).unwrap();
    assert!((9.0..=10.0).contains(&time), "{time}");
}

#[test]
fn what_is_billed_twice_is_found_and_priced() {
    let mut calls = steady(0, 10.0, (0.0, 10.0));
    calls.push(call(7, 20.0));
    calls.push(refused(8, 21.0));
    let log = log(calls);
    assert_eq!(log.billed_twice().into_iter().collect::<Vec<_>>(), ["7"]);
    assert_eq!(log.billed(), 1_010);
    assert!(close(log.overspend(), 0.01));
}

#[test]
fn calls_that_hang_up_or_stay_open_are_counted_by_their_instant() {
    let mut calls = steady(0, 1.0, (0.0, 10.0));
    for call in &mut calls[..3] {
        call.ended = Ended::HungUp;
        call.end = 9.5;
    }
    let log = log(calls);
    assert_eq!(log.hung_up_within((9.0, 10.0)), 3);
    assert_eq!(log.hung_up_within((0.0, 9.0)), 0);
    assert_eq!(log.open_at(9.2), 3 + 2);
}

#[test]
fn percentiles_are_values_that_were_seen() {
    let mut values: Vec<f64> = (1..=1_000).rev().map(f64::from).collect();
    assert_eq!(percentile(&mut values, 0.99), 990.0);
    assert_eq!(percentile(&mut values, 0.5), 500.0);
    assert_eq!(percentile(&mut values, 1.0), 1_000.0);
    assert_eq!(percentile(&mut [4.0], 0.99), 4.0);
    assert!(percentile(&mut [], 0.5).is_nan());
}

#[test]
fn a_request_id_names_its_task() {
    let id = "0190b8f0-0000-7000-8000-000000000000";
    assert_eq!(task_of(&format!("{id}-12")), id);
    assert_eq!(task_of("17-2"), "17");
}
