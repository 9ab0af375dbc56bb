//! What each way of failing means. [`Row::of`] finds the row: by how far the call got, then `x-should-retry`, then
//! the status, then the upstream's code, then its type, never by the words of a message. [`Row::verdict`] is the table.

use std::time::Duration;

use super::{
    code::{BAD_INPUT, NO_MODEL, NO_MONEY, POLICY},
    error_body::ErrorBody,
};
use crate::model::{Budget, ErrorCode, Failed, Failure, ParkReason, Recourse, Wait};

/// First bound of the backoff after a failure that the upstream answered with.
const BASE: Duration = Duration::from_millis(500);
/// Longest backoff after such a failure.
const CAP: Duration = Duration::from_secs(8);
/// First bound of the backoff where an answer may have been lost, or the upstream is overloaded.
const SLOW_BASE: Duration = Duration::from_secs(1);
/// An overloaded upstream needs longer to recover.
const OVERLOAD_CAP: Duration = Duration::from_secs(60);
/// A 429 that names no wait is waited out between this …
const THROTTLE_MIN: Duration = Duration::from_millis(200);
/// … and this much more.
const THROTTLE_SPREAD: Duration = Duration::from_millis(300);
/// Only a 429 may hold a task back for longer: what says so may be wrong, and its task has a deadline.
const LONGEST_TOLD: Duration = Duration::from_secs(120);

/// How far a failed call got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not a byte of the body was sent.
    NotSent,
    /// The connection broke after the send.
    Lost,
    /// The time was up after the send.
    TimedOut,
    /// Answered, but not with what was asked for.
    BadReply(u16),
    /// The answer's stream ended, or fell silent, before the answer did.
    Truncated(u16),
    /// An error among the pieces of a stream, and whether a piece of the answer had come before.
    Streamed(u16, ErrorBody, bool),
    /// Answered with an error, under this status.
    Status(u16, ErrorBody),
}

/// All that is known about a failed call.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    /// How far it got.
    pub(super) phase: Phase,
    /// What the upstream says of trying again, in `x-should-retry`.
    pub(super) should_retry: Option<bool>,
    /// The wait the upstream asked for.
    pub(super) retry_after: Option<Duration>,
    /// The upstream's id of the call.
    pub(super) request_id: Option<String>,
    /// Drawn uniformly from 0 to 1.
    pub(super) chance: f64,
}

/// What a failed call means.
pub(super) fn judge(observed: Observed) -> Failed {
    let row = Row::of(&observed.phase);
    let (code, recourse) = row.verdict();
    let maybe_billed =
        is_charged_as_ambiguous(recourse) || matches!(observed.phase, Phase::Streamed(_, _, true));
    let asked = observed.should_retry.filter(|_| row.may_be_overruled());
    let (code, recourse) = match asked {
        Some(true) => row.retried(),
        _ => (code, recourse),
    };
    let recourse = match recourse {
        Recourse::Retry { .. } if asked == Some(false) => Recourse::Never,
        Recourse::Retry { budget, wait } => Recourse::Retry {
            budget,
            wait: told(row, &observed).unwrap_or(wait),
        },
        other => other,
    };
    // RATE_LIMITED says that the task goes on; one that may not needs the code of its end.
    let code = match (code, recourse) {
        (ErrorCode::RateLimited, Recourse::Never) => ErrorCode::DeadlineExceededThrottled,
        _ => code,
    };
    Failed {
        failure: Failure {
            http_status: status(&observed.phase),
            maybe_billed,
            upstream_request_id: observed.request_id,
            ..Failure::new(code, message(row, &observed.phase))
        },
        recourse,
    }
}

/// A call that was not sent because the model's rate limit holds it back for `wait`.
pub(super) fn held_back(wait: Duration) -> Failed {
    Failed {
        failure: Failure::new(
            ErrorCode::RateLimited,
            "not sent: the upstream's rate limit for this model was reached; the task goes on by itself",
        ),
        recourse: Recourse::Retry {
            budget: Budget::Time,
            wait: Wait::Told(wait),
        },
    }
}

/// Whether this is of a call that was [`held_back`], of which the upstream knows nothing.
pub(super) fn is_held_back(failed: &Failed) -> bool {
    failed.failure.code == ErrorCode::RateLimited && failed.failure.http_status == 0
}

/// One kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row {
    Unreachable,
    Lost,
    TimedOut,
    BadReply,
    Truncated,
    StreamError,
    LateStreamError,
    Invalid,
    ContextTooLong,
    ContentPolicy,
    KeyRefused,
    Forbidden,
    NoMoney,
    NoModel,
    UpstreamTimedOut,
    Conflict,
    TooLarge,
    Throttled,
    ExceedsQuota,
    Overloaded,
    ServerError,
    GatewayError,
    Misconfigured,
}

impl Row {
    fn of(phase: &Phase) -> Self {
        match phase {
            Phase::NotSent => Row::Unreachable,
            Phase::Lost => Row::Lost,
            Phase::TimedOut => Row::TimedOut,
            Phase::BadReply(_) => Row::BadReply,
            Phase::Truncated(_) => Row::Truncated,
            Phase::Streamed(_, error, after_output) => Row::of_stream(error, *after_output),
            Phase::Status(200..=299, error) => Row::of_status(status_in_code(error), error),
            Phase::Status(status, error) => Row::of_status(*status, error),
        }
    }

    /// An error inside a stream is judged by its code. What was answered in part may have been billed, whatever the
    /// code: another attempt is charged for that too.
    fn of_stream(error: &ErrorBody, after_output: bool) -> Self {
        let row = Row::of_status(status_in_code(error), error);
        match row.verdict().1 {
            Recourse::Retry { .. } if after_output => Row::LateStreamError,
            _ if row == Row::ServerError => Row::StreamError,
            _ => row,
        }
    }

    fn of_status(status: u16, error: &ErrorBody) -> Self {
        let code = error.code.as_deref().unwrap_or_default();
        let kind = error.kind.as_deref().unwrap_or_default();
        let no_money = NO_MONEY.contains(&code) || NO_MONEY.contains(&kind);
        match (status, code, kind) {
            (402, ..) => Row::NoMoney,
            (400 | 403 | 429, ..) if no_money => Row::NoMoney,
            (429, "request_too_large", _) => Row::ExceedsQuota,
            (429, ..) if error.is_above_limit => Row::ExceedsQuota,
            (429, ..) | (503, "slow_down", _) | (503, _, "slow_down") => Row::Throttled,
            (401, ..) | (400, "no_db_connection", _) | (400, _, "no_db_connection") => {
                Row::KeyRefused
            }
            (403, ..) => Row::Forbidden,
            (404, ..) => Row::NoModel,
            (400, code, _) if NO_MODEL.contains(&code) || error.names_model => Row::NoModel,
            (408 | 504 | 524, ..) => Row::UpstreamTimedOut,
            (409 | 425, ..) => Row::Conflict,
            (413, ..) => Row::TooLarge,
            (300..=399 | 405 | 410 | 415 | 501, ..) => Row::Misconfigured,
            (_, "context_length_exceeded", _) | (400, _, "exceed_context_size_error") => {
                Row::ContextTooLong
            }
            (400..=499, code, _) if POLICY.contains(&code) => Row::ContentPolicy,
            (498 | 503 | 520..=523 | 529, ..) => Row::Overloaded,
            (502, ..) => Row::GatewayError,
            (400..=499, ..) => Row::Invalid,
            _ => Row::ServerError,
        }
    }

    /// The table: what the failure is called, and what may be done about it.
    pub(super) fn verdict(self) -> (ErrorCode, Recourse) {
        match self {
            Row::Unreachable => (ErrorCode::UpstreamUnreachable, retry(Budget::Time)),
            Row::Lost => (ErrorCode::UpstreamConnectionLost, resend(SLOW_BASE)),
            Row::TimedOut => (ErrorCode::UpstreamTimeout, resend(Duration::ZERO)),
            Row::BadReply => (ErrorCode::UpstreamBadResponse, resend(SLOW_BASE)),
            Row::Truncated => (ErrorCode::StreamTruncated, resend(SLOW_BASE)),
            Row::StreamError => (ErrorCode::UpstreamStreamError, retry(Budget::Attempts)),
            Row::LateStreamError => (
                ErrorCode::UpstreamStreamError,
                retry(Budget::AttemptsAndAmbiguous),
            ),
            Row::Invalid => (ErrorCode::InvalidRequest, Recourse::Never),
            Row::ContextTooLong => (ErrorCode::ContextLengthExceeded, Recourse::Never),
            Row::ContentPolicy => (ErrorCode::ContentPolicy, Recourse::Never),
            Row::KeyRefused => (ErrorCode::AuthFailed, park(ParkReason::AuthFailed)),
            Row::Forbidden => (
                ErrorCode::PermissionDenied,
                park(ParkReason::PermissionDenied),
            ),
            Row::NoMoney => (ErrorCode::QuotaExhausted, park(ParkReason::QuotaExhausted)),
            Row::NoModel => (ErrorCode::ModelNotFound, Recourse::Never),
            Row::UpstreamTimedOut => (ErrorCode::UpstreamTimeout, resend(Duration::ZERO)),
            Row::Conflict => (ErrorCode::UpstreamConflict, retry(Budget::Attempts)),
            Row::TooLarge => (ErrorCode::RequestTooLarge, Recourse::Never),
            Row::Throttled => (ErrorCode::RateLimited, retry(Budget::Time)),
            Row::ExceedsQuota => (ErrorCode::RequestExceedsQuota, Recourse::Never),
            Row::Overloaded => (
                ErrorCode::UpstreamOverloaded,
                backoff(Budget::Overload, SLOW_BASE, OVERLOAD_CAP),
            ),
            Row::ServerError => (ErrorCode::UpstreamError, retry(Budget::Attempts)),
            Row::GatewayError => (
                ErrorCode::UpstreamError,
                retry(Budget::AttemptsAndAmbiguous),
            ),
            Row::Misconfigured => (ErrorCode::UpstreamMisconfigured, Recourse::Never),
        }
    }

    /// For people: what happened and what to do.
    fn says(self) -> &'static str {
        match self {
            Row::Unreachable => {
                "no connection to the upstream could be made; check its address and that it runs"
            }
            Row::Lost => "the connection to the upstream broke after the request was sent",
            Row::TimedOut => {
                "the upstream did not answer within the task's timeout; raise it if answers take longer"
            }
            Row::BadReply => {
                "the upstream's reply holds no answer; check that the address is that of an OpenAI-compatible API"
            }
            Row::Truncated => {
                "the upstream's stream ended, or fell silent, before the answer was complete"
            }
            Row::StreamError | Row::LateStreamError => {
                "the upstream reported an error in the midst of its answer"
            }
            Row::Invalid => {
                "the upstream refused the request as invalid; check the task's fields and extra_body"
            }
            Row::ContextTooLong => {
                "the prompt is longer than the model can read; shorten it or choose another model"
            }
            Row::ContentPolicy => "the upstream's content policy refused the request",
            Row::KeyRefused => {
                "the upstream refused the API key; configure a valid one, then resume the batch"
            }
            Row::Forbidden => {
                "the API key may not use what the task asks for; change its permissions, then resume the batch"
            }
            Row::NoMoney => {
                "no money or quota is left at the upstream; add some, then resume the batch"
            }
            Row::NoModel => {
                "the upstream knows no such model or path; check the task's model and the upstream's address"
            }
            Row::UpstreamTimedOut => "the upstream reported a timeout of its own",
            Row::Conflict => "the upstream reported a conflict with another request",
            Row::TooLarge => "the request is larger than the upstream accepts; shorten it",
            Row::Throttled => "the upstream's rate limit was reached",
            Row::ExceedsQuota => {
                "this one request needs more than the upstream's whole rate limit; shorten it"
            }
            Row::Overloaded => "the upstream is overloaded",
            Row::ServerError => "the upstream failed with a server error",
            Row::GatewayError => {
                "a gateway before the upstream failed; the answer may have been lost"
            }
            Row::Misconfigured => {
                "the upstream's address does not serve this API; check it (redirects are not followed)"
            }
        }
    }
}

/// Another attempt after a failure that certainly cost nothing.
pub(super) fn retry(budget: Budget) -> Recourse {
    backoff(budget, BASE, CAP)
}

/// Another attempt although the first may have been answered.
fn resend(base: Duration) -> Recourse {
    backoff(Budget::Ambiguous, base, CAP)
}

fn backoff(budget: Budget, base: Duration, cap: Duration) -> Recourse {
    let wait = Wait::Backoff { base, cap };
    Recourse::Retry { budget, wait }
}

fn park(reason: ParkReason) -> Recourse {
    Recourse::Park(reason)
}

/// What is charged as a send whose answer may exist may have been billed, and nothing else.
fn is_charged_as_ambiguous(recourse: Recourse) -> bool {
    matches!(
        recourse,
        Recourse::Retry {
            budget: Budget::Ambiguous | Budget::AttemptsAndAmbiguous,
            ..
        }
    )
}

/// The wait the upstream asked for goes before our own backoff; a 429 always has one.
fn told(row: Row, observed: &Observed) -> Option<Wait> {
    let unasked = || THROTTLE_MIN + THROTTLE_SPREAD.mul_f64(observed.chance.clamp(0.0, 1.0));
    match row {
        Row::Throttled | Row::ExceedsQuota => Some(observed.retry_after.unwrap_or_else(unasked)),
        _ => observed.retry_after.map(|wait| wait.min(LONGEST_TOLD)),
    }
    .map(Wait::Told)
}

/// The status that an error under status 200 would have had. A type alone says too little, except that money is short.
fn status_in_code(error: &ErrorBody) -> u16 {
    let code = error.code.as_deref().unwrap_or_default();
    let kind = error.kind.as_deref().unwrap_or_default();
    match code {
        _ if NO_MONEY.contains(&code) || NO_MONEY.contains(&kind) => 429,
        "rate_limit_exceeded" => 429,
        "slow_down" => 503,
        "invalid_api_key" => 401,
        "model_not_found" => 404,
        "context_length_exceeded" => 400,
        _ if POLICY.contains(&code) || BAD_INPUT.contains(&code) => 400,
        _ => code
            .parse()
            .ok()
            .filter(|status| (400..600).contains(status))
            .unwrap_or(500),
    }
}

fn status(phase: &Phase) -> u16 {
    match phase {
        Phase::Status(status, _)
        | Phase::BadReply(status)
        | Phase::Truncated(status)
        | Phase::Streamed(status, ..) => *status,
        Phase::NotSent | Phase::Lost | Phase::TimedOut => 0,
    }
}

fn message(row: Row, phase: &Phase) -> String {
    let mut facts = Vec::new();
    let status = status(phase);
    if status != 0 {
        facts.push(format!("HTTP {status}"));
    }
    if let Phase::Status(_, error) | Phase::Streamed(_, error, _) = phase {
        facts.extend(error.code.as_ref().map(|code| format!("code {code}")));
        facts.extend(error.kind.as_ref().map(|kind| format!("type {kind}")));
        facts.extend(error.param.as_ref().map(|param| format!("param {param}")));
    }
    if facts.is_empty() {
        return row.says().to_owned();
    }
    format!("{} ({})", row.says(), facts.join(", "))
}

#[cfg(test)]
#[path = "taxonomy_tests.rs"]
mod tests;
