//! A model of an upstream that enforces a quota, in virtual time. It counts what it let in.

use std::{cmp::Reverse, collections::BinaryHeap};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::super::{Answer, Cost, Reply, Room, Seconds, Settings};

/// When runs start.
pub(super) const START: Seconds = 1_700_000_000.0;
/// Calls a second.
pub(super) const QUOTA: f64 = 10.0;
/// A wait that has nothing to do with the quota.
pub(super) const LONG_WAIT: Seconds = 89.0;
/// How long a refusal takes to come.
const REFUSAL: Seconds = 0.05;

/// What a call is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charge {
    /// On admission, prompt and longest answer.
    Sum,
    /// On admission, the larger of the two.
    Larger,
    /// Once it is answered, what it used; calls are let in while anything is left.
    Answered,
}

#[derive(Clone)]
pub(super) struct Case {
    pub(super) seed: u64,
    pub(super) length: Seconds,
    /// How much of the quota's time a full bucket holds.
    pub(super) window: Seconds,
    /// The quota's share from an instant on.
    pub(super) schedule: Vec<(Seconds, f64)>,
    /// Tokens a second, where they are limited.
    pub(super) tokens: Option<f64>,
    pub(super) charge: Charge,
    pub(super) tells_limits: bool,
    pub(super) lies: bool,
    pub(super) tells_wait: bool,
    pub(super) settings: Settings,
    pub(super) processes: usize,
    /// Until then every tenth call is refused, with a wait of [`LONG_WAIT`].
    pub(super) storm: Seconds,
}

impl Default for Case {
    fn default() -> Self {
        Case {
            seed: 1,
            length: 600.0,
            window: 1.0,
            schedule: vec![(0.0, 1.0)],
            tokens: None,
            charge: Charge::Sum,
            tells_limits: true,
            lies: false,
            tells_wait: true,
            settings: Settings::default(),
            processes: 1,
            storm: 0.0,
        }
    }
}

/// What the upstream saw.
#[derive(Default)]
pub(super) struct Log {
    /// When each call came, whether it was let in, and what it was charged.
    calls: Vec<(Seconds, bool, f64)>,
}

impl Log {
    /// The share of `quota` units a second that was let in.
    pub(super) fn used(&self, from: Seconds, to: Seconds, quota: f64) -> f64 {
        let within = |at: Seconds| (from..to).contains(&(at - START));
        let calls = self.calls.iter().filter(|call| call.1 && within(call.0));
        calls.map(|call| call.2).sum::<f64>() / (quota * (to - from))
    }

    pub(super) fn refused(&self, from: Seconds, to: Seconds) -> f64 {
        let within = |at: Seconds| (from..to).contains(&(at - START));
        let calls: Vec<_> = self.calls.iter().filter(|it| within(it.0)).collect();
        calls.iter().filter(|call| !call.1).count() as f64 / calls.len() as f64
    }

    /// When 10 s first had 95 % of the quota let in, counted from `from`.
    pub(super) fn converged(&self, from: Seconds, quota: f64) -> Seconds {
        let mut to = from + 1.0;
        while self.used((to - 10.0).max(from), to, quota) < 0.95 {
            to += 0.5;
            assert!(to < from + 1_000.0, "it never does");
        }
        to - from
    }
}

pub(super) struct Upstream {
    case: Case,
    level: f64,
    tokens: f64,
    at: Seconds,
    /// When calls will be charged, in microseconds, and what.
    pending: BinaryHeap<Reverse<(u64, u64)>>,
    dice: StdRng,
    pub(super) log: Log,
}

impl Upstream {
    /// An upstream with full buckets.
    pub(super) fn new(case: Case) -> Self {
        Upstream {
            level: QUOTA * case.window,
            tokens: case.tokens.unwrap_or(f64::INFINITY) * case.window,
            at: START,
            pending: BinaryHeap::new(),
            dice: StdRng::seed_from_u64(case.seed),
            log: Log::default(),
            case,
        }
    }

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
    pub(super) fn call(&mut self, cost: Cost, now: Seconds) -> (Seconds, Reply) {
        // The network takes its time, and not always the same.
        let now = (now + self.dice.random_range(0.001..0.03)).max(self.at);
        let rate = QUOTA * self.share(now);
        let passed = now - self.at;
        self.level = (self.level + passed * rate).min((rate * self.case.window).max(1.0));
        let limit = self.case.tokens.unwrap_or(f64::INFINITY);
        self.refill(now);
        let prompt = (cost.bytes as f64 / 4.0 * (1.0 + 0.1 * self.normal())).max(1.0);
        let answer = self.dice.random_range(0.1..0.5) * cost.max_tokens.unwrap_or(1_000) as f64;
        let most = cost.max_tokens.unwrap_or(1_000) as f64;
        let charge = match self.case.charge {
            Charge::Sum => prompt + most,
            Charge::Larger => prompt.max(most),
            Charge::Answered => prompt + answer,
        };
        let is_charged_later = self.case.charge == Charge::Answered;
        let needed = if is_charged_later { 1.0 } else { charge };
        let is_struck = now - START < self.case.storm && self.log.calls.len() % 10 == 9;
        let has_turn = self.case.tokens.is_some() || self.level >= 1.0;
        let admitted = has_turn && self.tokens >= needed && !is_struck;
        // A refused call is charged as well.
        self.level = (self.level - 1.0).max(0.0);
        if admitted && !is_charged_later {
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
            if is_charged_later {
                let at = micros(now + latency);
                self.pending.push(Reverse((at, charge as u64)));
            }
            (latency, Answer::Used(prompt as u64, answer as u64))
        } else {
            let told = match () {
                () if is_struck => LONG_WAIT,
                () if self.case.tells_wait => (-self.tokens / limit).max(0.0) + 1.0,
                () => 0.2,
            };
            (
                REFUSAL,
                Answer::Throttled {
                    told,
                    slow_down: false,
                },
            )
        };
        let remaining = self.tokens;
        (now + latency, self.reply(said, limit, remaining))
    }

    /// Lets time pass in the bucket of tokens, with what is charged meanwhile.
    fn refill(&mut self, now: Seconds) {
        let limit = self.case.tokens.unwrap_or(f64::INFINITY);
        let full = limit * self.case.window;
        while let Some(Reverse((at, charge))) = self.pending.peek().copied()
            && at <= micros(now)
        {
            self.pending.pop();
            let at = (START + at as f64 / 1e6).max(self.at);
            self.tokens = (self.tokens + (at - self.at) * limit).min(full) - charge as f64;
            self.at = at;
        }
        self.tokens = (self.tokens + (now - self.at) * limit).min(full);
        self.at = now;
    }

    fn reply(&self, answer: Answer, limit: f64, tokens: f64) -> Reply {
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
            tokens: told(limit, tokens.max(0.0)),
            answer,
        }
    }
}

fn micros(at: Seconds) -> u64 {
    ((at - START) * 1e6) as u64
}
