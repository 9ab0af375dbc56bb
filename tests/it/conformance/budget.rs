//! Promise 13: what a batch may spend is never passed, and nothing of it stays reserved for a call that has ended.

use std::time::Duration;

use tidings::{
    model::{
        Batch, BatchId, Cached, Event, Failure, Funds, Outcome, ParkReason, Priority, Spec, Task,
        Usage,
    },
    store::{Amendment, Append, Renewal, Submission},
};

use super::harness::{Harness, LONG, Placed, SHORT, failure, ids};

/// What a plain task of these cases may cost.
const MOST: u64 = 100_000;

/// Tasks that may cost [`MOST`] each.
fn costing(h: &Harness, count: usize) -> Vec<Spec> {
    let specs = h.specs(count).into_iter().map(|spec| Spec {
        max_cost_micros: (MOST / 1_000) as u32,
        ..spec
    });
    specs.collect()
}

fn with_budget(h: &Harness, specs: Vec<Spec>, budget: u64) -> Submission {
    Submission {
        budget: Some(budget),
        ..h.submission(specs)
    }
}

/// A batch of `count` such tasks that may spend as much as `budget`.
async fn place(h: &Harness, count: usize, budget: u64) -> Placed {
    h.place(with_budget(h, costing(h, count), budget)).await
}

fn answered(cost_nanos: u64) -> Event {
    Event::Succeeded(Box::new(Outcome {
        usage: Usage {
            cost_nanos,
            ..Usage::default()
        },
        ..Outcome::default()
    }))
}

fn in_doubt() -> Failure {
    Failure {
        maybe_billed: true,
        ..failure("lost")
    }
}

async fn mark(h: &Harness, task: &Task) {
    assert!(renew(h, task, true, LONG).await);
}

/// Marks a call as sent, or says that it is not made for now.
async fn renew(h: &Harness, task: &Task, sent: bool, lease: Duration) -> bool {
    let renewal = Renewal {
        id: task.id,
        fence: task.fence(),
        progress: 0,
        sent,
        aside: !sent,
    };
    h.store.renew(&[renewal], lease).await.unwrap()[0]
}

async fn funds(h: &Harness, batch: BatchId) -> Funds {
    h.batch(batch).await.funds.unwrap()
}

/// What is spent and what reserved.
async fn money(h: &Harness, placed: &Placed) -> (u64, u64) {
    let funds = funds(h, placed.batch).await;
    (funds.spent, funds.reserved)
}

async fn raise(h: &Harness, placed: &Placed, budget: u64) -> Batch {
    let budget = Some(budget);
    let amended = h.store.amend(placed.batch, Amendment::Resume { budget });
    amended.await.unwrap().unwrap()
}

pub(super) async fn a_batch_starts_no_more_than_its_budget_can_pay_for(h: Harness) {
    let placed = place(&h, 10, 3 * MOST + 1).await;
    let taken = h.take(10).await;
    assert_eq!(ids(&taken), placed.ids[..3]);
    let expected = Funds {
        budget: 3 * MOST + 1,
        spent: 0,
        reserved: 3 * MOST,
        short: Some(MOST),
    };
    let batch = h.batch(placed.batch).await;
    assert_eq!((batch.funds, batch.parked), (Some(expected), None));
    assert!(!h.acquire(10, SHORT).await.more);
    let other = h.submit(h.specs(3)).await;
    assert_eq!(h.take_ids(10).await, other.ids);
    assert_eq!(h.batch(other.batch).await.funds, None);
}

pub(super) async fn what_an_answer_cost_less_than_it_might_is_there_for_the_next(h: Harness) {
    let placed = place(&h, 10, 3 * MOST).await;
    let taken = h.take(10).await;
    h.must(&taken[0], answered(MOST / 2)).await;
    assert_eq!(money(&h, &placed).await, (MOST / 2, 2 * MOST));
    assert!(h.take(10).await.is_empty());
    h.must(&taken[1], answered(MOST / 2)).await;
    assert_eq!(funds(&h, placed.batch).await.short, None);
    assert_eq!(h.take_ids(10).await, [placed.ids[3]]);
    assert_eq!(money(&h, &placed).await, (MOST, 2 * MOST));
}

pub(super) async fn however_an_attempt_ends_it_is_settled_once(h: Harness) {
    let cached = |cached| {
        Event::Succeeded(Box::new(Outcome {
            cached: Some(cached),
            ..Outcome::default()
        }))
    };
    let retried = |failure| {
        move |h: &Harness, task: &Task| match h.retry(task, LONG) {
            Event::Retried { due, charges, .. } => Event::Retried {
                failure,
                due,
                charges,
            },
            other => other,
        }
    };
    type Ending = Box<dyn FnOnce(&Harness, &Task) -> Event + Send>;
    let plain = |event: Event| -> Ending { Box::new(move |_, _| event) };
    // Each with its call marked as sent or not, and the cost.
    let endings: Vec<(Ending, bool, u64)> = vec![
        (plain(answered(70_000)), true, 70_000),
        (plain(answered(0)), true, MOST),
        (plain(cached(Cached::Hit)), false, 0),
        (plain(cached(Cached::Coalesced)), false, 0),
        (plain(Event::Failed(failure("no"))), true, 0),
        (plain(Event::Failed(in_doubt())), true, MOST),
        (Box::new(retried(failure("no"))), true, 0),
        (Box::new(retried(in_doubt())), true, MOST),
        (Box::new(|h, _| h.park()), true, 0),
        (plain(Event::CancelRequested), false, 0),
        (plain(Event::CancelRequested), true, MOST),
        (plain(Event::LeaseExpired(in_doubt())), true, MOST),
        (plain(Event::LeaseExpired(failure("lost"))), false, 0),
        (plain(Event::Poisoned(in_doubt())), true, MOST),
        (plain(Event::DeadlinePassed(failure("late"))), false, 0),
        (plain(Event::DeadlinePassed(failure("late"))), true, MOST),
        (plain(Event::Released), true, MOST),
        (plain(Event::Released), false, 0),
    ];
    let placed = place(&h, 1, 100 * MOST).await;
    let mut spent = 0;
    for (number, (ending, sent, cost)) in endings.into_iter().enumerate() {
        let own = place(&h, 1, MOST).await;
        let task = h.take(100).await.into_iter().find(|it| it.id == own.ids[0]);
        let task = task.unwrap();
        assert_eq!(money(&h, &own).await, (0, MOST));
        if sent {
            mark(&h, &task).await;
        }
        let event = ending(&h, &task);
        let commit = h.moved(&task, event);
        h.commit(vec![commit.clone(), commit.clone()]).await;
        h.commit(vec![commit]).await;
        assert_eq!(money(&h, &own).await, (cost, 0), "ending {number}");
        spent += cost;
    }
    assert_eq!(spent, 8 * MOST + 70_000);
    assert_eq!(money(&h, &placed).await, (0, MOST), "others are untouched");
}

pub(super) async fn a_late_worker_settles_nothing(h: Harness) {
    let placed = place(&h, 1, 3 * MOST).await;
    let task = h.take_for(1, SHORT).await.remove(0);
    assert!(renew(&h, &task, true, SHORT).await);
    h.advance(SHORT).await;
    assert_eq!(h.reap().await.len(), 1);
    assert_eq!(money(&h, &placed).await, (MOST, 0));
    h.apply(&task, answered(1)).await;
    assert_eq!(money(&h, &placed).await, (MOST, 0));
    let again = h.take(1).await.remove(0);
    h.apply(&task, answered(1)).await;
    assert_eq!(money(&h, &placed).await, (MOST, MOST));
    h.must(&again, answered(5)).await;
    assert_eq!(money(&h, &placed).await, (MOST + 5, 0));
}

pub(super) async fn a_batch_that_can_pay_for_nothing_more_is_parked_until_it_may_spend_more(
    h: Harness,
) {
    let placed = place(&h, 4, MOST).await;
    let first = h.take(4).await.remove(0);
    h.must(&first, answered(MOST / 2)).await;
    assert!(h.take(4).await.is_empty());
    let parked = h.batch(placed.batch).await;
    assert_eq!(parked.parked.unwrap().reason, ParkReason::Budget);
    assert_eq!(parked.funds.unwrap().short, None);
    let stats = h.store.stats().await.unwrap();
    assert_eq!((stats.ready, stats.parked), (0, 3));
    // Resumed as it is, it is parked again.
    let budget = None;
    let resumed = h.store.amend(placed.batch, Amendment::Resume { budget });
    assert_eq!(resumed.await.unwrap().unwrap().parked, None);
    assert!(h.take(4).await.is_empty());
    assert!(h.batch(placed.batch).await.parked.is_some());
    let raised = raise(&h, &placed, 2 * MOST + MOST / 2).await;
    assert_eq!(raised.parked, None);
    assert_eq!(raised, h.batch(placed.batch).await);
    assert_eq!(h.take_ids(4).await, placed.ids[1..3]);
}

pub(super) async fn a_budget_is_never_set_below_what_is_spent_and_reserved(h: Harness) {
    let placed = place(&h, 4, 2 * MOST).await;
    let taken = h.take(4).await;
    h.must(&taken[0], answered(MOST)).await;
    let before = h.batch(placed.batch).await;
    for budget in [0, MOST, 2 * MOST - 1, 2 * MOST] {
        assert_eq!(raise(&h, &placed, budget).await, before);
    }
    let raised = raise(&h, &placed, 2 * MOST + 1).await;
    let expected = Funds {
        budget: 2 * MOST + 1,
        spent: MOST,
        reserved: MOST,
        short: None,
    };
    assert_eq!(raised.funds, Some(expected));
    assert!(h.take(4).await.is_empty());
    raise(&h, &placed, 3 * MOST).await;
    assert_eq!(h.take_ids(4).await, [placed.ids[2]]);
    let without = h.submit(h.specs(1)).await;
    let batch = raise(&h, &without, MOST).await;
    assert_eq!((batch.funds, batch.parked), (None, None));
}

pub(super) async fn a_batch_short_of_budget_leaves_the_turns_and_joins_again_as_the_last(
    h: Harness,
) {
    let short = place(&h, 40, 2 * MOST + 1).await;
    let other = h.submit(h.specs(40)).await;
    let taken = h.take(5).await;
    let expected = [
        short.ids[0],
        other.ids[0],
        short.ids[1],
        other.ids[1],
        other.ids[2],
    ];
    assert_eq!(ids(&taken), expected);
    let third = h.submit(h.specs(40)).await;
    h.must(&taken[0], answered(1)).await;
    let expected = [
        other.ids[3],
        third.ids[0],
        short.ids[2],
        other.ids[4],
        third.ids[1],
        other.ids[5],
    ];
    assert_eq!(h.take_ids(6).await, expected);
    // One that people let go on is the next.
    raise(&h, &short, 10 * MOST).await;
    assert_eq!(h.take_ids(2).await, [short.ids[3], third.ids[2]]);
}

pub(super) async fn a_batch_short_of_budget_takes_turns_at_no_priority(h: Harness) {
    let mut specs = costing(&h, 6);
    specs[2..4]
        .iter_mut()
        .for_each(|spec| spec.priority = Priority::High);
    specs[4..]
        .iter_mut()
        .for_each(|spec| spec.priority = Priority::Low);
    let placed = h.place(with_budget(&h, specs, MOST)).await;
    let first = h.take(10).await;
    assert_eq!(ids(&first), [placed.ids[2]]);
    // What becomes ready while it is short waits too.
    let more = Submission {
        keep_open: false,
        ..h.submission_to(placed.batch, Append::Retry, costing(&h, 1))
    };
    h.place(more).await;
    let peek = h.acquire(10, SHORT).await;
    assert!(peek.tasks.is_empty() && !peek.more);
    h.must(&first[0], answered(0)).await;
    raise(&h, &placed, 100 * MOST).await;
    let rest = h.take_ids(10).await;
    assert_eq!(rest.len(), 6);
    assert_eq!(rest[0], placed.ids[3]);
}

pub(super) async fn a_batch_short_of_budget_waits_with_what_would_fit_as_well(h: Harness) {
    let mut specs = costing(&h, 2);
    specs[1].max_cost_micros *= 2;
    let placed = h.place(with_budget(&h, specs, 2 * MOST + 1_000)).await;
    let first = h.take(3).await;
    assert_eq!(ids(&first), placed.ids[..1]);
    let small = Spec {
        priority: Priority::High,
        max_cost_micros: 1,
        ..h.spec("small")
    };
    let small = h.submission_to(placed.batch, Append::Retry, vec![small]);
    let small = h.place(small).await;
    assert!(h.take(3).await.is_empty());
    h.must(&first[0], Event::Failed(failure("no"))).await;
    assert_eq!(h.take_ids(3).await, [small.ids[0], placed.ids[1]]);
}

pub(super) async fn a_batch_short_of_budget_has_one_turn_at_each_priority_again(h: Harness) {
    let mut specs = costing(&h, 22);
    specs[..2]
        .iter_mut()
        .for_each(|it| it.priority = Priority::High);
    for spec in &mut specs[2..] {
        (spec.priority, spec.max_cost_micros) = (Priority::Low, 1);
    }
    let short = h.place(with_budget(&h, specs, MOST + 500)).await;
    let normal = h.submit(h.specs(5)).await;
    let taken = h.take(2).await;
    assert_eq!(ids(&taken), [short.ids[0], normal.ids[0]]);
    h.must(&taken[0], Event::Failed(failure("no"))).await;
    let low = h.specs(20).into_iter().map(|spec| Spec {
        priority: Priority::Low,
        ..spec
    });
    let low = h.submit(low.collect()).await;
    raise(&h, &short, 100 * MOST).await;
    let urgent = [&short.ids[1..2], &normal.ids[1..]].concat();
    assert_eq!(h.take_ids(5).await, urgent);
    let turns = [short.ids[2], low.ids[0], short.ids[3], low.ids[1]];
    assert_eq!(h.take_ids(4).await, turns);
}

pub(super) async fn a_task_that_cannot_be_paid_for_can_be_cancelled_and_others_go_on(h: Harness) {
    let mut specs = costing(&h, 3);
    specs[1].max_cost_micros *= 2;
    let placed = h.place(with_budget(&h, specs, 2 * MOST)).await;
    let first = h.take(3).await;
    assert_eq!(ids(&first), placed.ids[..1]);
    let dear = h.task(placed.ids[1]).await;
    h.must(&dear, Event::CancelRequested).await;
    h.must(&first[0], answered(MOST)).await;
    assert_eq!(h.take_ids(3).await, placed.ids[2..]);
}

pub(super) async fn workers_that_acquire_at_once_never_pass_a_budget(h: Harness) {
    let placed = place(&h, 200, 20 * MOST).await;
    let working = (0..8_u64).map(|worker| {
        let (store, batch) = (h.store.clone(), placed.batch);
        tokio::spawn(async move {
            let worker = tidings::model::WorkerId(100 + worker);
            let mut idle = 0;
            while idle < 20 {
                let taken = store.acquire(worker, 7, LONG).await.unwrap().tasks;
                idle = if taken.is_empty() { idle + 1 } else { 0 };
                for task in taken {
                    let funds = store.batch(batch).await.unwrap().unwrap().funds.unwrap();
                    assert!(funds.committed() <= funds.budget, "{funds:?}");
                    let mut after = task.clone();
                    after.apply(answered(MOST / 4), store.now()).unwrap();
                    let commit = tidings::store::Commit {
                        fence: task.fence(),
                        from: task.status(),
                        guard: tidings::store::Guard::None,
                        park: None,
                        task: after,
                    };
                    store.commit(vec![commit]).await.unwrap();
                }
            }
        })
    });
    for worker in working.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    let batch = h.batch(placed.batch).await;
    let funds = batch.funds.unwrap();
    // Less than the most that one more may cost is left.
    assert_eq!((funds.spent, funds.reserved), (77 * MOST / 4, 0));
    assert_eq!(batch.counts.completed, 77);
    assert_eq!(batch.parked.unwrap().reason, ParkReason::Budget);
}

pub(super) async fn a_reopened_store_knows_what_is_spent_and_reserved(h: Harness) {
    let placed = place(&h, 5, 3 * MOST).await;
    let taken = h.take(5).await;
    h.must(&taken[0], answered(7)).await;
    mark(&h, &taken[1]).await;
    let before = funds(&h, placed.batch).await;
    let h = h.reopen().await;
    let mut after = funds(&h, placed.batch).await;
    if after.reserved == 0 {
        // Nobody can hold a task of this store across a start: those that were held have lost their workers.
        assert_eq!((after.spent, after.short), (MOST + 7, None));
        assert_eq!(h.take(5).await.len(), 1);
        after = funds(&h, placed.batch).await;
        assert_eq!(after.reserved, MOST);
    } else {
        assert_eq!(after, before);
        for task in &taken[1..] {
            h.must(task, Event::CancelRequested).await;
        }
        assert_eq!(money(&h, &placed).await, (MOST + 7, 0));
        assert_eq!(h.take(5).await.len(), 1);
    }
    assert!(after.committed() <= after.budget);
}

pub(super) async fn a_task_that_waits_aside_reserves_nothing_until_its_call_goes_out(h: Harness) {
    let placed = place(&h, 6, 2 * MOST).await;
    let taken = h.take(6).await;
    assert_eq!(ids(&taken), placed.ids[..2]);
    // Once, however often it is said.
    for _ in 0..2 {
        assert!(renew(&h, &taken[0], false, LONG).await);
        assert_eq!(money(&h, &placed).await, (0, MOST));
    }
    let third = h.take(6).await;
    assert_eq!(ids(&third), placed.ids[2..3]);
    let (aside, others) = (&taken[0], [&taken[1], &third[0]]);
    assert!(!renew(&h, aside, true, LONG).await, "others have its money");
    assert!(!h.task(aside.id).await.sent);
    h.must(others[0], answered(MOST / 4)).await;
    assert_eq!(h.take(6).await.len(), 0);
    h.must(others[1], answered(MOST / 4)).await;
    let fourth = h.take(1).await.remove(0);
    h.must(&fourth, Event::CancelRequested).await;
    for _ in 0..2 {
        assert!(renew(&h, aside, true, LONG).await);
        assert_eq!(money(&h, &placed).await, (MOST / 2, MOST));
    }
    // What is sent cannot be put aside any more.
    assert!(renew(&h, aside, false, LONG).await);
    assert_eq!(money(&h, &placed).await, (MOST / 2, MOST));
    h.must(aside, answered(1)).await;
    assert_eq!(money(&h, &placed).await, (MOST / 2 + 1, 0));
}

pub(super) async fn a_task_that_ends_aside_leaves_the_reservations_of_others_alone(h: Harness) {
    let placed = place(&h, 4, 4 * MOST).await;
    let taken = h.take(4).await;
    for task in &taken[..3] {
        assert!(renew(&h, task, false, LONG).await);
    }
    assert_eq!(money(&h, &placed).await, (0, MOST));
    let cached = Outcome {
        cached: Some(Cached::Coalesced),
        ..Outcome::default()
    };
    h.must(&taken[0], Event::Succeeded(Box::new(cached))).await;
    h.must(&taken[1], Event::Released).await;
    h.must(&taken[2], Event::LeaseExpired(failure("lost")))
        .await;
    assert_eq!(money(&h, &placed).await, (0, MOST));
    // The next attempt reserves anew.
    assert_eq!(h.take(4).await.len(), 2);
    assert_eq!(money(&h, &placed).await, (0, 3 * MOST));
}
