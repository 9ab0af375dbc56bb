use std::pin::pin;

use futures::{FutureExt as _, poll};

use super::*;

fn free(room: &Room) -> Option<Free> {
    room.enter().now_or_never().flatten()
}

fn slot(room: &Room) -> Option<Slot> {
    free(room)?.fill()
}

#[test]
fn all_that_is_free_is_taken_at_once_and_given_back_when_it_is_not_used() {
    let room = Room::new(4);
    let busy = slot(&room).unwrap();
    let mut taken = free(&room).unwrap();
    taken.fit(2);
    assert_eq!(taken.len(), 2);
    taken.fit(100);
    assert_eq!(taken.len(), 3);
    assert!(free(&room).is_none());
    let used = [taken.fill().unwrap(), taken.fill().unwrap()];
    drop(taken);
    let mut rest = free(&room).unwrap();
    rest.fit(100);
    assert_eq!(rest.len(), 1);
    assert!(rest.fill().is_some());
    assert!(rest.fill().is_none(), "it is used");
    drop((busy, used, rest));
    let mut all = free(&room).unwrap();
    all.fit(100);
    assert_eq!(all.len(), 4);
}

/// A room in which so many places come free while a task is made ready.
fn busy(concurrency: usize, expected: usize) -> Room {
    let room = Room::new(concurrency);
    while room.0.flow.expected() < expected {
        room.0.flow.learn(expected);
    }
    room
}

fn all(room: &Room) -> Vec<Slot> {
    let mut free = free(room).unwrap();
    free.fit(usize::MAX);
    std::iter::from_fn(|| free.fill()).collect()
}

#[tokio::test]
async fn tasks_are_made_ready_for_places_that_come_free_soon() {
    let room = busy(16, 10);
    let mut slots = all(&room);
    assert_eq!(slots.len(), 16 + 2, "twice as many as are expected");
    let (ready, running) = slots.split_at_mut(2);
    for slot in running {
        slot.run().await;
    }
    assert!(ready[0].run().now_or_never().is_none(), "no more run");
    slots.pop();
    assert!(slots[0].run().now_or_never().is_some());
    assert!(free(&room).is_none(), "one is ready still");
    slots.pop();
    assert!(slots[1].run().now_or_never().is_some());
    assert_eq!(all(&room).len(), 2);
}

#[tokio::test]
async fn no_more_than_an_eighth_is_made_ready() {
    assert_eq!(all(&Room::new(256)).len(), 256);
    let room = busy(256, 200);
    assert_eq!(all(&room).len(), 256 + 32);
}

#[tokio::test]
async fn no_more_is_taken_than_may_wait_for_turns() {
    let room = busy(256, 200);
    let mut places = free(&room).unwrap();
    assert_eq!(places.len(), 17, "worth asking for");
    places.fit(3);
    assert_eq!(places.len(), 3);
    places.fit(0);
    assert_eq!(places.len(), 1, "or it would never be asked for any");
}

#[tokio::test]
async fn places_that_come_free_while_a_task_is_made_ready_are_expected_to_do_so_again() {
    let room = Room::new(64);
    let mut slots = all(&room);
    for slot in &mut slots {
        assert!(slot.run_soon().await);
    }
    slots.truncate(48);
    let mut places = free(&room).unwrap();
    places.fit(1);
    slots.truncate(32);
    let mut late = places.fill().unwrap();
    late.ready(async { slots.truncate(16) }).await;
    assert!(late.run_soon().await);
    // 32 places: the average of 32 tasks has become one.
    assert_eq!(room.0.flow.expected(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_finds_no_place_soon_does_not_run() {
    let room = busy(16, 10);
    let mut slots = all(&room);
    let mut running = slots.split_off(2);
    for slot in &mut running {
        slot.run().await;
    }
    let [first, second] = &mut slots[..] else {
        panic!("two are made ready");
    };
    let expected = room.0.flow.expected();
    assert!(!first.run_soon().await);
    assert!(room.0.flow.expected() < expected, "fewer come free");
    let busy = running.pop().unwrap();
    let mut late = pin!(second.run_soon());
    assert!(poll!(&mut late).is_pending());
    tokio::time::advance(SOON / 2).await;
    drop(busy);
    assert!(late.await);
    // A process that was stopped finds both at once: its time is over, and there is a place.
    let busy = running.pop().unwrap();
    let mut late = pin!(first.run_soon());
    assert!(poll!(&mut late).is_pending());
    drop(busy);
    tokio::time::advance(SOON * 2).await;
    assert!(!late.await);
    assert!(slot(&room).unwrap().run_soon().await, "the place is free");
}

#[tokio::test]
async fn a_task_aside_leaves_its_place_to_others_and_waits_to_have_it_back() {
    let room = Room::new(1);
    let mut first = slot(&room).unwrap();
    assert!(free(&room).is_none());
    first.step_aside();
    let second = slot(&room).unwrap();
    assert!(first.step_in().now_or_never().is_none());
    drop(second);
    first.step_in().await;
    assert!(free(&room).is_none());
    drop(first);
    assert!(free(&room).is_some());
}

#[tokio::test]
async fn a_task_aside_waits_for_no_turn_until_it_is_back() {
    let room = Room::new(1);
    let turns = || room.wait(|| Some(1)).now_or_never();
    let mut places = room.enter().await.unwrap();
    assert_eq!(turns(), Some(1));
    let mut first = places.fill().unwrap();
    assert_eq!(turns(), None);
    first.step_aside();
    assert_eq!(turns(), Some(1));
    let other = free(&room).unwrap();
    assert!(first.step_in().now_or_never().is_none());
    assert_eq!(turns(), Some(1), "it has no place yet");
    drop(other);
    first.step_in().await;
    assert_eq!(turns(), None);
    drop(first.waiting());
    assert_eq!(turns(), Some(1));
}

#[test]
fn as_many_as_may_run_may_wait_for_their_commit_besides() {
    let room = Room::new(1);
    let mut first = slot(&room).unwrap();
    assert!(free(&room).is_none());
    first.end(false);
    let mut second = slot(&room).unwrap();
    second.end(false);
    assert!(free(&room).is_none());
    drop(first);
    assert!(free(&room).is_none(), "the second kept its place");
    drop(second);
    assert!(free(&room).is_some());
}

#[test]
fn of_answers_that_were_paid_for_fewer_may_wait_for_their_commit_besides() {
    let room = Room::new(16);
    let mut places = free(&room).unwrap();
    places.fit(16);
    let mut paid: Vec<Slot> = std::iter::from_fn(|| places.fill()).collect();
    assert_eq!(paid.len(), 16);
    paid.iter_mut().for_each(|slot| slot.end(true));
    let mut more = free(&room).unwrap();
    more.fit(16);
    assert_eq!(more.len(), 2, "an eighth");
    drop(more);
    paid.truncate(15);
    let mut more = free(&room).unwrap();
    more.fit(16);
    assert_eq!(more.len(), 3);
}

#[test]
fn no_more_tasks_stand_aside_than_there_is_room_for() {
    let room = Room::new(2);
    let mut aside = Vec::new();
    let _busy = slot(&room).unwrap();
    loop {
        let mut slot = slot(&room).unwrap();
        if slot.is_stuck() {
            break;
        }
        slot.step_aside();
        aside.push(slot);
    }
    assert_eq!(aside.len(), MAX_ASIDE);
    assert!(!aside[0].is_stuck(), "it stands aside already");
    assert!(free(&room).is_some(), "others may still run");
    aside.pop();
    assert!(!slot(&room).unwrap().is_stuck());
}
