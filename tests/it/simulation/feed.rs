//! A replica's feed: hints are lost, doubled, held up and overtake each other, and as a real feed it looks once a
//! second whether it has missed something.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tidings::store::Change;
use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::link::Link;

/// How often a feed asks the store how far it is.
const PROBE: Duration = Duration::from_secs(1);

/// Passes hints on for as long as the replica lives.
pub(super) async fn run(link: Arc<Link>) {
    let mut announced = link.announced();
    let mut probe = interval(PROBE);
    probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut under_way, mut count) = (BTreeMap::<(Instant, u64), Change>::new(), 0);
    let mut has_missed = false;
    loop {
        link.running().await;
        let next = under_way.keys().next().map(|(due, _)| *due);
        let due = next.unwrap_or_else(|| Instant::now() + PROBE);
        tokio::select! {
            biased;
            () = sleep_until(due), if next.is_some() => {
                if let Some((_, change)) = under_way.pop_first() {
                    link.running().await;
                    link.hint(change);
                }
            }
            change = announced.recv() => match change {
                Ok(change) => {
                    let copies = link.copies();
                    has_missed |= copies.is_empty();
                    for delay in copies {
                        count += 1;
                        under_way.insert((Instant::now() + delay, count), change.clone());
                    }
                }
                Err(RecvError::Lagged(_)) => has_missed = true,
                Err(RecvError::Closed) => return,
            },
            _ = probe.tick() => if std::mem::take(&mut has_missed) {
                link.running().await;
                link.hint(Change::Gap);
            },
        }
    }
}
