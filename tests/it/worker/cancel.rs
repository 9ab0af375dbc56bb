//! Tasks that are cancelled while they run, and workers that are not told.

use std::time::Duration;

use tidings::{
    model::{Event, Status, Task, Work},
    store::{Commit, Guard, Store as _, Verdict},
};
use tokio::time::sleep;

use super::World;
use crate::support::gate::Gate;

/// Far less than a third of a lease.
const SOON: Duration = Duration::from_secs(2);
/// More hints than a listener may be behind.
const FLOOD: usize = 10_000;

fn gated() -> Work {
    Work::Function {
        name: "test.gate".into(),
        arguments: "null".into(),
    }
}

/// A task that runs until it is told to stop.
async fn running(world: &World) -> (Task, Gate) {
    let gate = Gate::new();
    let id = world.submit(gated()).await;
    world.start(gate.functions());
    sleep(SOON).await;
    assert_eq!(gate.inside(), 1);
    (world.task(id).await, gate)
}

/// Cancels it so that nobody hears of it.
async fn cancel(world: &World, mut task: Task) {
    world.store.repeat_hints(0);
    let fence = task.fence();
    task.apply(Event::CancelRequested, world.store.now())
        .unwrap();
    let commit = Commit {
        task,
        fence,
        from: Status::Processing,
        guard: Guard::None,
        park: None,
    };
    let verdicts = world.store.commit(vec![commit]).await.unwrap();
    assert_eq!(verdicts, [Verdict::Applied]);
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_lost_in_a_gap_stops_the_task_once_the_gap_is_told() {
    let world = World::new();
    let (task, gate) = running(&world).await;
    cancel(&world, task).await;
    sleep(SOON).await;
    assert_eq!(gate.inside(), 1, "nobody said anything");

    world.store.tell_gap();
    sleep(SOON).await;

    assert_eq!(gate.inside(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_lost_in_a_flood_stops_the_task() {
    let world = World::new();
    let (task, gate) = running(&world).await;
    cancel(&world, task).await;

    world.store.repeat_hints(FLOOD);
    world.submit(gated()).await;
    world.store.repeat_hints(1);
    sleep(SOON).await;

    assert_eq!(gate.inside(), 1, "the other one runs alone");
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_gaps_renews_no_more_than_once_a_second() {
    let world = World::new();
    let (_task, _gate) = running(&world).await;
    let before = world.store.renewals();
    for _ in 0..100 {
        world.store.tell_gap();
        sleep(Duration::from_millis(100)).await;
    }
    let renewals = world.store.renewals() - before;
    assert!((2..=11).contains(&renewals), "{renewals} in ten seconds");
}
