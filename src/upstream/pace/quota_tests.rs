//! Whole runs against a model of an upstream that enforces a quota, in virtual time: how much of the quota is used, and
//! how many calls are refused. What the upstream let in is counted by the upstream.

use std::{cmp::Reverse, collections::BinaryHeap};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{Answer, Bucket, Cost, Line, Reply, Room, Seconds, Sent, Settings, Step};

/// When runs start.
const START: Seconds = 1_700_000_000.0;
/// Calls a second.
const QUOTA: f64 = 10.0;
/// Calls a process has under way at most.
const CONCURRENCY: usize = 256;
/// How long a refusal takes to come.
const REFUSAL: Seconds = 0.05;
/// Runs of each case.
const SEEDS: u64 = 3;
/// What is left out of the figures at the start.
const SETTLING: Seconds = 30.0;

#[derive(Clone)]
struct Case {
    seed: u64,
    length: Seconds,
    /// How much of the quota's time a full bucket holds.
    window: Seconds,
    /// The quota's share from an instant on.
    schedule: Vec<(Seconds, f64)>,
    /// Tokens a second, where they are limited.
    tokens: Option<f64>,
    charges_reserved: bool,
    tells_limits: bool,
    lies: bool,
    tells_wait: bool,
    settings: Settings,
    processes: usize,
}

impl Default for Case {
    fn default() -> Self {
        Case {
            seed: 1,
            length: 600.0,
            window: 1.0,
            schedule: vec![(0.0, 1.0)],
            tokens: None,
            charges_reserved: true,
            tells_limits: true,
            lies: false,
            tells_wait: true,
            settings: Settings::default(),
            processes: 1,
        }
    }
}

/// What the upstream saw.
#[derive(Default)]
struct Log {
    /// When each call came, whether it was let in, and what it was charged.
    calls: Vec<(Seconds, bool, f64)>,
}

impl Log {
    /// The share of `quota` units a second that was let in.
    fn used(&self, from: Seconds, to: Seconds, quota: f64) -> f64 {
        let within = |at: Seconds| (from..to).contains(&(at - START));
        let calls = self.calls.iter().filter(|call| call.1 && within(call.0));
        calls.map(|call| call.2).sum::<f64>() / (quota * (to - from))
    }

    fn refused(&self, from: Seconds, to: Seconds) -> f64 {
        let within = |at: Seconds| (from..to).contains(&(at - START));
        let calls: Vec<_> = self.calls.iter().filter(|it| within(it.0)).collect();
        calls.iter().filter(|call| !call.1).count() as f64 / calls.len() as f64
    }

    /// When 10 s first had 95 % of the quota let in, counted from `from`.
    fn converged(&self, from: Seconds, quota: f64) -> Seconds {
        let mut to = from + 1.0;
        while self.used((to - 10.0).max(from), to, quota) < 0.95 {
            to += 0.5;
            assert!(to < from + 1_000.0, "it never does");
        }
        to - from
    }
}

struct Upstream {
    case: Case,
    level: f64,
    tokens: f64,
    at: Seconds,
    dice: StdRng,
    log: Log,
}

impl Upstream {
    fn share(&self, now: Seconds) -> f64 {
        let past = self.case.schedule.iter().rev();
        past.into_iter()
            .find(|(from, _)| START + from <= now)
            .map_or(1.0, |it| it.1)
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.dice.random::<f64>()).sum::<f64>() - 6.0
    }

    /// A call comes: what it is answered with, and when.
    fn call(&mut self, cost: Cost, now: Seconds) -> (Seconds, Reply) {
        // The network takes its time, and not always the same.
        let now = (now + self.dice.random_range(0.001..0.03)).max(self.at);
        let rate = QUOTA * self.share(now);
        let passed = now - self.at;
        self.at = now;
        self.level = (self.level + passed * rate).min((rate * self.case.window).max(1.0));
        let limit = self.case.tokens.unwrap_or(f64::INFINITY);
        self.tokens = (self.tokens + passed * limit).min(limit * self.case.window);
        let prompt = (cost.bytes as f64 / 4.0 * (1.0 + 0.1 * self.normal())).max(1.0);
        let answer = self.dice.random_range(0.1..0.5) * cost.max_tokens.unwrap_or(1_000) as f64;
        let charge = match self.case.charges_reserved {
            true => prompt + cost.max_tokens.unwrap_or(1_000) as f64,
            false => prompt + answer,
        };
        let admitted = self.level >= 1.0 && self.tokens >= charge;
        // A refused call is charged as well.
        self.level = (self.level - 1.0).max(0.0);
        if admitted {
            self.tokens -= charge;
        }
        let units = if self.case.tokens.is_some() {
            charge
        } else {
            1.0
        };
        self.log.calls.push((now, admitted, units));
        let (latency, said) = if admitted {
            let latency = 2.0 * (0.6 * self.normal() - 0.18).exp();
            (latency, Answer::Used(prompt as u64, answer as u64))
        } else {
            let told = if self.case.tells_wait { 1.0 } else { 0.2 };
            (
                REFUSAL,
                Answer::Throttled {
                    told,
                    slow_down: false,
                },
            )
        };
        (now + latency, self.reply(said, limit))
    }

    fn reply(&self, answer: Answer, limit: f64) -> Reply {
        let told = |limit: f64, level: f64| match () {
            () if !self.case.tells_limits || limit.is_infinite() => Room::default(),
            () if self.case.lies => Room {
                limit: Some(limit * 2.0),
                remaining: Some(limit * 100.0),
            },
            () => Room {
                limit: Some(limit),
                remaining: Some(level.floor()),
            },
        };
        let requests = match self.case.tokens {
            Some(_) => Room::default(),
            None => told(QUOTA * self.share(self.at), self.level),
        };
        Reply {
            requests,
            tokens: told(limit, self.tokens),
            answer,
        }
    }
}

struct Process {
    line: Line,
    under_way: usize,
    next: Cost,
}

/// Runs a case to its end: an endless queue, each process sending whenever its line lets it.
fn run(case: Case) -> Log {
    let end = START + case.length;
    let mut dice = StdRng::seed_from_u64(!case.seed);
    let mut upstream = Upstream {
        level: QUOTA * case.window,
        tokens: case.tokens.unwrap_or(f64::INFINITY) * case.window,
        at: START,
        dice: StdRng::seed_from_u64(case.seed),
        log: Log::default(),
        case: case.clone(),
    };
    let mut draw = move || Cost {
        bytes: (200.0 * 160.0_f64.powf(dice.random())) as usize,
        max_tokens: Some(500),
    };
    let mut processes: Vec<Process> = (0..case.processes)
        .map(|_| Process {
            line: Line::new(case.settings),
            under_way: 0,
            next: draw(),
        })
        .collect();
    let mut stored = Bucket::default();
    // Either a reply comes, or a process is to be asked again.
    let mut events: BinaryHeap<Reverse<(u64, usize, usize)>> = BinaryHeap::new();
    let mut replies: Vec<(Sent, Reply)> = Vec::new();
    let micros = |at: Seconds| ((at - START) * 1e6).ceil() as u64;
    const ASK: usize = usize::MAX;
    for process in 0..case.processes {
        events.push(Reverse((process as u64, process, ASK)));
    }
    while let Some(Reverse((at, index, what))) = events.pop() {
        let now = START + at as f64 / 1e6;
        if now > end {
            break;
        }
        let alone = case.processes == 1;
        let process = &mut processes[index];
        if what != ASK {
            let (sent, reply) = replies[what];
            process.under_way -= 1;
            process.line.heard(&sent, &reply, now);
            if !alone && process.line.has_urgent_news() {
                stored = process.line.tell(stored, now);
                process.line.told(stored.clone(), None, now);
            }
            if process.under_way == CONCURRENCY - 1 {
                events.push(Reverse((at, index, ASK)));
            }
            continue;
        }
        if process.under_way >= CONCURRENCY {
            continue;
        }
        let tokens = process.line.tokens(process.next);
        if !alone {
            process.line.tell(stored.clone(), now);
        }
        let mut step = process.line.step(tokens, now);
        if step == Step::Lease && alone {
            step = process.line.lease_alone(tokens, 1.0, now);
        } else if step == Step::Lease {
            stored.join(index as u64, now);
            match process
                .line
                .lease_shared(stored.clone(), tokens, (9.0, 9.0 * tokens), now)
            {
                Ok((written, block)) => {
                    stored = written.clone();
                    process.line.told(written, Some(block), now);
                    step = Step::Wait(now);
                }
                Err(again) => step = Step::Wait(again),
            }
        }
        let again = match step {
            Step::Go => {
                let sent = process.line.used(process.next, tokens, now);
                let (answered, reply) = upstream.call(process.next, now);
                replies.push((sent, reply));
                events.push(Reverse((micros(answered), index, replies.len() - 1)));
                process.under_way += 1;
                process.next = draw();
                at
            }
            Step::Wait(until) => micros(until).max(at + 1),
            Step::Lease => unreachable!("it was taken"),
        };
        events.push(Reverse((again, index, ASK)));
    }
    upstream.log
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
    for charges_reserved in [true, false] {
        let case = Case {
            tokens: Some(12_000.0),
            charges_reserved,
            ..Case::default()
        };
        let quota = "tokens, told";
        hold(quota, &case, 0.93, 0.02);
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
