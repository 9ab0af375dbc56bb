//! What `x-should-retry` changes: some rows of the table are the upstream's to overrule, the others are not.

use super::taxonomy::{Row, retry};
use crate::model::{Budget, ErrorCode, Recourse};

impl Row {
    /// Whether `x-should-retry` goes before the table.
    pub(super) fn may_be_overruled(self) -> bool {
        matches!(
            self,
            Row::UpstreamTimedOut
                | Row::Conflict
                | Row::TooLarge
                | Row::Throttled
                | Row::ExceedsQuota
                | Row::Overloaded
                | Row::ServerError
                | Row::GatewayError
        )
    }

    /// The row of the table, but with another attempt: the upstream says that it may help.
    pub(super) fn retried(self) -> (ErrorCode, Recourse) {
        match self {
            // Too much for the limit as it is now.
            Row::ExceedsQuota => Row::Throttled.verdict(),
            row => match row.verdict() {
                (code, Recourse::Never) => (code, retry(Budget::Attempts)),
                verdict => verdict,
            },
        }
    }
}
