//! Losses that are told, and each way in which they are not.

use tidings::{model::Status, proto::v1::DurabilityLevel};

use super::{
    super::{Evidence, Gone, Told, Window, comebacks, judge_losses},
    id, lawful, seen, told,
};

/// Covers what happened from 9.5 s to 13.5 s.
const WINDOW: Window = Window {
    from: 9_500,
    until: 13_500,
};

/// The end of the same task by way of a first attempt that was lost with the writes.
fn lost(seen: crate::support::history::Seen<tidings::model::TaskId>) -> Told {
    let told = told(seen);
    Told {
        happened: told.happened - 500,
        ..told
    }
}

fn in_epoch(epoch: u64, told: Told) -> Told {
    Told { epoch, ..told }
}

/// Told of three steps of which the last two were lost, then what is true.
fn rolled_back() -> Evidence {
    let mut run = lawful();
    let told = &mut run.watchers[0].told;
    for told in told.iter_mut() {
        told.epoch = 2;
    }
    told[1].reset = true;
    let first = in_epoch(1, told[0].clone());
    let undone = [
        seen(2, Status::Processing, 1),
        seen(3, Status::Completed, 1),
    ];
    let undone = undone.map(|seen| in_epoch(1, lost(seen)));
    told.splice(0..1, std::iter::once(first).chain(undone));
    run
}

/// Accepted in the window, and gone.
fn gone() -> Evidence {
    let mut run = lawful();
    run.ends.clear();
    run.again.clear();
    run.listed.clear();
    run.replay.clear();
    run.times.clear();
    run.watchers[0].told.truncate(1);
    run.watchers[0].is_over = false;
    run.watchers[0].gone = Some(Gone::Lost);
    run
}

#[track_caller]
fn caught(part: &str, mut run: Evidence, change: impl FnOnce(&mut Evidence)) {
    change(&mut run);
    let found = judge_losses(&run, &[WINDOW]).0.faults.join("\n");
    assert!(found.contains(part), "{part:?} is not among: {found}");
}

#[test]
fn losses_that_are_told_pass_and_are_counted() {
    let (verdict, _) = judge_losses(&lawful(), &[]);
    assert_eq!((verdict.faults.len(), verdict.lost), (0, 0));
    let (verdict, losses) = judge_losses(&rolled_back(), &[WINDOW]);
    assert_eq!(verdict.faults, [""; 0]);
    assert_eq!((verdict.lost, losses.resets), (0, 1));
    let (verdict, losses) = judge_losses(&gone(), &[WINDOW]);
    assert_eq!(verdict.faults, [""; 0]);
    assert_eq!((verdict.lost, losses.told_gone), (1, 1));
}

#[test]
fn an_end_that_was_lost_when_nobody_watched_any_more_is_counted() {
    let mut run = rolled_back();
    run.watchers[0].told.truncate(3);
    let (verdict, losses) = judge_losses(&run, &[WINDOW]);
    assert_eq!(verdict.faults, [""; 0]);
    assert_eq!(losses.left_before, 1);
    caught("happened", run, |run| {
        run.watchers[0].told[1].happened -= 1_600
    });
}

#[test]
fn a_loss_that_is_not_explained_is_caught() {
    caught("when nothing was cut off", gone(), |run| {
        run.receipts.get_mut(&id()).unwrap().at = 9_400;
    });
    caught("DURABILITY_LEVEL_REPLICATED", gone(), |run| {
        run.receipts.get_mut(&id()).unwrap().level = DurabilityLevel::Replicated;
    });
}

#[test]
fn a_loss_that_is_not_told_is_caught() {
    caught("revision 2 follows the end", rolled_back(), |run| {
        run.watchers[0].told[3].reset = false;
    });
    caught(
        "reset from epoch Some(1) to Some(1)",
        rolled_back(),
        |run| {
            run.watchers[0].told[3].epoch = 1;
        },
    );
    caught("the epoch fell", rolled_back(), |run| {
        run.watchers[0].told[5].epoch = 1
    });
    caught("not told that the store lost", gone(), |run| {
        run.watchers[0].gone = Some(Gone::Unknown);
    });
    caught("is there", lawful(), |run| {
        run.watchers[0].gone = Some(Gone::Lost)
    });
    caught("more than there is", rolled_back(), |run| {
        run.watchers[0].refused = 1
    });
    caught("did not end with OK", rolled_back(), |run| {
        run.watchers[0].is_over = false
    });
}

#[test]
fn two_histories_spliced_without_a_word_are_caught() {
    // The revisions alone look lawful.
    caught("happened", lawful(), |run| {
        run.watchers[0].told[1].happened -= 700
    });
}

#[test]
fn a_comeback_is_timed_from_when_there_was_something_to_come_back_to() {
    let mut run = lawful();
    run.strikes[0].replica = None;
    run.strikes[0].until = 12_100;
    let back = comebacks(&run);
    assert_eq!((back.len(), back[0].workers), (1, 1));
    assert_eq!(back[0].down.as_millis(), 2_100);
    assert_eq!(back[0].last.as_millis(), 400);
}
