//! What servers that people run themselves answer with when they fail, and what becomes of the task.

use super::{shapes::assert_shapes, *};

#[test]
fn vllm() {
    assert_shapes(&[
        (
            404,
            r#"{"object":"error","message":"The model `hunter2` does not exist.","type":"NotFoundError","param":"model","code":404}"#,
            ErrorCode::ModelNotFound,
            "never",
        ),
        (
            400,
            r#"{"error":{"message":"This model's maximum context length is 4096 tokens. hunter2","type":"BadRequestError","param":null,"code":400}}"#,
            ErrorCode::InvalidRequest,
            "never",
        ),
        (
            401,
            r#"{"error":"Unauthorized"}"#,
            ErrorCode::AuthFailed,
            "park",
        ),
        (
            500,
            r#"{"object":"error","message":"hunter2","type":"InternalServerError","param":null,"code":500}"#,
            ErrorCode::UpstreamError,
            "Attempts",
        ),
        (
            503,
            r#"{"error":{"message":"Server is overloaded","type":"ServiceUnavailableError","param":null,"code":503}}"#,
            ErrorCode::UpstreamOverloaded,
            "Overload",
        ),
    ]);
}

#[test]
fn llama_cpp() {
    assert_shapes(&[
        (
            400,
            r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error","n_prompt_tokens":5000,"n_ctx":4096}}"#,
            ErrorCode::ContextLengthExceeded,
            "never",
        ),
        (
            401,
            r#"{"error":{"message":"Invalid API Key","type":"authentication_error","code":401}}"#,
            ErrorCode::AuthFailed,
            "park",
        ),
        (
            503,
            r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
            ErrorCode::UpstreamOverloaded,
            "Overload",
        ),
        (
            501,
            r#"{"error":{"code":501,"message":"This server does not support embeddings.","type":"not_supported_error"}}"#,
            ErrorCode::UpstreamMisconfigured,
            "never",
        ),
        // Its Python server answers so to a malformed request too, which is why the budget is small.
        (
            500,
            r#"{"error":{"message":"[{'type': 'missing', 'loc': ('body', 'messages')}]","type":"internal_server_error","param":null,"code":null}}"#,
            ErrorCode::UpstreamError,
            "Attempts",
        ),
    ]);
}

#[test]
fn ollama() {
    assert_shapes(&[
        (
            404,
            r#"{"error":{"message":"model \"hunter2\" not found, try pulling it first","type":"api_error","param":null,"code":null}}"#,
            ErrorCode::ModelNotFound,
            "never",
        ),
        (
            404,
            r#"{"error":"model 'hunter2' not found"}"#,
            ErrorCode::ModelNotFound,
            "never",
        ),
        (
            503,
            r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#,
            ErrorCode::UpstreamOverloaded,
            "Overload",
        ),
        (
            500,
            r#"{"error":{"message":"llama runner process has terminated","type":"api_error","param":null,"code":null}}"#,
            ErrorCode::UpstreamError,
            "Attempts",
        ),
        (
            400,
            r#"{"error":{"message":"invalid message content type: hunter2","type":"invalid_request_error","param":null,"code":null}}"#,
            ErrorCode::InvalidRequest,
            "never",
        ),
    ]);
}

#[test]
fn transformers_serve() {
    assert_shapes(&[
        (
            500,
            "Internal Server Error",
            ErrorCode::UpstreamError,
            "Attempts",
        ),
        (
            422,
            r#"{"detail":"Unexpected keys in the request: {'hunter2'}"}"#,
            ErrorCode::InvalidRequest,
            "never",
        ),
        (
            422,
            r#"{"detail":[{"type":"missing","loc":["body","messages"],"msg":"Field required","input":{"prompt":"hunter2"}}]}"#,
            ErrorCode::InvalidRequest,
            "never",
        ),
        (
            404,
            r#"{"detail":"Not Found"}"#,
            ErrorCode::ModelNotFound,
            "never",
        ),
    ]);
}
