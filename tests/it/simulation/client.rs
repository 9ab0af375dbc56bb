//! Those who submit, cancel and ask. They do what a good client does: try again, with the same key, somewhere else.

use std::{sync::Arc, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tidings::{
    clock::Timestamp,
    model::{Status, TaskId},
    proto::v1::{
        CancelResult, CancelTasksRequest, GetStatusRequest, Priority, SubmitBatchRequest, Task,
        TaskOptions, TaskSpec, task_service_server::TaskService as _, task_spec,
    },
};
use tokio::time::sleep;
use tonic::{Code, Request};

use super::{
    clock::START,
    ledger::{Accepted, Cancelled, short},
    plan::{Job, Order},
    watcher, work,
    world::World,
};

/// Brings an order to its end: submits it, has it watched, and cancels what is to be cancelled.
pub(super) async fn run(world: Arc<World>, order: Order) {
    let mut dice = StdRng::seed_from_u64(order.seed);
    world.until(order.at).await;
    let Some(accepted) = submit(&world, &order, &mut dice).await else {
        return;
    };
    for _ in 0..2 {
        let watched = watcher::batch(world.clone(), accepted.clone(), dice.random());
        world.clients.spawn(watched);
    }
    for (task, _) in &accepted.tasks {
        let watched = watcher::task(world.clone(), *task, accepted.clone(), dice.random());
        world.clients.spawn(watched);
    }
    let asking = ask(world.clone(), accepted.clone(), dice.random());
    world.clients.spawn(asking);
    if let Some((after, places)) = &order.cancel {
        sleep(Duration::from_millis(*after)).await;
        let tasks = places.iter().map(|place| accepted.tasks[*place].0);
        cancel(&world, &accepted, tasks.collect(), &mut dice).await;
    }
}

/// Submits until it is accepted, or until a deadline in it has passed.
async fn submit(world: &World, order: &Order, dice: &mut StdRng) -> Option<Accepted> {
    let key = format!("order {}", order.seed);
    let begun = world.ledger.now();
    let tasks = order.tasks.iter().map(|job| spec(job, begun));
    let request = SubmitBatchRequest {
        tasks: tasks.collect(),
        idempotency_key: key,
        ..SubmitBatchRequest::default()
    };
    loop {
        let replica = world.any(dice).await;
        let asked = world.ledger.now();
        let call = replica.service.submit_batch(Request::new(request.clone()));
        match replica.ask(call).await {
            Some(Ok(reply)) => {
                let reply = reply.into_inner();
                let ids = reply.task_ids.iter().map(|id| id.parse().unwrap());
                let accepted = Accepted {
                    batch: reply.batch_id.parse().unwrap(),
                    tasks: ids.zip(order.tasks.iter().cloned()).collect(),
                    asked,
                    answered: world.ledger.now(),
                };
                let batch = short(&accepted.batch);
                world.ledger.trace(|| format!("batch {batch} is accepted"));
                world
                    .ledger
                    .book(|book| book.accepted.push(accepted.clone()));
                return Some(accepted);
            }
            Some(Err(status)) if status.code() == Code::InvalidArgument => {
                let is_late = |job: &Job| {
                    let deadline = job.deadline.map(|after| begun + after);
                    deadline.is_some_and(|deadline| deadline <= world.ledger.now())
                };
                if !order.tasks.iter().any(is_late) {
                    world.ledger.fault(format!("submit fails: {status}"));
                }
                return None;
            }
            Some(Err(status)) => check_passing(world, "submit", &status),
            None => {}
        }
        pause(dice).await;
    }
}

fn spec(job: &Job, now: u64) -> TaskSpec {
    let at = |millis: u64| {
        let Timestamp(at) = START + Duration::from_millis(now + millis);
        prost_types::Timestamp {
            seconds: at / 1_000,
            nanos: i32::try_from(at % 1_000).unwrap() * 1_000_000,
        }
    };
    let priority = match job.is_urgent {
        true => Priority::High,
        false => Priority::Normal,
    };
    let options = TaskOptions {
        priority: priority as i32,
        deadline: job.deadline.map(at),
        not_before: job.not_before.map(at),
        max_attempts: job.max_attempts,
        ..TaskOptions::default()
    };
    TaskSpec {
        work: Some(task_spec::Work::FunctionCall(work::call(job))),
        options: Some(options),
        ..TaskSpec::default()
    }
}

/// Cancels until an answer comes, and remembers it: it is binding.
async fn cancel(world: &World, accepted: &Accepted, tasks: Vec<TaskId>, dice: &mut StdRng) {
    let all: Vec<TaskId> = accepted.tasks.iter().map(|(id, _)| *id).collect();
    let meant = if tasks.is_empty() { &all } else { &tasks };
    world
        .ledger
        .book(|book| book.cancel_asked.extend(meant.iter().copied()));
    let request = match tasks.is_empty() {
        true => CancelTasksRequest {
            batch_id: accepted.batch.to_string(),
            ..CancelTasksRequest::default()
        },
        false => CancelTasksRequest {
            task_ids: tasks.iter().map(ToString::to_string).collect(),
            ..CancelTasksRequest::default()
        },
    };
    loop {
        let replica = world.any(dice).await;
        let asked = world.ledger.now();
        let call = replica.service.cancel_tasks(Request::new(request.clone()));
        match replica.ask(call).await {
            Some(Ok(reply)) => {
                for outcome in reply.into_inner().outcomes {
                    let id: TaskId = outcome.task_id.parse().unwrap();
                    let result = CancelResult::try_from(outcome.result).unwrap();
                    let status = match result {
                        CancelResult::NotFound | CancelResult::Unspecified => {
                            check_lost(world, "cancel", accepted);
                            continue;
                        }
                        CancelResult::Cancelled => Status::Cancelled,
                        CancelResult::AlreadyTerminal => status_of(outcome.status),
                    };
                    world
                        .ledger
                        .trace(|| format!("cancel of {}: {result:?}", short(&id)));
                    let told = Cancelled { status, asked };
                    world
                        .ledger
                        .book(|book| book.cancels.entry(id).or_default().push(told));
                }
                return check_ended(world, accepted, meant, asked, dice).await;
            }
            Some(Err(status)) if status.code() == Code::NotFound => {
                return check_lost(world, "cancel", accepted);
            }
            Some(Err(status)) => check_passing(world, "cancel", &status),
            None => {}
        }
        pause(dice).await;
    }
}

/// What was cancelled has ended by the time the answer comes.
async fn check_ended(
    world: &World,
    accepted: &Accepted,
    meant: &[TaskId],
    asked: u64,
    dice: &mut StdRng,
) {
    for task in status(world, accepted, meant, dice).await {
        let is_lost = world
            .ledger
            .book(|book| book.may_be_lost(asked, world.ledger.now()));
        if !status_of(task.status).is_terminal() && !is_lost {
            let id = short(&task.id);
            world
                .ledger
                .fault(format!("task {id} goes on after its cancel was answered"));
        }
    }
}

/// Asks now and then how the tasks stand, until all have ended.
async fn ask(world: Arc<World>, accepted: Accepted, seed: u64) {
    let mut dice = StdRng::seed_from_u64(seed);
    let all: Vec<TaskId> = accepted.tasks.iter().map(|(id, _)| *id).collect();
    loop {
        sleep(Duration::from_millis(dice.random_range(100..4_000))).await;
        let tasks = status(&world, &accepted, &all, &mut dice).await;
        let has_ended = |task: &Task| status_of(task.status).is_terminal();
        if tasks.iter().all(has_ended) {
            return;
        }
    }
}

/// How tasks stand. None are named when they were lost with their batch.
async fn status(
    world: &World,
    accepted: &Accepted,
    ids: &[TaskId],
    dice: &mut StdRng,
) -> Vec<Task> {
    let request = GetStatusRequest {
        task_ids: ids.iter().map(ToString::to_string).collect(),
        ..GetStatusRequest::default()
    };
    loop {
        let replica = world.any(dice).await;
        let call = replica.service.get_status(Request::new(request.clone()));
        match replica.ask(call).await {
            Some(Ok(reply)) => {
                let tasks = reply.into_inner().tasks;
                for task in &tasks {
                    told(world, "a reader", task);
                }
                if tasks.len() < ids.len() {
                    check_lost(world, "status", accepted);
                }
                return tasks;
            }
            Some(Err(status)) => check_passing(world, "status", &status),
            None => {}
        }
        pause(dice).await;
    }
}

/// Whatever anybody is told has to agree with what everybody else is told.
pub(super) fn told(world: &World, who: &str, task: &Task) {
    let at = (task.store_epoch, task.revision);
    let what = (status_of(task.status), task.attempt);
    world.ledger.told(who, task.id.parse().unwrap(), at, what);
}

/// Nothing that was accepted may be missing, unless a failover lost it.
pub(super) fn check_lost(world: &World, who: &str, accepted: &Accepted) {
    let is_lost = world
        .ledger
        .book(|book| book.may_be_lost(accepted.asked, accepted.answered));
    if !is_lost {
        let batch = short(&accepted.batch);
        world.ledger.fault(format!(
            "{who} does not find batch {batch}, which was accepted"
        ));
    }
}

/// A call may only fail in a way that says: try again.
pub(super) fn check_passing(world: &World, what: &str, status: &tonic::Status) {
    let passes = matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
    world
        .ledger
        .trace(|| format!("{what} fails: {}", status.message()));
    if !passes {
        world.ledger.fault(format!("{what} fails: {status}"));
    }
}

/// Before a call is tried again.
pub(super) async fn pause(dice: &mut StdRng) {
    sleep(Duration::from_millis(dice.random_range(50..500))).await;
}

/// The status with the wire's number.
pub(super) fn status_of(number: i32) -> Status {
    let mut all = Status::ALL.into_iter();
    all.find(|status| *status as i32 == number).unwrap()
}
