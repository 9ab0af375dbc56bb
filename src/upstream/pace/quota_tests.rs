//! Whole runs against a model of an upstream that enforces a quota, in virtual time: how much of the quota is used, and
//! how many calls are refused. What the upstream let in is counted by the upstream.

mod upstream;

use std::{cmp::Reverse, collections::BinaryHeap};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{Bucket, Cost, Line, Reply, Seconds, Sent, Settings, Step};
use upstream::{Case, Charge, LONG_WAIT, Log, QUOTA, START, Upstream};

/// Calls a process has under way at most.
const CONCURRENCY: usize = 256;
/// Runs of each case.
const SEEDS: u64 = 3;
/// What is left out of the figures at the start.
const SETTLING: Seconds = 30.0;

/// What an event is about when it is no reply: the process is asked for its next call.
const ASK: usize = usize::MAX;

struct Process {
    line: Line,
    under_way: usize,
    next: Cost,
}

/// Processes with an endless queue each, which send whenever their lines let them.
struct World {
    upstream: Upstream,
    processes: Vec<Process>,
    /// The schedule they share.
    stored: Bucket,
    /// Microseconds since the start, process, and the reply that comes.
    events: BinaryHeap<Reverse<(u64, usize, usize)>>,
    replies: Vec<(Sent, Reply)>,
    dice: StdRng,
}

impl World {
    fn new(case: &Case) -> Self {
        let mut dice = StdRng::seed_from_u64(!case.seed);
        let process = |_| Process {
            line: Line::new(case.settings),
            under_way: 0,
            next: draw(&mut dice),
        };
        let processes: Vec<Process> = (0..case.processes).map(process).collect();
        let asked = (0..case.processes).map(|index| Reverse((index as u64, index, ASK)));
        World {
            events: asked.collect(),
            processes,
            upstream: Upstream::new(case.clone()),
            stored: Bucket::default(),
            replies: Vec::new(),
            dice,
        }
    }

    /// A reply comes.
    fn hear(&mut self, at: u64, index: usize, reply: usize) {
        let is_alone = self.processes.len() == 1;
        let process = &mut self.processes[index];
        let (now, (sent, reply)) = (seconds(at), self.replies[reply]);
        process.under_way -= 1;
        process.line.heard(&sent, &reply, now);
        if !is_alone && process.line.has_urgent_news() {
            self.stored = process.line.tell(self.stored.clone(), now);
            process.line.told(self.stored.clone(), None, now);
        }
        if process.under_way == CONCURRENCY - 1 {
            self.events.push(Reverse((at, index, ASK)));
        }
    }

    /// What a process does now with its next call.
    fn step(&mut self, index: usize, tokens: f64, now: Seconds) -> Step {
        let is_alone = self.processes.len() == 1;
        let line = &mut self.processes[index].line;
        if !is_alone {
            line.tell(self.stored.clone(), now);
        }
        let step = line.step(tokens, now);
        if step != Step::Lease {
            return step;
        }
        if is_alone {
            return line.lease_alone(tokens, 1.0, now);
        }
        let waiting = (9.0, 9.0 * tokens);
        match line.lease_shared(self.stored.clone(), tokens, waiting, now) {
            Ok((mut written, block)) => {
                written.join(index as u64, now);
                self.stored = written.clone();
                line.told(written, Some(block), now);
                Step::Wait(now)
            }
            Err(until) => Step::Wait(until),
        }
    }

    /// A process sends its next call if it may.
    fn ask(&mut self, at: u64, index: usize) {
        if self.processes[index].under_way >= CONCURRENCY {
            return;
        }
        let (now, cost) = (seconds(at), self.processes[index].next);
        let tokens = self.processes[index].line.tokens(cost, now);
        let again = match self.step(index, tokens, now) {
            Step::Wait(until) => micros(until).max(at + 1),
            Step::Lease => unreachable!("turns were taken"),
            Step::Go => {
                let process = &mut self.processes[index];
                let sent = process.line.used(cost, tokens, now);
                process.under_way += 1;
                process.next = draw(&mut self.dice);
                let (answered, reply) = self.upstream.call(cost, now);
                self.replies.push((sent, reply));
                let reply = self.replies.len() - 1;
                self.events.push(Reverse((micros(answered), index, reply)));
                at
            }
        };
        self.events.push(Reverse((again, index, ASK)));
    }
}

/// A prompt of 50 to 8,000 tokens.
fn draw(dice: &mut StdRng) -> Cost {
    Cost {
        bytes: (200.0 * 160.0_f64.powf(dice.random())) as usize,
        max_tokens: Some(500),
    }
}

fn micros(at: Seconds) -> u64 {
    ((at - START) * 1e6).ceil() as u64
}

fn seconds(micros: u64) -> Seconds {
    START + micros as f64 / 1e6
}

/// Runs a case to its end.
fn run(case: Case) -> Log {
    let mut world = World::new(&case);
    while let Some(Reverse((at, index, what))) = world.events.pop() {
        if seconds(at) > START + case.length {
            break;
        }
        match what {
            ASK => world.ask(at, index),
            reply => world.hear(at, index, reply),
        }
    }
    world.upstream.log
}

/// Runs a case from several seeds: none may be worse than these.
fn hold(what: &str, case: &Case, least_used: f64, most_refused: f64) -> Vec<Log> {
    let quota = case.tokens.unwrap_or(QUOTA);
    let logs: Vec<Log> = (1..=SEEDS)
        .map(|seed| {
            run(Case {
                seed,
                ..case.clone()
            })
        })
        .collect();
    for log in &logs {
        let used = log.used(SETTLING, case.length, quota);
        let refused = log.refused(SETTLING, case.length);
        println!("{what}: used {used:.4}, refused {refused:.4}");
    }
    for log in &logs {
        assert!(
            log.used(SETTLING, case.length, quota) >= least_used,
            "{what}"
        );
        assert!(log.refused(SETTLING, case.length) <= most_refused, "{what}");
    }
    logs
}

#[test]
fn a_told_quota_is_used_whole_and_hardly_a_call_is_refused() {
    let logs = hold(
        "told, enforced by the second",
        &Case::default(),
        0.98,
        0.002,
    );
    for log in logs {
        let took = log.converged(0.0, QUOTA);
        println!("converged after {took}");
        assert!(took <= 10.0);
    }
    let ten = Case {
        window: 10.0,
        ..Case::default()
    };
    hold("told, enforced over ten seconds", &ten, 0.98, 0.002);
}

#[test]
fn a_quota_that_nobody_tells_is_found_and_used() {
    let silent = Case {
        tells_limits: false,
        tells_wait: false,
        ..Case::default()
    };
    let logs = hold("not told, enforced by the second", &silent, 0.95, 0.02);
    for log in logs {
        let took = log.converged(0.0, QUOTA);
        println!("converged after {took}");
        assert!(took <= 45.0);
    }
    let ten = Case {
        window: 10.0,
        ..silent.clone()
    };
    hold("not told, enforced over ten seconds", &ten, 0.95, 0.02);
}

#[test]
fn a_quota_that_halves_and_returns_without_a_word_is_followed() {
    for tells_wait in [true, false] {
        let case = Case {
            tells_limits: false,
            tells_wait,
            length: 700.0,
            schedule: vec![(0.0, 1.0), (200.0, 0.5), (500.0, 1.0)],
            ..Case::default()
        };
        for seed in 1..=SEEDS {
            let log = run(Case {
                seed,
                ..case.clone()
            });
            // Of what the quota allowed, and no more, in each part.
            let used = (log.used(30.0, 200.0, QUOTA) * 170.0
                + log.used(200.0, 500.0, QUOTA / 2.0) * 150.0
                + log.used(500.0, 700.0, QUOTA) * 200.0)
                / 520.0;
            let refused = log.refused(SETTLING, 700.0);
            let (fall, rise) = (log.converged(200.0, 5.0), log.converged(500.0, QUOTA));
            println!("halves: used {used:.4}, refused {refused:.4}, {fall} s down, {rise} s up");
            assert!(used >= 0.88 && refused <= 0.02);
            assert!(fall <= 30.0 && rise <= 60.0);
        }
    }
}

#[test]
fn a_limit_that_is_told_wrong_is_found_out() {
    let lying = Case {
        lies: true,
        ..Case::default()
    };
    hold("told twice the limit", &lying, 0.93, 0.03);
}

#[test]
fn long_waits_that_were_told_for_a_time_leave_nothing_frozen() {
    for tells_limits in [true, false] {
        let storm = Case {
            storm: 600.0,
            length: 900.0,
            tells_limits,
            ..Case::default()
        };
        for seed in 1..=SEEDS {
            let log = run(Case {
                seed,
                ..storm.clone()
            });
            let took = log.converged(600.0 + LONG_WAIT, QUOTA);
            println!("after long waits: {took} s");
            assert!(took <= 60.0, "{took}");
        }
    }
}

#[test]
fn what_is_configured_is_kept_to() {
    let case = Case {
        tells_limits: false,
        settings: Settings {
            requests: Some(8.0),
            tokens: None,
        },
        ..Case::default()
    };
    let logs = hold("configured below the quota", &case, 0.79, 0.0);
    for log in logs {
        assert!(log.used(0.0, case.length, QUOTA) <= 0.81);
    }
}

#[test]
fn a_quota_of_tokens_is_used_however_it_is_charged() {
    let charges = [
        (Charge::Sum, 1.0, 0.98, 0.003),
        (Charge::Larger, 1.0, 0.98, 0.003),
        (Charge::Answered, 10.0, 0.95, 0.003),
        // What twenty calls under way will be charged is more than a bucket of one second holds: it runs over at times.
        (Charge::Answered, 1.0, 0.85, 0.01),
    ];
    for (charge, window, least_used, most_refused) in charges {
        let case = Case {
            tokens: Some(20_000.0),
            charge,
            window,
            ..Case::default()
        };
        hold(
            &format!("tokens, {charge:?} of {window} s"),
            &case,
            least_used,
            most_refused,
        );
    }
}

#[test]
fn four_processes_use_one_quota_together() {
    let case = Case {
        processes: 4,
        ..Case::default()
    };
    let logs = hold("four processes, told", &case, 0.97, 0.005);
    for log in logs {
        assert!(log.converged(0.0, QUOTA) <= 10.0);
    }
    let silent = Case {
        tells_limits: false,
        tells_wait: false,
        ..case
    };
    hold("four processes, not told", &silent, 0.95, 0.02);
}
