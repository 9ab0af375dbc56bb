//! What providers and gateways answer with when they fail, one after the other, and what becomes of the task.

use super::*;

/// A reply, and the code and recourse that follow from it.
pub(super) type Case = (u16, &'static str, ErrorCode, &'static str);

pub(super) fn assert_shapes(cases: &[Case]) {
    for (status, body, code, recourse) in cases {
        let failed = judge(Observed {
            phase: Phase::Status(*status, ErrorBody::parse(body.as_bytes())),
            should_retry: None,
            retry_after: None,
            request_id: None,
            chance: 0.0,
        });
        let said = match failed.recourse {
            Recourse::Never => "never".to_owned(),
            Recourse::Park(_) => "park".to_owned(),
            Recourse::Retry { budget, .. } => format!("{budget:?}"),
        };
        assert_eq!(failed.failure.code, *code, "{status} {body}");
        assert_eq!(said, *recourse, "{status} {body}");
        // No free text of the upstream, whatever the shape.
        assert!(
            !failed.failure.message.contains("hunter2"),
            "{status} {body}"
        );
    }
}

#[test]
fn openai() {
    assert_shapes(&[
        (
            401,
            r#"{"error":{"message":"Incorrect API key provided: hunter2. You can find your API key at https://platform.openai.com/account/api-keys.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
            ErrorCode::AuthFailed,
            "park",
        ),
        (
            403,
            r#"{"error":{"message":"Country, region, or territory not supported","type":"request_forbidden","param":null,"code":"unsupported_country_region_territory"}}"#,
            ErrorCode::PermissionDenied,
            "park",
        ),
        (
            404,
            r#"{"error":{"message":"The model `hunter2` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
            ErrorCode::ModelNotFound,
            "never",
        ),
        (
            400,
            r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model.","type":"invalid_request_error","param":"max_tokens","code":"unsupported_parameter"}}"#,
            ErrorCode::InvalidRequest,
            "never",
        ),
    ]);
}

#[test]
fn openai_when_it_is_too_much() {
    assert_shapes(&[
        (
            429,
            r#"{"error":{"message":"Rate limit reached for gpt-4o in organization org-hunter2 on tokens per min (TPM): Limit 30000, Used 29500, Requested 900. Please try again in 800ms.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
            ErrorCode::RateLimited,
            "Time",
        ),
        (
            429,
            r#"{"error":{"message":"Request too large for gpt-4o in organization org-hunter2 on tokens per min (TPM): Limit 30000, Requested 40000. The input or output tokens must be reduced in order to run successfully.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
            ErrorCode::RequestExceedsQuota,
            "never",
        ),
        (
            429,
            r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            ErrorCode::QuotaExhausted,
            "park",
        ),
        (
            429,
            r#"{"error":{"message":"x","type":"insufficient_quota","param":null,"code":"credit_balance_exhausted"}}"#,
            ErrorCode::QuotaExhausted,
            "park",
        ),
        (
            503,
            r#"{"error":{"message":"Slow down. Please reduce your request rate.","type":"server_error","param":null,"code":"slow_down"}}"#,
            ErrorCode::RateLimited,
            "Time",
        ),
        (
            503,
            r#"{"error":{"message":"The engine is currently overloaded, please try again later","type":"server_error","param":null,"code":null}}"#,
            ErrorCode::UpstreamOverloaded,
            "Overload",
        ),
        (
            500,
            r#"{"error":{"message":"The server had an error while processing your request.","type":"server_error","param":null,"code":null}}"#,
            ErrorCode::UpstreamError,
            "Attempts",
        ),
    ]);
}

#[test]
fn azure() {
    assert_shapes(&[
        (
            401,
            r#"{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint."}}"#,
            ErrorCode::AuthFailed,
            "park",
        ),
        (
            401,
            r#"{"statusCode":401,"message":"Unauthorized. Access token is missing, invalid, audience is incorrect, or have expired."}"#,
            ErrorCode::AuthFailed,
            "park",
        ),
        (
            404,
            r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}"#,
            ErrorCode::ModelNotFound,
            "never",
        ),
        (
            404,
            r#"{"error":{"code":"404","message":"Resource not found"}}"#,
            ErrorCode::ModelNotFound,
            "never",
        ),
        (
            400,
            r#"{"error":{"message":"The response was filtered: hunter2","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":true,"severity":"high"}}}}}"#,
            ErrorCode::ContentPolicy,
            "never",
        ),
        (
            429,
            r#"{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded call rate limit of your current OpenAI S0 pricing tier. Please retry after 86400 seconds."}}"#,
            ErrorCode::RateLimited,
            "Time",
        ),
        (
            429,
            r#"{"error":{"code":"RateLimitReached","message":"Your requests have exceeded the rate limit."}}"#,
            ErrorCode::RateLimited,
            "Time",
        ),
        (
            408,
            r#"{"error":{"code":"Timeout","message":"The operation was timeout."}}"#,
            ErrorCode::UpstreamTimeout,
            "Ambiguous",
        ),
        (
            424,
            r#"{"error":{"code":"424","message":"Failed dependency"}}"#,
            ErrorCode::InvalidRequest,
            "never",
        ),
    ]);
}

#[test]
fn litellm() {
    assert_shapes(&[
        (
            400,
            r#"{"error":{"message":"No connected db.","type":"no_db_connection","param":null,"code":"400"}}"#,
            ErrorCode::AuthFailed,
            "park",
        ),
        (
            401,
            r#"{"error":{"message":"Authentication Error, Invalid proxy server token passed. key=hunter2","type":"auth_error","param":"None","code":"401"}}"#,
            ErrorCode::AuthFailed,
            "park",
        ),
        (
            400,
            r#"{"error":{"message":"{'error': '/chat/completions: Invalid model name passed in model=hunter2. Call `/v1/models` to view available models for your key.'}","type":"None","param":"None","code":"400"}}"#,
            ErrorCode::ModelNotFound,
            "never",
        ),
        (
            400,
            r#"{"error":{"message":"Budget has been exceeded! Current cost: 1.0, Max budget: 0.5","type":"budget_exceeded","param":null,"code":"400"}}"#,
            ErrorCode::QuotaExhausted,
            "park",
        ),
        (
            408,
            r#"{"error":{"message":"litellm.Timeout: hunter2","type":"invalid_request_error","param":null,"code":"408"}}"#,
            ErrorCode::UpstreamTimeout,
            "Ambiguous",
        ),
        (
            429,
            r#"{"error":{"message":"litellm.RateLimitError: hunter2","type":"throttling_error","param":null,"code":"429"}}"#,
            ErrorCode::RateLimited,
            "Time",
        ),
        (
            429,
            r#"{"error":{"message":"No deployments available for selected model","type":"None","param":"None","code":"429"}}"#,
            ErrorCode::RateLimited,
            "Time",
        ),
        (
            400,
            r#"{"error":{"message":"litellm.ContextWindowExceededError: hunter2","type":null,"param":null,"code":"400"}}"#,
            ErrorCode::InvalidRequest,
            "never",
        ),
        (
            500,
            r#"{"error":{"message":"litellm.APIConnectionError: hunter2","type":null,"param":null,"code":"500"}}"#,
            ErrorCode::UpstreamError,
            "Attempts",
        ),
    ]);
}

#[test]
fn gateways_in_between() {
    assert_shapes(&[
        (
            502,
            "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
            ErrorCode::UpstreamError,
            "AttemptsAndAmbiguous",
        ),
        (
            504,
            "<html><head><title>504 Gateway Time-out</title></head></html>",
            ErrorCode::UpstreamTimeout,
            "Ambiguous",
        ),
        (
            524,
            "error code: 524",
            ErrorCode::UpstreamTimeout,
            "Ambiguous",
        ),
        (
            522,
            "error code: 522",
            ErrorCode::UpstreamOverloaded,
            "Overload",
        ),
        (
            413,
            r#"{"error":{"message":"Request too large for model: Limit 6000, Requested 9000","type":"tokens","code":"rate_limit_exceeded"}}"#,
            ErrorCode::RequestTooLarge,
            "never",
        ),
        (
            529,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            ErrorCode::UpstreamOverloaded,
            "Overload",
        ),
        (
            429,
            r#"[{"error":{"code":429,"message":"Resource has been exhausted (e.g. check quota).","status":"RESOURCE_EXHAUSTED"}}]"#,
            ErrorCode::RateLimited,
            "Time",
        ),
    ]);
}
