//! The immutable part of a task: what to do, and under which terms.

use std::{collections::BTreeMap, time::Duration};

use super::{id::TaskId, kind::Kind};
use crate::clock::Timestamp;

/// Until tenants exist, everything belongs to this one.
pub const TENANT: &str = "default";

/// What to do and under which terms; every default is already filled in.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Spec {
    /// What to do.
    #[n(0)]
    pub work: Work,
    /// The submitter's own name for the task; empty for none.
    #[n(1)]
    pub custom_id: String,
    /// The model asked for; empty for functions.
    #[n(2)]
    pub model: String,
    /// Which waiting task starts first.
    #[n(3)]
    pub priority: Priority,
    /// Milliseconds one attempt may take.
    #[n(4)]
    pub timeout_ms: u64,
    /// The instant after which the task neither starts nor goes on.
    #[n(5)]
    pub deadline: Timestamp,
    /// The instant before which it does not start.
    #[n(6)]
    pub not_before: Option<Timestamp>,
    /// Milliseconds the finished task keeps its history.
    #[n(7)]
    pub status_retention_ms: u64,
    /// Milliseconds the finished task is kept; not below `status_retention_ms`.
    #[n(8)]
    pub result_retention_ms: u64,
    /// Upstream failures the task survives, counting the last.
    #[n(9)]
    pub max_attempts: u32,
    /// The submitter's labels.
    #[n(10)]
    pub labels: BTreeMap<String, String>,
    /// The failed task that this one repeats.
    #[n(11)]
    pub retry_of: Option<TaskId>,
    /// When the task was accepted.
    #[n(12)]
    pub create_time: Timestamp,
    /// How the cache takes part; none when it does not.
    #[n(13)]
    pub caching: Option<Caching>,
    /// The answer is to come as a stream, and told as it comes.
    #[n(14)]
    #[cbor(default)]
    pub stream: bool,
    /// What one call may cost at most, in millionths of the currency; zero where the batch has no budget.
    #[n(15)]
    #[cbor(default)]
    pub max_cost_micros: u32,
    /// Further calls that are made for an answer that fits the JSON schema of its request; none where answers are not
    /// checked.
    #[n(16)]
    #[cbor(default)]
    pub validation_retries: Option<u32>,
}

/// How the cache takes part in a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Caching {
    /// Call anew, and let that answer stand from then on.
    #[n(0)]
    pub refresh: bool,
    /// Milliseconds: an answer older than this is not taken, whatever the server's own bound.
    #[n(1)]
    pub max_age_ms: Option<u64>,
}

impl Spec {
    /// How long one attempt may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// What one call may cost at most, in billionths of the currency.
    pub fn max_cost(&self) -> u64 {
        u64::from(self.max_cost_micros) * 1_000
    }

    /// Bytes of the input: what the task takes of a store's room until it ends.
    pub fn weight(&self) -> u64 {
        self.work.bytes()
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub enum Work {
    /// A chat completion with one user message.
    #[n(0)]
    Prompt {
        /// The message, passed on byte for byte.
        #[n(0)]
        text: String,
    },
    /// A request to the upstream, passed on byte for byte.
    #[n(1)]
    Request {
        /// Path below the upstream's base URL, with its leading slash.
        #[n(0)]
        path: String,
        /// The JSON body.
        #[n(1)]
        body: String,
    },
    /// A function registered in the worker's process.
    #[n(2)]
    Function {
        /// Its name.
        #[n(0)]
        name: String,
        /// Its arguments, JSON.
        #[n(1)]
        arguments: String,
    },
}

impl Work {
    /// Bytes of the input.
    pub fn bytes(&self) -> u64 {
        let input = match self {
            Work::Prompt { text } => text,
            Work::Request { body, .. } => body,
            Work::Function { arguments, .. } => arguments,
        };
        input.len() as u64
    }

    /// Whether running it spends money at an upstream.
    pub fn is_upstream(&self) -> bool {
        !matches!(self, Work::Function { .. })
    }

    /// What kind of request it makes; none when it runs in the worker's process.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Work::Prompt { .. } => Some(Kind::Chat),
            Work::Request { path, .. } => Kind::of_path(path),
            Work::Function { .. } => None,
        }
    }
}

#[cfg(test)]
impl Spec {
    /// A prompt submitted now, for tests to which nothing else about it matters.
    pub(crate) fn of_prompt(text: impl Into<String>, now: Timestamp) -> Spec {
        Spec {
            work: Work::Prompt { text: text.into() },
            custom_id: String::new(),
            model: String::new(),
            priority: Priority::Normal,
            timeout_ms: 1,
            deadline: now,
            not_before: None,
            status_retention_ms: 2,
            result_retention_ms: 3,
            max_attempts: 4,
            labels: BTreeMap::new(),
            retry_of: None,
            create_time: now,
            caching: None,
            stream: false,
            max_cost_micros: 0,
            validation_retries: None,
        }
    }
}

/// Which waiting task starts first. The numbers are those of the wire and of stored records.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    minicbor::Encode,
    minicbor::Decode,
)]
#[cbor(index_only)]
#[repr(u8)]
pub enum Priority {
    /// When nothing else waits.
    #[n(1)]
    Low = 1,
    /// The default.
    #[default]
    #[n(2)]
    Normal = 2,
    /// Before everything else.
    #[n(3)]
    High = 3,
}

impl Priority {
    /// Every priority, most urgent first.
    pub const URGENT_FIRST: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];

    /// The priority with this number, if there is one.
    pub fn from_code(code: u8) -> Option<Priority> {
        Priority::URGENT_FIRST
            .into_iter()
            .find(|priority| *priority as u8 == code)
    }
}
