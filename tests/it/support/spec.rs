//! What tasks say to which nothing special matters.

use tidings::{
    clock::Timestamp,
    model::{Priority, Spec, Work},
};

/// A prompt submitted now, which may be worked on until then, and is kept for an hour after its end.
pub(crate) fn spec(text: impl Into<String>, now: Timestamp, until: Timestamp) -> Spec {
    Spec {
        work: Work::Prompt { text: text.into() },
        custom_id: String::new(),
        model: "model".into(),
        priority: Priority::Normal,
        timeout_ms: 60_000,
        deadline: until,
        not_before: None,
        status_retention_ms: 3_600_000,
        result_retention_ms: 3_600_000,
        max_attempts: 5,
        labels: [].into(),
        retry_of: None,
        create_time: now,
        caching: None,
        stream: false,
        max_cost_micros: 0,
        validation_retries: None,
    }
}
