//! Values that cases need and do not look at closely.

use tidings::{
    model::{ErrorCode, Event, Failure, Outcome, Task, TaskId, Usage},
    store::Idempotency,
};

/// The ids of tasks in order.
pub(in crate::conformance) fn ids(tasks: &[Task]) -> Vec<TaskId> {
    tasks.iter().map(|task| task.id).collect()
}

/// A failure.
pub(in crate::conformance) fn failure(message: &str) -> Failure {
    Failure::new(ErrorCode::UpstreamError, message)
}

/// An answer that used 3 tokens in and 5 out.
pub(in crate::conformance) fn answer(text: &str) -> Event {
    Event::Succeeded(Box::new(Outcome {
        text: text.into(),
        body: format!("{{\"text\":\"{text}\"}}"),
        usage: Usage {
            input_tokens: 3,
            output_tokens: 5,
            cost_nanos: 7_000_000_001,
            ..Usage::default()
        },
        ..Outcome::default()
    }))
}

/// An idempotency key for some content.
pub(in crate::conformance) fn key(key: &str, content: u8) -> Option<Idempotency> {
    Some(Idempotency {
        key: key.into(),
        hash: [content; 32],
    })
}
