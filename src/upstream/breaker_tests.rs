//! The breaker in virtual time.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::*;
use crate::model::{Budget, Failure, Recourse, Wait};

const MS: Duration = Duration::from_millis(1);

fn ended(breaker: &mut Breaker, health: Health, now: Instant) {
    let permit = breaker
        .admit(now)
        .expect("the breaker lets the call through");
    breaker.ended(permit, health, now);
}

/// So many calls that are out at once, and end one after the other.
fn together(breaker: &mut Breaker, count: u32, health: Health, now: Instant) {
    let admit = |_| {
        breaker
            .admit(now)
            .expect("the breaker lets the call through")
    };
    let permits: Vec<Permit> = (0..count).map(admit).collect();
    for permit in permits {
        breaker.ended(permit, health, now);
    }
}

/// A breaker that has just opened.
fn opened(now: Instant) -> Breaker {
    let mut breaker = Breaker::default();
    together(&mut breaker, IN_A_ROW, Health::Failing, now);
    assert!(!breaker.is_closed());
    breaker
}

#[test]
fn five_failures_in_a_row_open_it_and_four_do_not() {
    let now = Instant::now();
    let mut breaker = Breaker::default();
    for _ in 0..3 {
        together(&mut breaker, 4, Health::Failing, now);
        let later = now + PROBE_EVERY;
        together(&mut breaker, 1, Health::Alive, later);
        together(&mut breaker, 10, Health::Alive, later);
    }
    assert!(breaker.is_closed());
    together(&mut breaker, 5, Health::Failing, now + PROBE_EVERY);
    assert!(!breaker.is_closed());
    let now = now + PROBE_EVERY;
    assert_eq!(breaker.admit(now), None);
    assert_eq!(breaker.opens_at(now), now + PROBE_EVERY);
}

#[test]
fn two_failures_in_a_row_make_it_careful_until_the_next_answer() {
    let start = Instant::now();
    let mut breaker = Breaker::default();
    // 10 calls a second.
    for n in 0..100 {
        ended(&mut breaker, Health::Alive, start + n * 100 * MS);
    }
    let now = start + 10 * GRAIN;
    ended(&mut breaker, Health::Failing, now);
    assert_eq!(breaker.opens_at(now), now, "one may be chance");
    ended(&mut breaker, Health::Failing, now);
    let next = breaker.opens_at(now);
    assert!(
        next > now + 900 * MS && next <= now + PROBE_EVERY,
        "a tenth"
    );
    ended(&mut breaker, Health::Alive, next);
    assert_eq!(breaker.opens_at(next), next);
}

#[test]
fn a_few_quick_failures_among_slow_answers_change_nothing() {
    // 100 calls a second, of which one in twenty fails at once and the others are answered after two seconds.
    let start = Instant::now();
    let mut breaker = Breaker::default();
    let mut out = VecDeque::new();
    for n in 0..2_000 {
        let now = start + n * 10 * MS;
        while let Some((end, permit)) = out.front().copied()
            && end <= now
        {
            out.pop_front();
            breaker.ended(permit, Health::Alive, now);
        }
        let permit = breaker.admit(now).expect("no call is held back");
        if n % 20 == 7 {
            breaker.ended(permit, Health::Failing, now + 5 * MS);
        } else {
            out.push_back((now + 2 * GRAIN, permit));
        }
    }
    assert!(breaker.is_closed());
    // Calls that were given up count for nothing.
    for (_, permit) in out {
        breaker.gone(permit);
    }
    assert!(breaker.out.is_empty());
}

#[test]
fn half_of_ten_calls_in_ten_seconds_open_it() {
    let start = Instant::now();
    let mut breaker = Breaker::default();
    for n in 0..9 {
        let health = if n % 2 == 0 {
            Health::Failing
        } else {
            Health::Alive
        };
        ended(&mut breaker, health, start + n * GRAIN);
    }
    assert!(breaker.is_closed(), "nine calls say too little");
    ended(&mut breaker, Health::Alive, start + 9 * GRAIN);
    assert!(!breaker.is_closed());

    // The same spread over twice the time: never ten at once.
    let mut breaker = Breaker::default();
    for n in 0..60 {
        let health = if n % 2 == 0 {
            Health::Failing
        } else {
            Health::Alive
        };
        ended(&mut breaker, health, start + n * 2 * GRAIN);
    }
    assert!(breaker.is_closed());
}

#[test]
fn what_says_nothing_changes_nothing() {
    let now = Instant::now();
    let mut breaker = Breaker::default();
    let admit = |_| breaker.admit(now).unwrap();
    let permits: Vec<Permit> = (0..9).map(admit).collect();
    for (index, permit) in permits.into_iter().enumerate() {
        assert!(breaker.is_closed());
        let health = [Health::Failing, Health::Unknown][index % 2];
        breaker.ended(permit, health, now);
    }
    assert!(!breaker.is_closed(), "nor does it end a row");
    let later = now + PROBE_EVERY;
    ended(&mut breaker, Health::Unknown, later);
    assert_eq!(breaker.admit(later + PROBE_EVERY - MS), None);
}

#[test]
fn while_it_is_open_one_call_a_second_goes_out() {
    let start = Instant::now();
    let mut breaker = opened(start);
    let mut probes = 0;
    for tick in 1..=60_000 {
        let now = start + tick * MS;
        if let Some(permit) = breaker.admit(now) {
            breaker.ended(permit, Health::Failing, now);
            probes += 1;
        }
    }
    assert_eq!(probes, 60);
}

#[test]
fn a_probe_that_never_ends_does_not_keep_it_open() {
    let start = Instant::now();
    let mut breaker = opened(start);
    breaker.admit(start + PROBE_EVERY).expect("a probe");
    let second = start + 2 * PROBE_EVERY;
    ended(&mut breaker, Health::Alive, second);
    ended(&mut breaker, Health::Alive, second + PROBE_EVERY);
    ended(&mut breaker, Health::Alive, second + 2 * PROBE_EVERY);
    assert!(breaker.is_closed());
}

#[test]
fn half_open_it_lets_a_tenth_through_and_one_failure_opens_it_again() {
    let start = Instant::now();
    let mut breaker = Breaker::default();
    // 100 calls a second.
    for n in 0..500 {
        ended(&mut breaker, Health::Alive, start + n * 10 * MS);
    }
    let down = start + 5 * GRAIN;
    together(&mut breaker, IN_A_ROW, Health::Failing, down);
    let back = down + PROBE_EVERY;
    ended(&mut breaker, Health::Alive, back);
    let mut admitted = 0;
    for tick in 1..=1_000 {
        // The answers take their time.
        admitted += u32::from(breaker.admit(back + tick * MS).is_some());
    }
    assert!((9..=11).contains(&admitted), "{admitted} of 100");
    ended(&mut breaker, Health::Failing, back + 2 * GRAIN);
    assert_eq!(breaker.admit(back + 2 * GRAIN + 999 * MS), None);
    assert!(breaker.admit(back + 3 * GRAIN).is_some());
}

#[test]
fn calls_sent_before_it_opened_say_nothing_afterwards() {
    let start = Instant::now();
    let mut breaker = Breaker::default();
    let early = breaker.admit(start).unwrap();
    together(&mut breaker, IN_A_ROW, Health::Failing, start);
    breaker.ended(early, Health::Alive, start);
    assert_eq!(breaker.admit(start), None, "still open");
    let probe = start + PROBE_EVERY;
    ended(&mut breaker, Health::Alive, probe);
    breaker.ended(early, Health::Failing, probe);
    ended(&mut breaker, Health::Alive, probe + PROBE_EVERY);
    ended(&mut breaker, Health::Alive, probe + 2 * PROBE_EVERY);
    assert!(breaker.is_closed());
}

#[test]
fn it_is_forgotten_only_when_that_changes_nothing() {
    let start = Instant::now();
    let mut breaker = Breaker::default();
    assert!(breaker.is_idle(start));
    ended(&mut breaker, Health::Failing, start);
    assert!(!breaker.is_idle(start + WINDOW));
    assert!(breaker.is_idle(start + 2 * WINDOW));
    let breaker = opened(start);
    assert!(!breaker.is_idle(start + 10 * WINDOW));
    assert!(breaker.is_idle(start + 70 * WINDOW));
}

#[test]
fn a_refusal_or_a_rate_limit_is_an_answer() {
    let failed = |code, http_status| {
        Err(Failed {
            failure: Failure {
                http_status,
                ..Failure::new(code, "")
            },
            recourse: Recourse::Retry {
                budget: Budget::Time,
                wait: Wait::Told(MS),
            },
        })
    };
    for (code, status, health) in [
        (ErrorCode::UpstreamUnreachable, 0, Health::Failing),
        (ErrorCode::UpstreamOverloaded, 503, Health::Failing),
        (ErrorCode::UpstreamOverloaded, 498, Health::Failing),
        (ErrorCode::UpstreamError, 500, Health::Failing),
        (ErrorCode::UpstreamError, 502, Health::Failing),
        (ErrorCode::UpstreamTimeout, 504, Health::Failing),
        (ErrorCode::UpstreamTimeout, 408, Health::Alive),
        (ErrorCode::RateLimited, 429, Health::Alive),
        (ErrorCode::RateLimited, 503, Health::Alive),
        (ErrorCode::QuotaExhausted, 429, Health::Alive),
        (ErrorCode::AuthFailed, 401, Health::Alive),
        (ErrorCode::InvalidRequest, 400, Health::Alive),
        (ErrorCode::UpstreamMisconfigured, 501, Health::Alive),
        (ErrorCode::UpstreamConnectionLost, 0, Health::Unknown),
        (ErrorCode::UpstreamTimeout, 0, Health::Unknown),
        (ErrorCode::UpstreamBadResponse, 200, Health::Unknown),
        (ErrorCode::StreamTruncated, 200, Health::Unknown),
        (ErrorCode::RateLimited, 0, Health::Unknown),
    ] {
        assert_eq!(
            Health::of(&failed(code, status)),
            health,
            "{code:?} {status}"
        );
    }
    assert_eq!(Health::of(&Ok(Outcome::default())), Health::Alive);
}

/// What became of an outage of a minute: calls wasted before the breaker opened, the most probes within a second, and
/// how long after the end the rate was back.
struct Outage {
    wasted: usize,
    probes: usize,
    back_after: Duration,
}

/// Ten calls a second against a server whose answers take `latency`, and whose failures in the minute of its outage
/// come `failing_after` the call; each times a tenth of the next of `spread`.
fn outage(latency: Duration, failing_after: Duration, spread: &[u32]) -> Outage {
    const SPACING: Duration = Duration::from_millis(100);
    let start = Instant::now();
    let (down, up) = (60 * GRAIN, 120 * GRAIN);
    let mut breaker = Breaker::default();
    let mut open: BinaryHeap<Reverse<(Instant, u32)>> = BinaryHeap::new();
    let mut sent: Vec<(Permit, Health)> = Vec::new();
    let (mut wasted, mut probes) = (0, Vec::new());
    let mut answers: Vec<Instant> = Vec::new();
    let mut next = start;
    for tick in 0..180_000 {
        let now = start + tick * MS;
        while let Some(Reverse((end, index))) = open.peek().copied()
            && end <= now
        {
            open.pop();
            let (permit, health) = sent[index as usize];
            breaker.ended(permit, health, now);
            answers.extend((health == Health::Alive).then_some(now));
        }
        if now < next {
            continue;
        }
        let was_closed = breaker.is_closed();
        let Some(permit) = breaker.admit(now) else {
            continue;
        };
        next = now + SPACING;
        let is_down = (start + down..start + up).contains(&now);
        let (health, takes) = match is_down {
            true => (Health::Failing, failing_after),
            false => (Health::Alive, latency),
        };
        let takes = takes * spread[sent.len() % spread.len()] / 10;
        match (is_down, was_closed) {
            (true, true) => wasted += 1,
            (true, false) => probes.push(now),
            (false, _) => {}
        }
        open.push(Reverse((now + takes, sent.len() as u32)));
        sent.push((permit, health));
    }
    Outage {
        wasted,
        probes: probes
            .iter()
            .map(|at| count(&probes, *at, GRAIN))
            .max()
            .unwrap_or(0),
        back_after: (0..60_000)
            .map(|tick| tick * MS)
            .find(|after| count(&answers, start + up + *after, 10 * GRAIN) >= 95)
            .expect("the rate comes back"),
    }
}

/// How many of these instants lie within `span` after `from`.
fn count(instants: &[Instant], from: Instant, span: Duration) -> usize {
    let within = instants
        .iter()
        .filter(|at| (from..from + span).contains(*at));
    within.count()
}

#[test]
fn a_minute_of_failures_wastes_few_calls_and_ends_soon() {
    let (even, spread) = (&[10][..], &[10, 4, 19, 7, 26, 5, 15, 8, 12][..]);
    for (latency, failing_after, spread) in [
        (50, 50, even),
        (2_000, 20, even),
        (2_000, 1_000, even),
        (2_000, 1_600, even),
        (1_670, 20, spread),
        (1_670, 1_670, spread),
    ] {
        let outage = outage(latency * MS, failing_after * MS, spread);
        let case = format!("{latency} ms, failing after {failing_after} ms, {spread:?}");
        assert!(outage.wasted <= 20, "{case}: {} wasted", outage.wasted);
        assert!(outage.probes <= 1, "{case}: {} a second", outage.probes);
        let back = outage.back_after;
        assert!(back <= 15 * GRAIN, "{case}: back after {back:?}");
    }
}
