//! Equal tasks of one process: one of them asks, the others wait for what it finds.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::model::{CacheKey, Outcome};

/// Tasks at one cell: beyond it they wait in the queue, so that one slow call does not hold up all that can wait here.
const MAX_SEATS: usize = 1_024;

/// What the last one to ask found.
#[derive(Debug, Default)]
pub(super) enum Found {
    /// Nothing: the next one asks.
    #[default]
    Nothing,
    /// An answer for all.
    Answer(Arc<Outcome>),
    /// An answer that is for itself alone; so would those of the others be.
    Unshareable,
}

type Cell = Arc<AsyncMutex<Found>>;
/// What tasks must have in common: the request, and how old an answer may be.
type Common = (CacheKey, Duration);
type Map = Arc<Mutex<HashMap<Common, Cell>>>;

/// One cell for each request that somebody asks for.
#[derive(Debug, Default)]
pub(super) struct Cells(Map);

/// A place before a cell. The cell goes with the last one.
#[derive(Debug)]
pub(super) struct Seat {
    cells: Map,
    common: Common,
    cell: Cell,
}

/// The turn of the one that asks. Whoever waits is next when it ends, however it ends.
#[derive(Debug)]
pub(super) struct Turn {
    // Before the seat: the cell is free before it is counted.
    found: OwnedMutexGuard<Found>,
    seat: Seat,
}

impl Cells {
    /// Takes a place.
    pub(super) fn seat(&self, key: CacheKey, max_age: Duration) -> Seat {
        let common = (key, max_age);
        let cell = self.0.lock().entry(common).or_default().clone();
        Seat {
            cells: self.0.clone(),
            common,
            cell,
        }
    }
}

impl Seat {
    /// The turn, if nobody has it.
    pub(super) fn try_turn(self) -> Result<Turn, Seat> {
        match self.cell.clone().try_lock_owned() {
            Ok(found) => Ok(Turn { found, seat: self }),
            Err(_) => Err(self),
        }
    }

    /// Whether so many wait already that this one should not.
    pub(super) fn is_crowded(&self) -> bool {
        // Each of those before it holds the cell twice: with its seat, and with its turn or its wait for it.
        Arc::strong_count(&self.cell) / 2 > MAX_SEATS
    }

    /// Waits for the turn, in the order of coming.
    pub(super) async fn turn(self) -> Turn {
        let found = self.cell.clone().lock_owned().await;
        Turn { found, seat: self }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut cells = self.cells.lock();
        // This one and the map's: nobody else waits, and nobody comes while the map is locked.
        if Arc::strong_count(&self.cell) <= 2 {
            cells.remove(&self.common);
        }
    }
}

impl Turn {
    /// What the one before found.
    pub(super) fn found(&self) -> &Found {
        &self.found
    }

    /// Leaves something for the others.
    pub(super) fn leave(&mut self, found: Found) {
        *self.found = found;
    }

    /// Whether anybody else waits.
    pub(super) fn has_company(&self) -> bool {
        // Those of map, seat and guard.
        Arc::strong_count(&self.seat.cell) > 3
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn seat(cells: &Cells) -> Seat {
        cells.seat(CacheKey::from_bytes([1; 32]), Duration::ZERO)
    }

    #[tokio::test]
    async fn one_asks_and_leaves_what_it_found_to_those_that_wait() {
        let cells = Cells::default();
        let mut first = seat(&cells).try_turn().unwrap();
        assert!(!first.has_company());
        let second = seat(&cells).try_turn().unwrap_err();
        assert!(first.has_company());
        first.leave(Found::Unshareable);
        drop(first);
        let second = second.turn().await;
        assert!(matches!(second.found(), Found::Unshareable));
        drop(second);
        assert!(cells.0.lock().is_empty());
        let third = seat(&cells).try_turn().unwrap();
        assert!(matches!(third.found(), Found::Nothing));
    }

    #[tokio::test]
    async fn a_cell_has_room_for_so_many_and_no_more() {
        let cells = Cells::default();
        let _first = seat(&cells).try_turn().unwrap();
        let mut waiting = Vec::new();
        loop {
            let seat = seat(&cells);
            if seat.is_crowded() {
                break;
            }
            let mut turn = Box::pin(seat.turn());
            assert!(turn.as_mut().now_or_never().is_none());
            waiting.push(turn);
        }
        assert_eq!(1 + waiting.len(), MAX_SEATS);
        waiting.pop();
        assert!(!seat(&cells).is_crowded());
    }

    #[tokio::test]
    async fn a_turn_that_is_dropped_is_the_next_ones() {
        let cells = Cells::default();
        let first = seat(&cells).turn().await;
        let second = tokio::spawn(seat(&cells).turn());
        drop(first);
        assert!(matches!(second.await.unwrap().found(), Found::Nothing));
        assert!(cells.0.lock().is_empty());
    }
}
