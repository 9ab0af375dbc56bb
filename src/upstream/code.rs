//! Codes by which upstreams say what is wrong, where several mean the same.

/// Codes and types that say that there is no money left, rather than that we are too fast.
pub(super) const NO_MONEY: [&str; 7] = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "enforced_spend_limit_reached",
    "budget_exceeded",
];

/// Codes that say under status 400 that the model is not served.
pub(super) const NO_MODEL: [&str; 3] = ["model_not_found", "invalid_model", "model_decommissioned"];

/// Codes that say that what was asked may not be.
pub(super) const POLICY: [&str; 4] = [
    "content_policy_violation",
    "content_filter",
    "moderation_blocked",
    "image_content_policy_violation",
];

/// Codes of a response that failed for what it was given, and would again.
pub(super) const BAD_INPUT: [&str; 12] = [
    "invalid_prompt",
    "invalid_image",
    "invalid_image_format",
    "invalid_image_mode",
    "invalid_image_url",
    "invalid_base64_image",
    "image_too_large",
    "image_too_small",
    "image_parse_error",
    "image_file_too_large",
    "empty_image_file",
    "unsupported_image_media_type",
];
