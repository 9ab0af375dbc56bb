//! How long to wait before a call is tried again.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The first pause; each further one may be twice as long.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause of our own making.
const LONGEST: Duration = Duration::from_secs(5);

/// Pauses that grow, with jitter so that many clients do not come back at once.
#[derive(Debug)]
pub(super) struct Pauses {
    ceiling: Duration,
}

impl Pauses {
    /// Starts with a short one.
    pub(super) fn new() -> Self {
        Pauses { ceiling: FIRST }
    }

    /// How long to wait after this failure: as long as the server asks, else our own guess.
    pub(super) fn after(&mut self, status: &Status) -> Duration {
        let asked = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay);
        let guess = self.ceiling.mul_f64(rand::random_range(0.5..1.0));
        self.ceiling = (self.ceiling * 2).min(LONGEST);
        asked.unwrap_or(guess)
    }
}

/// Whether an idempotent call may simply be sent again.
pub(super) fn may_repeat(status: &Status) -> bool {
    super::error::is_transport(status)
        || matches!(status.code(), Code::Unavailable | Code::ResourceExhausted)
}

/// Whether a broken stream may be resumed.
pub(super) fn may_resume(status: &Status) -> bool {
    may_repeat(status)
        || matches!(
            status.code(),
            Code::Internal | Code::Cancelled | Code::Unknown
        )
}

/// Whether a stream ended only because it had lived its time.
pub(super) fn is_of_age(status: &Status) -> bool {
    status
        .get_details_error_info()
        .is_some_and(|info| info.reason == "STREAM_AGE")
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn the_server_has_the_say_and_our_own_guess_grows_to_a_bound() {
        let mut pauses = Pauses::new();
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(9)));
        let asked = Status::with_error_details(Code::Unavailable, "later", details);
        assert_eq!(pauses.after(&asked), Duration::from_secs(9));
        let plain = Status::unavailable("later");
        for _ in 0..20 {
            assert!(pauses.after(&plain) <= LONGEST);
        }
        assert!(pauses.after(&plain) >= LONGEST / 2);
    }

    #[test]
    fn a_refusal_is_never_repeated() {
        for code in [Code::InvalidArgument, Code::NotFound, Code::OutOfRange] {
            assert!(!may_resume(&Status::new(code, "")));
        }
        assert!(may_resume(&Status::internal("")) && !may_repeat(&Status::internal("")));
    }
}
