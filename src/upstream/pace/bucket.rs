//! The schedule of one model's calls under one key: when the next may go, and what is held against it.

use minicbor::{Decode, Encode};

use super::{
    BURST, Seconds,
    control::{Control, Rates, Refusal, Settings},
};

/// A process that has asked for nothing this long does not count.
const MEMBER_FOR: Seconds = 10.0;
/// Processes that are counted at most.
const MEMBERS_MAX: usize = 256;
/// The schedule never reaches further ahead than the largest call could take it: a clock that was set back must not
/// stop everything for as long.
const AHEAD_MAX: Seconds = 120.0;

/// What all processes that use a key for a model agree on.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub(crate) struct Bucket {
    /// When the next call has its turn.
    #[n(0)]
    requests: Seconds,
    /// Up to when tokens are paid for: a call goes once its own are.
    #[n(1)]
    tokens: Seconds,
    /// Nothing goes out before this.
    #[n(2)]
    gate: Seconds,
    #[n(3)]
    control: Control,
    /// Which processes take part, and when they were last heard of.
    #[n(4)]
    members: Vec<(u64, Seconds)>,
}

/// Turns that were taken: so many calls and tokens from here on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Block {
    rates: Rates,
    requests_at: Seconds,
    tokens_at: Seconds,
    requests: f64,
    tokens: f64,
}

/// What a 429 tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Throttled {
    /// How long to wait.
    pub(crate) told: Seconds,
    /// When its call was sent.
    pub(crate) sent_at: Seconds,
    /// Calls a second that this process sent.
    pub(crate) sent: f64,
    /// The share of recent answers that were 429s.
    pub(crate) refused: f64,
    /// The reply's own headers say that there was room.
    pub(crate) unexplained: bool,
    /// The upstream asks for a slower ramp.
    pub(crate) slow_down: bool,
}

/// What a process has learnt since it last told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct News {
    /// The limits of the last reply, and when it came.
    pub(crate) limits: Option<(Rates, Seconds)>,
    /// The last 429, and when it came.
    pub(crate) throttled: Option<(Throttled, Seconds)>,
    /// The upstream has less room than the schedule says: the next call has no turn, and the next token is not paid for, before.
    pub(crate) not_before: (Seconds, Seconds),
    /// Turns taken and not used.
    pub(crate) requests_back: f64,
    /// Tokens reserved and not used; negative where more were.
    pub(crate) tokens_back: f64,
}

impl News {
    /// Later news on top of these.
    pub(crate) fn add(&mut self, news: &News) {
        self.limits = news.limits.or(self.limits);
        self.throttled = news.throttled.or(self.throttled);
        self.not_before.0 = self.not_before.0.max(news.not_before.0);
        self.not_before.1 = self.not_before.1.max(news.not_before.1);
        self.requests_back += news.requests_back;
        self.tokens_back += news.tokens_back;
    }
}

impl Bucket {
    /// The rates at an instant.
    pub(crate) fn rates(&self, settings: &Settings, now: Seconds) -> Rates {
        self.control.rates(settings, now)
    }

    /// Nothing goes out before this.
    pub(crate) fn gate(&self) -> Seconds {
        self.gate
    }

    /// When a call of so many tokens could go that `ahead` calls and tokens wait before.
    pub(crate) fn due(
        &self,
        settings: &Settings,
        ahead: (f64, f64),
        tokens: f64,
        now: Seconds,
    ) -> Seconds {
        let rates = self.rates(settings, now);
        let call = rates
            .requests
            .map_or(now, |rate| self.turn(now) + ahead.0 / rate);
        let paid = rates.tokens.map_or(now, |rate| {
            self.paid(tokens / rate, now) + (ahead.1 + tokens) / rate
        });
        call.max(paid).max(self.gate).max(now)
    }

    /// Takes turns for so many calls and tokens, of which `next` are the first call's.
    pub(crate) fn take(
        &mut self,
        settings: &Settings,
        want: (f64, f64),
        next: f64,
        now: Seconds,
    ) -> Block {
        let rates = self.rates(settings, now);
        let requests_at = self.turn(now);
        let tokens_at = self.paid(rates.tokens.map_or(0.0, |rate| next / rate), now);
        self.requests = requests_at + rates.requests.map_or(0.0, |rate| want.0 / rate);
        self.tokens = tokens_at + rates.tokens.map_or(0.0, |rate| want.1 / rate);
        self.control.sent(now);
        Block {
            rates,
            requests_at,
            tokens_at,
            requests: want.0,
            tokens: want.1,
        }
    }

    /// Takes note of what a process has learnt.
    pub(crate) fn learn(&mut self, settings: &Settings, news: &News, now: Seconds) {
        if let Some((limits, at)) = news.limits {
            self.control.heard(limits, at);
        }
        if let Some((throttled, at)) = news.throttled {
            let members = self.members(at);
            self.control.refused(
                settings,
                &Refusal {
                    at,
                    sent_at: throttled.sent_at,
                    sent: throttled.sent * members,
                    refused: throttled.refused,
                    unexplained: throttled.unexplained,
                    slow_down: throttled.slow_down,
                },
            );
            self.gate = self.gate.max(at + throttled.told);
        }
        let rates = self.rates(settings, now);
        let back = |turns: f64, rate: Option<f64>| rate.map_or(0.0, |rate| turns / rate);
        self.requests -= back(news.requests_back, rates.requests);
        self.tokens -= back(news.tokens_back, rates.tokens);
        self.requests = self.requests.max(news.not_before.0);
        self.tokens = self.tokens.max(news.not_before.1);
    }

    /// Counts a process in, and those out that have been silent.
    pub(crate) fn join(&mut self, member: u64, now: Seconds) {
        self.members
            .retain(|(other, at)| *other != member && now - at < MEMBER_FOR);
        self.members.truncate(MEMBERS_MAX - 1);
        self.members.push((member, now));
    }

    /// How many processes take part; at least one.
    pub(crate) fn members(&self, now: Seconds) -> f64 {
        let present = self.members.iter().filter(|(_, at)| now - at < MEMBER_FOR);
        u32::try_from(present.count())
            .map_or(1.0, f64::from)
            .max(1.0)
    }

    /// The next call's turn: what was missed while idle or held back is not made up for.
    fn turn(&self, now: Seconds) -> Seconds {
        let next = self.requests.min(now + AHEAD_MAX);
        next.max(now - BURST).max(self.gate)
    }

    /// Up to when tokens are paid for. Idle time pays for one call, however large.
    fn paid(&self, call: Seconds, now: Seconds) -> Seconds {
        let paid = self.tokens.min(now + AHEAD_MAX);
        paid.max(now - call.max(BURST))
    }
}

impl Block {
    /// When the next call, of so many tokens, has its turn; none when the block has not enough left.
    pub(crate) fn due(&self, tokens: f64) -> Option<Seconds> {
        let holds = self.requests >= 1.0 && (self.rates.tokens.is_none() || self.tokens >= tokens);
        holds.then(|| self.requests_at.max(self.tokens_at + self.length(tokens)))
    }

    /// Uses the next turn.
    pub(crate) fn used(&mut self, tokens: f64) {
        self.requests -= 1.0;
        self.requests_at += self.rates.requests.map_or(0.0, f64::recip);
        self.tokens -= tokens;
        self.tokens_at += self.length(tokens);
    }

    /// What is left of it.
    pub(crate) fn rest(&self) -> (f64, f64) {
        (self.requests.max(0.0), self.tokens.max(0.0))
    }

    /// Its turns, but no more than so many calls and tokens.
    pub(crate) fn only(self, requests: f64, tokens: f64) -> Self {
        Block {
            requests,
            tokens,
            ..self
        }
    }

    fn length(&self, tokens: f64) -> Seconds {
        self.rates.tokens.map_or(0.0, |rate| tokens / rate)
    }
}
