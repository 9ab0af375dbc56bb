//! Every way of failing that a socket can show, and what the client makes of it.

use std::time::{Duration, Instant};

use tidings::{
    model::{Budget, Failed, Recourse, Wait},
    simulator::{Config, Fault, Faults},
};
use tokio::net::TcpListener;

use crate::support::upstream::{ANY_PORT, call, client_of, raw_server, simulate, simulate_faults};

/// What a failure comes down to: its code, the status, whether it may be billed, and the recourse.
fn summary(failed: &Failed) -> String {
    let failure = &failed.failure;
    let billed = if failure.maybe_billed { " billed?" } else { "" };
    let recourse = match failed.recourse {
        Recourse::Never => "Never".to_owned(),
        Recourse::Park(_) => "Park".to_owned(),
        Recourse::Retry { budget, .. } => format!("Retry {budget:?}"),
    };
    format!(
        "{:?} {}{billed}: {recourse}",
        failure.code, failure.http_status
    )
}

/// Provokes each fault once and compares what the client makes of it.
async fn assert_rows(rows: &[(Fault, &str)]) {
    let upstream = simulate_faults(rows.iter().map(|(fault, _)| fault.clone())).await;
    let client = client_of(upstream.base_url());
    for (fault, expected) in rows {
        let failed = client
            .complete(&call("a prompt to keep"), async {})
            .await
            .unwrap_err();
        assert_eq!(summary(&failed), *expected, "{fault}");
        let id = failed.failure.upstream_request_id.unwrap_or_default();
        let has_reply = failed.failure.http_status != 0;
        assert_eq!(id.starts_with("req_simulated_"), has_reply, "{fault}");
        assert!(!failed.failure.message.contains("a prompt to keep"));
    }
    client
        .complete(&call("and then all is well"), async {})
        .await
        .unwrap();
    assert_eq!(
        upstream.calls().len(),
        rows.len() + 1,
        "nothing was sent twice"
    );
}

#[tokio::test]
async fn a_call_that_breaks_or_makes_no_sense_may_have_been_billed() {
    let error = r#"{"error":{"code":503}}"#;
    assert_rows(&[
        (
            Fault::Reset,
            "UpstreamConnectionLost 0 billed?: Retry Ambiguous",
        ),
        (
            Fault::Close,
            "UpstreamConnectionLost 0 billed?: Retry Ambiguous",
        ),
        (
            Fault::Truncated,
            "UpstreamConnectionLost 0 billed?: Retry Ambiguous",
        ),
        (
            Fault::Malformed,
            "UpstreamBadResponse 200 billed?: Retry Ambiguous",
        ),
        (
            Fault::EmptyChoices,
            "UpstreamBadResponse 200 billed?: Retry Ambiguous",
        ),
        (
            Fault::Huge,
            "UpstreamBadResponse 200 billed?: Retry Ambiguous",
        ),
        (
            Fault::reply(200, &[], *b"\xff\xfe"),
            "UpstreamBadResponse 200 billed?: Retry Ambiguous",
        ),
        (
            Fault::reply(200, &[], error),
            "UpstreamOverloaded 200: Retry Overload",
        ),
    ])
    .await;
}

#[tokio::test]
async fn each_status_is_judged_by_its_row() {
    let quota = r#"{"error":{"type":"billing","code":"project_spend_limit_exceeded"}}"#;
    let stop = [("x-should-retry", "false")];
    assert_rows(&[
        (Fault::Status(302), "UpstreamMisconfigured 302: Never"),
        (Fault::Status(400), "InvalidRequest 400: Never"),
        (Fault::ContextLength, "ContextLengthExceeded 400: Never"),
        (Fault::Status(401), "AuthFailed 401: Park"),
        (Fault::Status(402), "QuotaExhausted 402: Park"),
        (Fault::Status(403), "PermissionDenied 403: Park"),
        (Fault::Status(404), "ModelNotFound 404: Never"),
        (Fault::Status(405), "UpstreamMisconfigured 405: Never"),
        (
            Fault::Status(408),
            "UpstreamTimeout 408 billed?: Retry Ambiguous",
        ),
        (Fault::Status(409), "UpstreamConflict 409: Retry Attempts"),
        (Fault::Status(413), "RequestTooLarge 413: Never"),
        (Fault::Status(422), "InvalidRequest 422: Never"),
        (Fault::InsufficientQuota, "QuotaExhausted 429: Park"),
        (Fault::reply(429, &[], quota), "QuotaExhausted 429: Park"),
        (Fault::Status(500), "UpstreamError 500: Retry Attempts"),
        (Fault::reply(500, &stop, "boom"), "UpstreamError 500: Never"),
        (Fault::Status(501), "UpstreamMisconfigured 501: Never"),
        (
            Fault::Status(502),
            "UpstreamError 502 billed?: Retry AttemptsAndAmbiguous",
        ),
        (Fault::Status(503), "UpstreamOverloaded 503: Retry Overload"),
        (
            Fault::Status(504),
            "UpstreamTimeout 504 billed?: Retry Ambiguous",
        ),
        (Fault::Status(529), "UpstreamOverloaded 529: Retry Overload"),
    ])
    .await;
}

#[tokio::test]
async fn an_upstream_that_is_away_costs_nothing_but_time() {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let expected = "UpstreamUnreachable 0: Retry Time";
    for base_url in [
        format!("http://{addr}/v1"),
        "http://no-such-host.invalid/v1".to_owned(),
    ] {
        let failed = client_of(base_url)
            .complete(&call("x"), async {})
            .await
            .unwrap_err();
        assert_eq!(summary(&failed), expected);
    }
}

#[tokio::test]
async fn a_failed_tls_handshake_is_an_upstream_that_is_away() {
    let base_url = raw_server(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let base_url = base_url.replace("http://", "https://");
    let failed = client_of(base_url)
        .complete(&call("x"), async {})
        .await
        .unwrap_err();
    assert_eq!(summary(&failed), "UpstreamUnreachable 0: Retry Time");
}

#[tokio::test]
async fn a_connection_that_never_opens_was_never_billed() {
    // A TLS server that says nothing: the time is up before a byte of the request is sent.
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let base_url = format!("https://{}/v1", listener.local_addr().unwrap());
    let mut call = call("x");
    call.timeout = Duration::from_millis(200);
    let failed = client_of(base_url)
        .complete(&call, async {})
        .await
        .unwrap_err();
    assert_eq!(summary(&failed), "UpstreamUnreachable 0: Retry Time");
}

#[tokio::test]
async fn a_stalled_upstream_ends_with_the_timeout_and_may_have_billed() {
    let upstream = simulate_faults([Fault::Stall]).await;
    let mut call = call("x");
    call.timeout = Duration::from_millis(200);
    let start = Instant::now();
    let failed = client_of(upstream.base_url())
        .complete(&call, async {})
        .await
        .unwrap_err();
    assert!(start.elapsed() >= call.timeout);
    assert_eq!(
        summary(&failed),
        "UpstreamTimeout 0 billed?: Retry Ambiguous"
    );
}

#[tokio::test]
async fn a_reply_that_breaks_off_or_is_no_http_may_have_been_billed() {
    let base_url = raw_server(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"choices\"").await;
    let failed = client_of(base_url)
        .complete(&call("x"), async {})
        .await
        .unwrap_err();
    assert_eq!(
        summary(&failed),
        "UpstreamConnectionLost 0 billed?: Retry Ambiguous"
    );
    let base_url = raw_server(b"this is not HTTP at all\r\n\r\n").await;
    let failed = client_of(base_url)
        .complete(&call("x"), async {})
        .await
        .unwrap_err();
    assert_eq!(
        summary(&failed),
        "UpstreamConnectionLost 0 billed?: Retry Ambiguous"
    );
}

#[tokio::test]
async fn an_error_that_breaks_off_is_judged_by_its_status() {
    let base_url = raw_server(b"HTTP/1.1 500 No\r\ncontent-length: 100\r\n\r\n{\"err").await;
    let failed = client_of(base_url)
        .complete(&call("x"), async {})
        .await
        .unwrap_err();
    assert_eq!(summary(&failed), "UpstreamError 500: Retry Attempts");
}

#[tokio::test]
async fn an_unwell_upstream_recovers() {
    let upstream = simulate(Config::default()).await;
    let client = client_of(upstream.base_url());
    upstream.set_healthy(false);
    let failed = client.complete(&call("x"), async {}).await.unwrap_err();
    assert_eq!(summary(&failed), "UpstreamOverloaded 503: Retry Overload");
    upstream.set_healthy(true);
    client.complete(&call("x"), async {}).await.unwrap();
    upstream
        .set_faults(Faults::always(Fault::Status(500)))
        .unwrap();
    client.complete(&call("x"), async {}).await.unwrap_err();
    upstream.set_faults(Faults::default()).unwrap();
    client.complete(&call("x"), async {}).await.unwrap();
}

#[tokio::test]
async fn a_wait_that_an_error_names_is_passed_on() {
    let fault = Fault::reply(503, &[("retry-after", "7")], "");
    let upstream = simulate_faults([fault]).await;
    let failed = client_of(upstream.base_url())
        .complete(&call("x"), async {})
        .await
        .unwrap_err();
    let wait = Wait::Told(Duration::from_secs(7));
    let budget = Budget::Overload;
    assert_eq!(failed.recourse, Recourse::Retry { budget, wait });
}
