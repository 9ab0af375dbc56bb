//! Holds back the calls of a model whose rate limit was hit, so that one 429 is not answered with a hundred more.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// When the calls of each model may be sent again.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<HashMap<String, Instant>>);

impl Gate {
    /// Holds calls of `model` back for `wait`; a longer wait that stands already is kept.
    pub(super) fn close(&self, model: &str, wait: Duration, now: Instant) {
        let Some(until) = now.checked_add(wait) else {
            return;
        };
        let mut closed = self.0.lock();
        closed.retain(|_, until| *until > now);
        let standing = closed.entry(model.to_owned()).or_insert(until);
        *standing = until.max(*standing);
    }

    /// How much longer calls of `model` are held back; none when they may go.
    pub(super) fn closed_for(&self, model: &str, now: Instant) -> Option<Duration> {
        let until = *self.0.lock().get(model)?;
        let wait = until.saturating_duration_since(now);
        (!wait.is_zero()).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_closes_one_model_for_the_longest_wait_told() {
        let gate = Gate::default();
        let now = Instant::now();
        let later = now + Duration::from_secs(3);
        gate.close("a", Duration::from_secs(3), now);
        gate.close("a", Duration::from_secs(1), now);
        assert_eq!(gate.closed_for("a", now), Some(Duration::from_secs(3)));
        assert_eq!(gate.closed_for("b", now), None);
        assert_eq!(gate.closed_for("a", later), None);
        gate.close("b", Duration::from_secs(1), later);
        assert_eq!(gate.0.lock().len(), 1, "open gates are forgotten");
    }
}
