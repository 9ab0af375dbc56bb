//! What every stream does besides telling news: it shows that it lives, outlasts a store that is away for a while, and
//! ends by itself when it has lived its time or its server goes.

use std::{mem, time::Duration};

use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Error, HEARTBEAT, hub::Hub, slot::Slot};
use crate::{chance, store};

/// How long a stream outlasts a store that is away before it asks its watcher to come back.
const PATIENCE: Duration = Duration::from_secs(30);
/// First pause before the store is asked again.
const RETRY: Duration = Duration::from_millis(100);
/// Longest pause before the store is asked again.
const LONGEST_RETRY: Duration = Duration::from_secs(1);
/// Streams opened in one instant are not to end in one.
const AGES: std::ops::RangeInclusive<f64> = 0.9..=1.1;
/// The first part of the time to leave belongs to health: who asks it does not come back here. At its end all have left.
const LEAVES: std::ops::RangeInclusive<f64> = 0.1..=0.95;

/// What a stream has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// There may be something to tell.
    Look,
    /// Nothing was told for long.
    Beat,
    /// It has lived its time.
    Aged,
    /// The server goes.
    Leave,
}

/// The clocks of one stream.
#[derive(Debug)]
pub(super) struct Life {
    beat: Instant,
    /// Something was told since it last waited.
    has_told: bool,
    end: Instant,
    /// When it leaves a server that goes; none while the server stays.
    leave: Option<Instant>,
    away: Option<Away>,
}

/// A store that did not answer.
#[derive(Clone, Copy, Debug)]
struct Away {
    since: Instant,
    tries: u32,
    /// When it is asked again.
    next: Instant,
}

impl Life {
    /// A stream that begins now.
    pub(super) fn new(hub: &Hub) -> Self {
        let now = Instant::now();
        Life {
            beat: now + HEARTBEAT,
            has_told: false,
            end: now + hub.config.age.mul_f64(chance::within(AGES)),
            // Whoever comes now is told what there is, and goes.
            leave: hub.draining.is_cancelled().then_some(now),
            away: None,
        }
    }

    /// Something was told.
    pub(super) fn told(&mut self) {
        // The clock is read once it waits again: many things may be told in a row.
        self.has_told = true;
    }

    /// The store has answered.
    pub(super) fn answered(&mut self) {
        self.away = None;
    }

    /// The store has not answered: it is asked again later.
    ///
    /// # Errors
    /// The error itself when patience is over, or when asking again is no use.
    pub(super) fn failed(&mut self, error: Error) -> Result<(), Error> {
        let now = Instant::now();
        let before = self.away.unwrap_or(Away {
            since: now,
            tries: 0,
            next: now,
        });
        let is_away = matches!(error, Error::Store(store::Error::Unavailable(_)));
        if !is_away || now >= before.since + PATIENCE {
            return Err(error);
        }
        let pause = (RETRY * 2u32.saturating_pow(before.tries)).min(LONGEST_RETRY);
        self.away = Some(Away {
            tries: before.tries + 1,
            next: now + pause.mul_f64(chance::within(0.5..=1.0)),
            ..before
        });
        Ok(())
    }

    /// Whether the store owes an answer.
    pub(super) fn is_owed(&self) -> bool {
        self.away.is_some()
    }

    /// Waits for what comes next: news at `look` at the latest, if it is given.
    pub(super) async fn turn(&mut self, hub: &Hub, slot: &Slot, look: Option<Instant>) -> Turn {
        loop {
            let now = Instant::now();
            if mem::take(&mut self.has_told) {
                self.beat = now + HEARTBEAT;
            }
            if self.leave.is_none() && hub.draining.is_cancelled() {
                self.leave = Some(now + hub.config.drain.mul_f64(chance::within(LEAVES)));
            }
            if self.leave.is_some_and(|leave| leave <= now) {
                return Turn::Leave;
            }
            if self.end <= now {
                return Turn::Aged;
            }
            // Without waiting, where there is something: timers are for those who wait.
            let is_due = look.is_some_and(|at| at <= now);
            if self.away.is_none() && (is_due || slot.take_hint()) {
                return Turn::Look;
            }
            if self.beat <= now {
                return Turn::Beat;
            }
            let away = self.away;
            let look = async {
                match (away, look) {
                    (Some(away), _) => {
                        // Whoever hints is back before the next try is due.
                        let _ = timeout_at(away.next, slot.news()).await;
                    }
                    (None, Some(at)) => {
                        // Late or early, whoever looks finds out: a hint that was not taken stays.
                        let _ = timeout_at(at, slot.news()).await;
                    }
                    (None, None) => slot.news().await,
                }
            };
            let next = self.leave.map_or(self.end, |leave| leave.min(self.end));
            tokio::select! {
                biased;
                () = hub.draining.cancelled(), if self.leave.is_none() => {}
                () = look => return Turn::Look,
                () = sleep_until(next.min(self.beat)) => {}
            }
        }
    }
}
