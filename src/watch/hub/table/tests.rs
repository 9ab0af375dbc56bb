use std::pin::pin;

use futures::poll;

use super::*;

#[tokio::test]
async fn whoever_is_woken_with_many_others_is_woken_once_and_in_parts() {
    let table = Table::default();
    let slots: Vec<Arc<Slot>> = (0..1_300).map(|_| Arc::default()).collect();
    for (number, slot) in slots.iter().enumerate() {
        table.insert(number / 100, slot);
    }
    let woken = || {
        slots
            .iter()
            .filter(|slot| slot.take_moved().is_some())
            .count()
    };
    let mut pauses = Pauses::default();
    let mut waking = pin!(table.wake_all(&mut pauses));
    for part in [WOKEN_AT_ONCE, WOKEN_AT_ONCE] {
        assert!(poll!(&mut waking).is_pending());
        assert_eq!(woken(), part);
    }
    waking.await;
    assert_eq!(woken(), 1_300 - 2 * WOKEN_AT_ONCE);
    assert_eq!(table.wake(&3), 100);
    assert_eq!(woken(), 100);
}

#[test]
fn one_of_many_who_watch_the_same_leaves_alone() {
    let table = Table::default();
    let slots: [Arc<Slot>; 3] = Default::default();
    let numbers = slots.each_ref().map(|slot| table.insert(7, slot));
    table.remove(7, numbers[1]);
    assert_eq!((table.wake(&7), table.len()), (2, 2));
    assert!(table.come_to(7, numbers[0], 0));
    let woken = slots.each_ref().map(|slot| slot.take_moved().is_some());
    assert_eq!(woken, [true, false, true]);
    table.remove(7, numbers[2]);
    table.insert(8, &slots[2]);
    assert!(
        !table.come_to(7, numbers[0], 0),
        "who watches something else does not count"
    );
}

#[test]
fn who_has_yet_to_look_is_hinted_at_once() {
    let table = Table::default();
    let slots: [Arc<Slot>; 2] = Default::default();
    let numbers = slots.each_ref().map(|slot| table.insert(7, slot));
    assert_eq!((table.hint(&7), table.hint(&7)), (2, 0));
    assert!(slots.iter().all(|slot| slot.take_hint()));
    table.come_to(7, numbers[1], 1);
    assert_eq!((table.hint(&7), table.hint(&7)), (1, 0));
    let woken = slots.each_ref().map(|slot| slot.take_hint());
    assert_eq!(woken, [false, true]);
}

#[test]
fn who_has_fallen_far_behind_is_no_company() {
    let table = Table::default();
    let slots: [Arc<Slot>; 3] = Default::default();
    let numbers = slots.each_ref().map(|slot| table.insert(7, slot));
    let [first, second, third] = numbers;
    assert!(table.come_to(7, second, 9) && table.come_to(7, third, 9));
    assert!(!table.come_to(7, first, NEAR + 10));
    assert!(table.come_to(7, second, 10), "the third is there");
    assert!(
        table.come_to(7, first, NEAR + 10),
        "the second is near again"
    );
}
