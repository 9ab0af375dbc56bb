//! Values that processes agree on.

use std::{collections::BTreeSet, time::Duration};

use futures::future::join_all;
use tidings::store::{Slot, Store, Swap};

use super::harness::{Harness, LONG, SHORT};

async fn swap(store: &dyn Store, key: &str, version: u64, value: &[u8], keep: Duration) -> Slot {
    let swap = Swap {
        key: key.to_owned(),
        version,
        value: value.to_vec(),
        keep,
    };
    store.swap(swap).await.unwrap()
}

pub(super) async fn a_value_is_swapped_by_whoever_read_it_last(h: Harness) {
    let hostile = [0, 255, 13, 10, 0];
    let first = swap(&*h.store, "a", 0, &hostile, LONG).await;
    assert!(first.swapped && first.version != 0);
    assert_eq!(first.value, hostile);

    let late = swap(&*h.peer, "a", 0, b"late", LONG).await;
    let kept = Slot {
        swapped: false,
        ..first.clone()
    };
    assert_eq!(late, kept);
    let second = swap(&*h.peer, "a", late.version, b"", LONG).await;
    assert!(second.swapped && second.version != first.version);

    let stale = swap(&*h.store, "a", first.version, b"stale", LONG).await;
    let kept = Slot {
        swapped: false,
        ..second
    };
    assert_eq!(stale, kept);
    let other = swap(&*h.store, "b", u64::MAX, b"a mere look", LONG).await;
    assert_eq!(other, Slot::default());
}

pub(super) async fn of_many_swaps_at_once_one_is_made(h: Harness) {
    let mut version = 0;
    for round in 0..10_u8 {
        let swaps = (0..16_u8).map(|number| {
            let store = if number % 2 == 0 { &h.store } else { &h.peer };
            let value = [round, number];
            async move { swap(&**store, "a", version, &value, LONG).await }
        });
        let slots = join_all(swaps).await;
        assert_eq!(slots.iter().filter(|slot| slot.swapped).count(), 1);
        let kept: BTreeSet<_> = slots
            .iter()
            .map(|slot| (slot.version, &slot.value))
            .collect();
        assert_eq!(kept.len(), 1, "all are told the same: {slots:?}");
        version = slots[0].version;
    }
}

pub(super) async fn a_value_goes_after_its_time_and_its_version_does_not_return(h: Harness) {
    let first = swap(&*h.store, "a", 0, b"first", SHORT).await;
    h.advance(SHORT).await;
    let gone = swap(&*h.store, "a", first.version, b"stale", LONG).await;
    assert_eq!(gone, Slot::default());
    let anew = swap(&*h.peer, "a", 0, b"anew", LONG).await;
    assert!(anew.swapped && anew.version != first.version);
}
