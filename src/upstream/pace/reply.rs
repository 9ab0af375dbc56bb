//! What a schedule hears of a reply.

use super::Seconds;

/// Of a limit, so much is still room: a 429 in spite of it is not explained by what the headers say.
const ROOM: f64 = 0.05;

/// One dimension of what a reply's headers say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Room {
    /// The limit, a second.
    pub(crate) limit: Option<f64>,
    /// What remains of it.
    pub(crate) remaining: Option<f64>,
}

impl Room {
    fn is_there(&self, needed: f64) -> Option<bool> {
        let limit = self.limit?;
        Some(self.remaining? > (limit * 60.0 * ROOM).max(needed))
    }
}

/// What came back.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Reply {
    /// Calls that may be made.
    pub(crate) requests: Room,
    /// Tokens that may be used.
    pub(crate) tokens: Room,
    /// What else it says.
    pub(crate) answer: Answer,
}

impl Reply {
    /// Whether its headers say that there was room for a call of so many tokens.
    pub(super) fn says_room(&self, tokens: f64) -> bool {
        let said = [self.requests.is_there(1.0), self.tokens.is_there(tokens)];
        let mut known = said.into_iter().flatten().peekable();
        known.peek().is_some() && known.all(|room| room)
    }
}

/// What a reply means for the schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Answer {
    /// Nothing.
    #[default]
    Other,
    /// So many tokens of prompt and of answer.
    Used(u64, u64),
    /// The upstream has more calls than it can do.
    Overloaded,
    /// A 429.
    Throttled {
        /// How long to wait.
        told: Seconds,
        /// The upstream asks for a slower ramp.
        slow_down: bool,
    },
}
