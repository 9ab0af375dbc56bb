//! The table, row by row.

#[path = "taxonomy_code_tests.rs"]
mod codes;
#[path = "taxonomy_local_tests.rs"]
mod local;
#[path = "taxonomy_shape_tests.rs"]
mod shapes;

use super::*;

const MIN: Duration = Duration::from_millis(200);

fn observed(phase: Phase) -> Observed {
    Observed {
        phase,
        should_retry: None,
        retry_after: None,
        request_id: None,
        chance: 0.0,
    }
}

fn answered(status: u16, body: &str) -> Observed {
    observed(Phase::Status(status, ErrorBody::parse(body.as_bytes())))
}

fn time_told(wait: Duration) -> Recourse {
    Recourse::Retry {
        budget: Budget::Time,
        wait: Wait::Told(wait),
    }
}

fn overload() -> Recourse {
    backoff(Budget::Overload, SLOW_BASE, OVERLOAD_CAP)
}

#[test]
fn a_transport_failure_is_judged_by_how_far_it_got() {
    for (phase, code, recourse, maybe_billed) in [
        (
            Phase::NotSent,
            ErrorCode::UpstreamUnreachable,
            retry(Budget::Time),
            false,
        ),
        (
            Phase::Lost,
            ErrorCode::UpstreamConnectionLost,
            resend(SLOW_BASE),
            true,
        ),
        (
            Phase::TimedOut,
            ErrorCode::UpstreamTimeout,
            resend(Duration::ZERO),
            true,
        ),
        (
            Phase::BadReply(200),
            ErrorCode::UpstreamBadResponse,
            resend(SLOW_BASE),
            true,
        ),
    ] {
        let failed = judge(observed(phase.clone()));
        assert_eq!(failed.failure.code, code, "{phase:?}");
        assert_eq!(failed.recourse, recourse, "{phase:?}");
        assert_eq!(failed.failure.maybe_billed, maybe_billed, "{phase:?}");
    }
}

#[test]
fn every_status_has_its_row() {
    use ErrorCode as Code;
    let never = Recourse::Never;
    let attempts = retry(Budget::Attempts);
    let timeout = resend(Duration::ZERO);
    let gateway = retry(Budget::AttemptsAndAmbiguous);
    for (status, code, recourse, maybe_billed) in [
        (301, Code::UpstreamMisconfigured, never, false),
        (307, Code::UpstreamMisconfigured, never, false),
        (400, Code::InvalidRequest, never, false),
        (401, Code::AuthFailed, park(ParkReason::AuthFailed), false),
        (
            402,
            Code::QuotaExhausted,
            park(ParkReason::QuotaExhausted),
            false,
        ),
        (
            403,
            Code::PermissionDenied,
            park(ParkReason::PermissionDenied),
            false,
        ),
        (404, Code::ModelNotFound, never, false),
        (405, Code::UpstreamMisconfigured, never, false),
        (408, Code::UpstreamTimeout, timeout, true),
        (409, Code::UpstreamConflict, attempts, false),
        (410, Code::UpstreamMisconfigured, never, false),
        (413, Code::RequestTooLarge, never, false),
        (415, Code::UpstreamMisconfigured, never, false),
        (418, Code::InvalidRequest, never, false),
        (422, Code::InvalidRequest, never, false),
        (425, Code::UpstreamConflict, attempts, false),
        (429, Code::RateLimited, time_told(MIN), false),
        (498, Code::UpstreamOverloaded, overload(), false),
        (500, Code::UpstreamError, attempts, false),
        (501, Code::UpstreamMisconfigured, never, false),
        (502, Code::UpstreamError, gateway, true),
        (503, Code::UpstreamOverloaded, overload(), false),
        (504, Code::UpstreamTimeout, timeout, true),
        (520, Code::UpstreamOverloaded, overload(), false),
        (523, Code::UpstreamOverloaded, overload(), false),
        (524, Code::UpstreamTimeout, timeout, true),
        (529, Code::UpstreamOverloaded, overload(), false),
        (599, Code::UpstreamError, attempts, false),
    ] {
        // Nothing that names a code: plain text, as proxies answer.
        let failed = judge(answered(status, "upstream sent text"));
        assert_eq!(failed.failure.code, code, "{status}");
        assert_eq!(failed.recourse, recourse, "{status}");
        assert_eq!(failed.failure.maybe_billed, maybe_billed, "{status}");
        assert_eq!(failed.failure.http_status, status);
    }
}

#[test]
fn a_wait_that_the_upstream_names_is_obeyed_and_that_of_a_429_however_long() {
    let day = 86_400;
    for (status, budget, told, obeyed) in [
        (429, Budget::Time, day, day),
        (503, Budget::Overload, 100, 100),
        (503, Budget::Overload, day, 120),
        (500, Budget::Attempts, day, 120),
    ] {
        let wait = Duration::from_secs(told);
        let failed = judge(Observed {
            retry_after: Some(wait),
            ..answered(status, "")
        });
        let wait = Wait::Told(Duration::from_secs(obeyed));
        assert_eq!(failed.recourse, Recourse::Retry { budget, wait });
    }
}

#[test]
fn a_429_without_a_wait_gets_a_short_random_one() {
    for (chance, millis) in [(0.0, 200), (0.5, 350), (1.0, 500)] {
        let failed = judge(Observed {
            chance,
            ..answered(429, "")
        });
        assert_eq!(failed.recourse, time_told(Duration::from_millis(millis)));
    }
}

#[test]
fn the_upstream_may_say_not_to_retry() {
    for (status, code) in [
        (429, ErrorCode::DeadlineExceededThrottled),
        (500, ErrorCode::UpstreamError),
        (502, ErrorCode::UpstreamError),
        (503, ErrorCode::UpstreamOverloaded),
    ] {
        let failed = judge(Observed {
            should_retry: Some(false),
            ..answered(status, "")
        });
        assert_eq!(failed.recourse, Recourse::Never, "{status}");
        assert_eq!(failed.failure.code, code, "{status}");
        assert_eq!(failed.failure.maybe_billed, status == 502);
    }
    // But it may not fail a whole batch for want of a key or of money.
    for status in [401, 402, 403] {
        let before = judge(answered(status, ""));
        let after = judge(Observed {
            should_retry: Some(false),
            ..answered(status, "")
        });
        assert_eq!(before, after);
    }
}

#[test]
fn the_upstream_may_say_to_retry_what_would_not_be() {
    let yes = |observed| {
        let should_retry = Some(true);
        judge(Observed {
            should_retry,
            ..observed
        })
    };
    assert_eq!(
        yes(answered(413, "")).recourse,
        retry(Budget::Attempts),
        "what is too large now may not be later"
    );
    let above = r#"{"error":{"type":"tokens","code":"request_too_large"}}"#;
    assert_eq!(judge(answered(429, above)).recourse, Recourse::Never);
    let failed = yes(answered(429, above));
    assert_eq!(failed.recourse, time_told(MIN));
    assert_eq!(failed.failure.code, ErrorCode::RateLimited);
    // What is retried anyway stays as it is, and so does what another attempt cannot change.
    for status in [
        301, 400, 401, 402, 403, 404, 405, 408, 409, 422, 429, 500, 501, 502, 503, 504,
    ] {
        let observed = || answered(status, "");
        assert_eq!(yes(observed()), judge(observed()), "{status}");
    }
}

#[test]
fn no_header_overrules_what_was_lost_or_not_understood() {
    for phase in [Phase::Lost, Phase::TimedOut, Phase::BadReply(200)] {
        let should_retry = Some(false);
        let before = judge(observed(phase.clone()));
        let after = judge(Observed {
            should_retry,
            ..observed(phase)
        });
        assert_eq!(before, after);
    }
}

#[test]
fn a_message_is_ours_and_names_only_tokens() {
    let failed = judge(answered(
        400,
        r#"{"error":{"message":"your prompt was: hunter2","type":"invalid_request_error","param":"messages","code":"hunter2 hunter2"}}"#,
    ));
    assert_eq!(
        failed.failure.message,
        "the upstream refused the request as invalid; check the task's fields and extra_body \
         (HTTP 400, type invalid_request_error, param messages)"
    );
}

/// What an error with this body comes to inside a stream.
fn streamed(body: &str, after_output: bool) -> (ErrorCode, Recourse, bool) {
    let error = ErrorBody::parse(body.as_bytes());
    let failed = judge(observed(Phase::Streamed(200, error, after_output)));
    let failure = failed.failure;
    (failure.code, failed.recourse, failure.maybe_billed)
}

#[test]
fn an_error_inside_a_stream_is_judged_by_its_code() {
    use ErrorCode as Code;
    let attempts = retry(Budget::Attempts);
    for (body, code, recourse) in [
        ("{}", Code::UpstreamStreamError, attempts),
        (r#"{"code":"500"}"#, Code::UpstreamStreamError, attempts),
        (r#"{"code":503}"#, Code::UpstreamOverloaded, overload()),
        (
            r#"{"code":"rate_limit_exceeded"}"#,
            Code::RateLimited,
            time_told(MIN),
        ),
    ] {
        assert_eq!(streamed(body, false), (code, recourse, false), "{body}");
        // What had come before may have been billed, and so may the whole once more.
        let late = retry(Budget::AttemptsAndAmbiguous);
        let late = (Code::UpstreamStreamError, late, true);
        assert_eq!(streamed(body, true), late, "{body}");
    }
    let never = Recourse::Never;
    for (body, code, recourse) in [
        (
            r#"{"code":"insufficient_quota"}"#,
            Code::QuotaExhausted,
            park(ParkReason::QuotaExhausted),
        ),
        (
            r#"{"code":"context_length_exceeded"}"#,
            Code::ContextLengthExceeded,
            never,
        ),
        (r#"{"code":"content_filter"}"#, Code::ContentPolicy, never),
    ] {
        assert_eq!(streamed(body, false), (code, recourse, false), "{body}");
        assert_eq!(streamed(body, true), (code, recourse, true), "{body}");
    }
}

#[test]
fn a_truncated_stream_may_have_been_billed_and_is_sent_again_only_as_such() {
    let failed = judge(observed(Phase::Truncated(200)));
    assert_eq!(failed.failure.code, ErrorCode::StreamTruncated);
    assert_eq!(failed.recourse, resend(SLOW_BASE));
    assert!(failed.failure.maybe_billed);
    assert_eq!(failed.failure.http_status, 200);
}
