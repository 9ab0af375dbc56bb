//! Leads: which task's call answers for all equal ones.

use std::time::Duration;

use futures::future::join_all;
use tidings::{
    clock::Timestamp,
    model::{CacheKey, Fence, IdRange},
    store::{Bid, Lead, Over},
};

use super::harness::{Harness, LONG, SHORT};

fn key(number: u8) -> CacheKey {
    CacheKey::from_bytes([number; 32])
}

/// A task that is processing for the first time, of any partition.
fn lead(h: &Harness) -> Lead {
    Lead {
        task: IdRange::new(Timestamp(1), 0, h.draw(), 1).first,
        fence: Fence {
            epoch: 1,
            revision: 2,
        },
    }
}

fn later(lead: Lead, revision: u64) -> Lead {
    let epoch = lead.fence.epoch;
    Lead {
        fence: Fence { epoch, revision },
        ..lead
    }
}

fn bid_for(h: &Harness, key: CacheKey, lead: Lead, over: Over, length: Duration) -> Bid {
    Bid {
        key,
        lead,
        over,
        until: h.after(length),
    }
}

async fn bid(h: &Harness, number: u8, lead: Lead, over: Over) -> Lead {
    let bid = bid_for(h, key(number), lead, over, LONG);
    h.store.bid(bid).await.unwrap()
}

pub(super) async fn a_key_has_one_lead_and_every_bidder_is_told(h: Harness) {
    let (first, second) = (lead(&h), lead(&h));
    assert_eq!(bid(&h, 1, first, Over::Nobody).await, first);
    assert_eq!(bid(&h, 1, second, Over::Nobody).await, first);
    let elsewhere = bid_for(&h, key(1), second, Over::Nobody, LONG);
    assert_eq!(h.peer.bid(elsewhere).await.unwrap(), first);
    // The same call again, after a reply that was lost.
    assert_eq!(bid(&h, 1, first, Over::Nobody).await, first);
}

pub(super) async fn of_many_bids_at_once_one_wins(h: Harness) {
    for over in [None, Some(())] {
        let key = key(u8::from(over.is_some()));
        let over = match over {
            None => Over::Nobody,
            Some(()) => {
                let gone = lead(&h);
                let bid = bid_for(&h, key, gone, Over::Nobody, LONG);
                h.store.bid(bid).await.unwrap();
                Over::This(gone)
            }
        };
        let leads: Vec<Lead> = (0..40).map(|_| lead(&h)).collect();
        let bids = leads.iter().enumerate().map(|(place, lead)| {
            let store = [&h.store, &h.peer][place % 2];
            store.bid(bid_for(&h, key, *lead, over, LONG))
        });
        let told: Vec<Lead> = join_all(bids)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert!(leads.contains(&told[0]));
        assert!(told.iter().all(|it| *it == told[0]), "{told:?}");
    }
}

pub(super) async fn a_bid_takes_the_place_that_it_names_and_no_other(h: Harness) {
    let (first, second, third) = (lead(&h), lead(&h), lead(&h));
    bid(&h, 1, first, Over::Nobody).await;
    assert_eq!(bid(&h, 1, second, Over::This(third)).await, first);
    let of_another_revision = later(first, 4);
    assert_eq!(
        bid(&h, 1, second, Over::This(of_another_revision)).await,
        first
    );
    assert_eq!(bid(&h, 1, second, Over::This(first)).await, second);
    assert_eq!(bid(&h, 1, third, Over::This(first)).await, second);
    // Nobody is in the place any more.
    assert_eq!(bid(&h, 2, third, Over::This(first)).await, third);
}

pub(super) async fn a_bid_over_anybody_takes_any_place(h: Harness) {
    let (first, second) = (lead(&h), lead(&h));
    assert_eq!(bid(&h, 1, first, Over::Anybody).await, first);
    assert_eq!(bid(&h, 1, second, Over::Anybody).await, second);
    assert_eq!(bid(&h, 1, first, Over::Nobody).await, second);
}

pub(super) async fn a_task_follows_itself_and_never_falls_back(h: Harness) {
    let first = lead(&h);
    let again = later(first, 4);
    bid(&h, 1, first, Over::Nobody).await;
    assert_eq!(bid(&h, 1, again, Over::Nobody).await, again);
    assert_eq!(bid(&h, 1, first, Over::Nobody).await, again);
    let next_epoch = Lead {
        fence: Fence {
            epoch: 2,
            revision: 2,
        },
        ..first
    };
    assert_eq!(bid(&h, 1, next_epoch, Over::Nobody).await, next_epoch);
    assert_eq!(bid(&h, 1, again, Over::Nobody).await, next_epoch);
}

pub(super) async fn keys_are_led_apart_from_each_other(h: Harness) {
    let leads: Vec<Lead> = (0..60).map(|_| lead(&h)).collect();
    for (number, lead) in (0_u8..).zip(&leads) {
        assert_eq!(bid(&h, number, *lead, Over::Nobody).await, *lead);
    }
    let other = lead(&h);
    for (number, lead) in (0_u8..).zip(&leads) {
        let bid = bid_for(&h, key(number), other, Over::Nobody, LONG);
        assert_eq!(h.peer.bid(bid).await.unwrap(), *lead);
    }
}

pub(super) async fn a_lead_is_over_after_its_time(h: Harness) {
    let (first, second) = (lead(&h), lead(&h));
    let short = bid_for(&h, key(1), first, Over::Nobody, SHORT);
    assert_eq!(h.store.bid(short).await.unwrap(), first);
    assert_eq!(bid(&h, 1, second, Over::Nobody).await, first);
    h.advance(SHORT).await;
    assert_eq!(bid(&h, 1, second, Over::Nobody).await, second);
}

pub(super) async fn a_lead_that_was_prolonged_outlives_a_sweep(h: Harness) {
    let (first, second) = (lead(&h), lead(&h));
    let short = bid_for(&h, key(1), first, Over::Nobody, SHORT);
    h.store.bid(short).await.unwrap();
    h.store
        .bid(Bid {
            key: key(2),
            ..short
        })
        .await
        .unwrap();
    bid(&h, 1, first, Over::Nobody).await;
    h.advance(SHORT).await;
    h.store.sweep().await.unwrap();
    assert_eq!(bid(&h, 1, second, Over::Nobody).await, first);
    assert_eq!(bid(&h, 2, second, Over::Nobody).await, second);
}

pub(super) async fn a_forgotten_lead_leaves_its_key_free(h: Harness) {
    let (first, second) = (lead(&h), lead(&h));
    for number in 0..20 {
        bid(&h, number, first, Over::Nobody).await;
    }
    let keys: Vec<CacheKey> = (10..30).map(key).collect();
    assert_eq!(h.peer.forget(&keys).await.unwrap(), 10);
    assert_eq!(h.store.forget(&keys).await.unwrap(), 0);
    assert_eq!(h.store.forget(&[]).await.unwrap(), 0);
    for number in 0..20 {
        let expected = if number < 10 { first } else { second };
        assert_eq!(bid(&h, number, second, Over::Nobody).await, expected);
    }
}

pub(super) async fn a_reopened_store_knows_its_leads(h: Harness) {
    let (first, second) = (lead(&h), lead(&h));
    bid(&h, 1, first, Over::Nobody).await;
    bid(&h, 2, first, Over::Nobody).await;
    h.store.forget(&[key(2)]).await.unwrap();
    let h = h.reopen().await;
    assert_eq!(bid(&h, 1, second, Over::Nobody).await, first);
    assert_eq!(bid(&h, 2, second, Over::Nobody).await, second);
}
