//! What all connections of a simulation share.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rand::{SeedableRng, rngs::SmallRng};
use secrecy::SecretString;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{AnswerTokens, Config, Fault, Faults, Latency, limit::Limiter, log::Log};

/// How many prompts have their calls counted; past it all counts start anew, so that memory stays bounded.
const PROMPTS_MAX: usize = 1_000_000;

/// The state of a simulation.
#[derive(Debug)]
pub(super) struct State {
    pub(super) log: Arc<Log>,
    pub(super) limiter: Limiter,
    pub(super) api_key: Option<SecretString>,
    pub(super) models: Vec<String>,
    pub(super) stop: CancellationToken,
    latency: Latency,
    answer_tokens: Option<AnswerTokens>,
    seed: u64,
    healthy: AtomicBool,
    accepted: AtomicU64,
    /// Gives every reply an id.
    replies: AtomicU64,
    script: Mutex<Script>,
}

/// The plan of faults and how far it is.
#[derive(Debug)]
struct Script {
    faults: Faults,
    first_call: Option<Instant>,
    admitted: u64,
    attempts: HashMap<u64, u32>,
}

/// What will happen to one call.
pub(super) struct Fate {
    pub(super) attempt: u32,
    pub(super) fault: Option<Fault>,
    pub(super) latency: Duration,
    /// How long the answer is; none for one that says no more than it has to.
    pub(super) answer_tokens: Option<u64>,
}

impl State {
    pub(super) fn new(config: Config, stop: CancellationToken) -> Self {
        State {
            log: Arc::new(Log::new(config.keep_calls, config.log, stop.clone())),
            limiter: Limiter::new(config.limits),
            api_key: config.api_key,
            models: config.models,
            stop,
            latency: config.latency,
            answer_tokens: config.answer_tokens,
            seed: config.seed,
            healthy: AtomicBool::new(true),
            accepted: AtomicU64::new(0),
            replies: AtomicU64::new(0),
            script: Mutex::new(Script::new(config.faults)),
        }
    }

    /// Decides what happens to a call with this prompt. Depends on the seed, the prompt and how often it came, not on
    /// the order in which different prompts arrive, unless the plan of faults names calls by number or time.
    pub(super) fn fate(&self, prompt: u64, now: Instant) -> Fate {
        let mut script = self.script.lock();
        script.admitted += 1;
        let since = now.saturating_duration_since(*script.first_call.get_or_insert(now));
        let nth = (script.admitted, since);
        let attempt = script.count(prompt);
        let seed = self.seed ^ prompt ^ u64::from(attempt).rotate_left(32);
        let mut rng = SmallRng::seed_from_u64(seed);
        Fate {
            attempt,
            fault: script.faults.pick(nth, attempt, &mut rng),
            latency: self.latency.draw(&mut rng),
            answer_tokens: self.answer_tokens.map(|tokens| tokens.draw(&mut rng)),
        }
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        *self.script.lock() = Script::new(faults);
    }

    pub(super) fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Relaxed);
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    pub(super) fn count_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(super) fn next_reply(&self) -> u64 {
        self.replies.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Script {
    fn new(faults: Faults) -> Self {
        Script {
            faults,
            first_call: None,
            admitted: 0,
            attempts: HashMap::new(),
        }
    }

    fn count(&mut self, prompt: u64) -> u32 {
        if self.attempts.len() >= PROMPTS_MAX {
            self.attempts.clear();
        }
        let attempts = self.attempts.entry(prompt).or_default();
        *attempts += 1;
        *attempts
    }
}
