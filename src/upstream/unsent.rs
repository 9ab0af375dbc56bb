//! Failures of calls that no server heard of, other than for want of a turn.

use std::time::Duration;

use crate::model::{Budget, ErrorCode, Failed, Failure, Recourse, Wait};

/// When to come back after a server that keeps failing was waited for in vain.
const COME_BACK: Duration = Duration::from_secs(5);

/// A call that was not sent because the servers that could serve it keep failing.
pub(super) fn resting() -> Failed {
    Failed {
        failure: Failure::new(
            ErrorCode::UpstreamUnreachable,
            "not sent: the upstream kept failing; the task goes on by itself once it answers again",
        ),
        recourse: Recourse::Retry {
            budget: Budget::Time,
            wait: Wait::Told(COME_BACK),
        },
    }
}

/// A call to a model that no endpoint serves.
pub(super) fn unserved() -> Failed {
    never(
        ErrorCode::ModelNotFound,
        "no endpoint is configured for the task's model; ask for another model, or add it to an endpoint's `models`",
    )
}

/// A call whose body does not say the model's name where it could be changed.
pub(super) fn nameless() -> Failed {
    never(
        ErrorCode::InvalidRequest,
        "the request's body names its model twice or not at all, so that it cannot be renamed for the endpoint",
    )
}

fn never(code: ErrorCode, message: &str) -> Failed {
    Failed {
        failure: Failure::new(code, message),
        recourse: Recourse::Never,
    }
}
