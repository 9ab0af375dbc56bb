//! What goes wrong while doing work: data on the task, not a Rust error.

use std::time::Duration;

use super::batch::ParkReason;

/// A recorded fact about an attempt, shown to clients. Holds no prompt, result or key.
#[derive(Clone, Debug, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Failure {
    /// What kind of failure it was.
    #[n(0)]
    pub code: ErrorCode,
    /// For people: what happened and what to do.
    #[n(1)]
    pub message: String,
    /// The upstream's HTTP status; 0 when there was none.
    #[n(2)]
    pub http_status: u16,
    /// The upstream may have done, and billed, work whose answer was lost or is no good.
    #[n(3)]
    pub maybe_billed: bool,
    /// The upstream's own id of the call.
    #[n(4)]
    pub upstream_request_id: Option<String>,
    /// The attempt that failed; 0 when the task failed while it waited.
    #[n(5)]
    pub attempt: u32,
    /// What the attempt cost, in billionths of the currency, where it is known; else zero.
    #[n(6)]
    #[cbor(default)]
    pub cost_nanos: u64,
}

impl Failure {
    /// A failure without an upstream call behind it.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Failure {
            code,
            message: message.into(),
            http_status: 0,
            maybe_billed: false,
            upstream_request_id: None,
            attempt: 0,
            cost_nanos: 0,
        }
    }

    /// Whether the upstream's answer to the call is known for certain: it did nothing that it bills, or gave an answer that
    /// is no good.
    pub fn is_definite(&self) -> bool {
        let is_answered = self.code == ErrorCode::OutputSchemaInvalid;
        is_answered || (self.http_status != 0 && !self.maybe_billed && !self.code.passes())
    }
}

/// A failed attempt, with what may be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What went wrong.
    pub failure: Failure,
    /// What may be done about it.
    pub recourse: Recourse,
}

/// What may be done about a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recourse {
    /// Nothing: trying again would fail again.
    Never,
    /// Another attempt, as long as the budget lasts.
    Retry {
        /// What the attempt is charged to.
        budget: Budget,
        /// How long to wait first.
        wait: Wait,
    },
    /// Hold the whole batch back until somebody mends the cause. Charged to nothing.
    Park(ParkReason),
}

/// What a failed attempt is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// Nothing but the time until the deadline: rate limits and connections that never opened.
    Time,
    /// `max_attempts`: failures the upstream answered with.
    Attempts,
    /// Sends whose answer may exist: one more by default.
    Ambiguous,
    /// Both of the above: a gateway failed that may have lost a paid answer.
    AttemptsAndAmbiguous,
    /// A large allowance of its own, for an upstream that says it is overloaded.
    Overload,
    /// `validation_retries`: answers that did not fit their schema.
    Validation,
}

/// How long to wait before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Exponential backoff with full jitter: up to `base * 2^n`, at most `cap`.
    Backoff {
        /// The first attempt's bound.
        base: Duration,
        /// The bound of bounds.
        cap: Duration,
    },
    /// What the upstream asked for, plus up to 10 % so that not all come back at once.
    Told(Duration),
}

/// Kinds of failure. The numbers are those of the wire and of stored records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
#[repr(u8)]
#[expect(
    missing_docs,
    reason = "documented once, on ErrorCode in proto/tidings/v1/task.proto"
)]
pub enum ErrorCode {
    #[n(1)]
    UpstreamUnreachable = 1,
    #[n(2)]
    UpstreamConnectionLost = 2,
    #[n(3)]
    UpstreamTimeout = 3,
    #[n(4)]
    StreamTruncated = 4,
    #[n(5)]
    UpstreamStreamError = 5,
    #[n(6)]
    UpstreamBadResponse = 6,
    #[n(7)]
    InvalidRequest = 7,
    #[n(8)]
    ContextLengthExceeded = 8,
    #[n(9)]
    ContentPolicy = 9,
    #[n(10)]
    AuthFailed = 10,
    #[n(11)]
    PermissionDenied = 11,
    #[n(12)]
    QuotaExhausted = 12,
    #[n(13)]
    ModelNotFound = 13,
    #[n(14)]
    UpstreamConflict = 14,
    #[n(15)]
    RequestTooLarge = 15,
    #[n(16)]
    DeadlineExceededThrottled = 16,
    #[n(17)]
    RequestExceedsQuota = 17,
    #[n(18)]
    UpstreamOverloaded = 18,
    #[n(19)]
    UpstreamError = 19,
    #[n(20)]
    UpstreamMisconfigured = 20,
    #[n(21)]
    WorkerLost = 21,
    #[n(22)]
    DeadlineExceeded = 22,
    #[n(23)]
    FunctionFailed = 23,
    #[n(24)]
    FunctionTimeout = 24,
    #[n(25)]
    FunctionNotFound = 25,
    #[n(26)]
    TooManyTransitions = 26,
    #[n(27)]
    RateLimited = 27,
    #[n(28)]
    EqualCallUnderWay = 28,
    #[n(29)]
    OutputSchemaInvalid = 29,
}

impl ErrorCode {
    /// Whether it passes by itself and is charged to time alone.
    pub fn passes(self) -> bool {
        matches!(
            self,
            ErrorCode::RateLimited | ErrorCode::UpstreamUnreachable | ErrorCode::EqualCallUnderWay
        )
    }
}
