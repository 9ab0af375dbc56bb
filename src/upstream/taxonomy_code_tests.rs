//! How codes and types refine a status, with the shapes that servers were seen to answer with.

use super::*;

fn answered(status: u16, body: &str) -> Observed {
    Observed {
        phase: Phase::Status(status, ErrorBody::parse(body.as_bytes())),
        should_retry: None,
        retry_after: None,
        request_id: None,
        chance: 0.0,
    }
}

#[test]
fn codes_of_openai_refine_what_a_status_means() {
    use ErrorCode as Code;
    assert_codes(&[
        // OpenAI
        (
            400,
            r#"{"error":{"message":"This model's maximum context length","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
            Code::ContextLengthExceeded,
        ),
        (
            400,
            r#"{"error":{"type":"invalid_request_error","code":"content_policy_violation"}}"#,
            Code::ContentPolicy,
        ),
        (
            404,
            r#"{"error":{"type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
            Code::ModelNotFound,
        ),
        (
            429,
            r#"{"error":{"message":"Rate limit reached","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
            Code::RateLimited,
        ),
        (
            429,
            r#"{"error":{"type":"tokens","code":"rate_limit_exceeded"}}"#,
            Code::RateLimited,
        ),
        (
            429,
            r#"{"error":{"type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            Code::QuotaExhausted,
        ),
        (
            429,
            r#"{"error":{"type":"x","code":"organization_spend_limit_exceeded"}}"#,
            Code::QuotaExhausted,
        ),
        (
            503,
            r#"{"error":{"type":"server_error","code":"slow_down"}}"#,
            Code::RateLimited,
        ),
        (
            401,
            r#"{"error":{"type":"invalid_request_error","code":"invalid_api_key"}}"#,
            Code::AuthFailed,
        ),
    ]);
}

#[test]
fn codes_of_gateways_refine_what_a_status_means() {
    use ErrorCode as Code;
    assert_codes(&[
        // Azure
        (
            400,
            r#"{"error":{"code":"content_filter","message":"The response was filtered","innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
            Code::ContentPolicy,
        ),
        (
            429,
            r#"{"error":{"code":"429","message":"Requests have exceeded call rate limit"}}"#,
            Code::RateLimited,
        ),
        (
            404,
            r#"{"error":{"code":"DeploymentNotFound","message":"x"}}"#,
            Code::ModelNotFound,
        ),
        // LiteLLM: a code is the status as text, a type may mislead
        (
            408,
            r#"{"error":{"type":"invalid_request_error","code":"408"}}"#,
            Code::UpstreamTimeout,
        ),
        (
            429,
            r#"{"error":{"type":"throttling_error","code":"429"}}"#,
            Code::RateLimited,
        ),
        (
            400,
            r#"{"error":{"type":"no_db_connection","code":"no_db_connection"}}"#,
            Code::AuthFailed,
        ),
        (
            400,
            r#"{"error":{"type":"budget_exceeded","code":"400"}}"#,
            Code::QuotaExhausted,
        ),
    ]);
}

#[test]
fn codes_of_local_servers_refine_what_a_status_means() {
    use ErrorCode as Code;
    assert_codes(&[
        // vLLM
        (
            400,
            r#"{"object":"error","message":"x","type":"BadRequestError","code":400}"#,
            Code::InvalidRequest,
        ),
        (
            404,
            r#"{"error":{"message":"The model `x` does not exist.","type":"NotFoundError","code":404}}"#,
            Code::ModelNotFound,
        ),
        // llama.cpp
        (
            400,
            r#"{"error":{"code":400,"type":"exceed_context_size_error"}}"#,
            Code::ContextLengthExceeded,
        ),
        (
            503,
            r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
            Code::UpstreamOverloaded,
        ),
        // Ollama
        (
            404,
            r#"{"error":"model 'x' not found"}"#,
            Code::ModelNotFound,
        ),
        (
            503,
            r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#,
            Code::UpstreamOverloaded,
        ),
        // larger than the whole limit
        (
            429,
            r#"{"error":{"type":"tokens","code":"request_too_large"}}"#,
            Code::RequestExceedsQuota,
        ),
    ]);
}

fn assert_codes(cases: &[(u16, &str, ErrorCode)]) {
    for (status, body, code) in cases {
        let failed = judge(answered(*status, body));
        assert_eq!(failed.failure.code, *code, "{status} {body}");
    }
}

#[test]
fn an_error_under_status_200_is_judged_by_its_code() {
    use ErrorCode as Code;
    for (body, code) in [
        (r#"{"error":{"code":429}}"#, Code::RateLimited),
        (
            r#"{"error":{"code":"rate_limit_exceeded"}}"#,
            Code::RateLimited,
        ),
        (
            r#"{"error":{"code":"insufficient_quota"}}"#,
            Code::QuotaExhausted,
        ),
        (
            r#"{"error":{"code":"context_length_exceeded"}}"#,
            Code::ContextLengthExceeded,
        ),
        (r#"{"error":{"code":"502"}}"#, Code::UpstreamError),
        (r#"{"error":{"code":"invalid_api_key"}}"#, Code::AuthFailed),
        (
            r#"{"error":{"type":"insufficient_quota","code":null}}"#,
            Code::QuotaExhausted,
        ),
        (
            r#"{"error":{"type":"invalid_request_error","code":null}}"#,
            Code::UpstreamError,
        ),
        (r#"{"error":"boom"}"#, Code::UpstreamError),
        // Of responses that failed.
        (r#"{"error":{"code":"server_error"}}"#, Code::UpstreamError),
        (
            r#"{"error":{"code":"invalid_prompt"}}"#,
            Code::InvalidRequest,
        ),
        (
            r#"{"error":{"code":"image_too_large"}}"#,
            Code::InvalidRequest,
        ),
        (
            r#"{"error":{"code":"image_content_policy_violation"}}"#,
            Code::ContentPolicy,
        ),
        (
            r#"{"error":{"code":"rate_limit_exceeded","message":"Request too large: Limit 10, Requested 30."}}"#,
            Code::RequestExceedsQuota,
        ),
    ] {
        let failed = judge(answered(200, body));
        assert_eq!(failed.failure.code, code, "{body}");
        assert_eq!(failed.failure.http_status, 200);
    }
}
