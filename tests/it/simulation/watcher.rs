//! Those who watch, across lost connections and replicas, and write down what they are told.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tidings::{
    model::TaskId,
    proto::v1::{
        Task, WatchBatchRequest, WatchTaskRequest, task_service_server::TaskService as _,
        watch_batch_response, watch_task_response,
    },
};
use tokio::time::sleep;
use tonic::{Code, Request};

use super::{
    client::{check_lost, check_passing, pause, status_of, told},
    ledger::{Accepted, short},
    replica::Replica,
    world::World,
};
use crate::support::history::{self, Law, Seen};

/// What a watcher of an open stream is told comes this soon, in milliseconds, even if every hint is lost.
const PROMPT: u64 = 2_000;
/// The limits of single tasks are looked at in the end.
const LAW: Law = Law {
    max_attempts: u32::MAX,
    is_complete: false,
};

/// What one watcher has been told since the store last lost writes.
#[derive(Default)]
struct Memory {
    history: Vec<Seen<TaskId>>,
    epoch: u64,
}

impl Memory {
    /// Takes note of a transition, and of how late it came.
    fn hear(&mut self, world: &World, replica: &Replica, opened: u64, task: &Task) {
        let id: TaskId = task.id.parse().unwrap();
        told(world, "a watcher", task);
        self.epoch = task.store_epoch;
        self.history.push(Seen {
            task: id,
            revision: task.revision,
            status: status_of(task.status),
            attempt: task.attempt,
        });
        let now = world.ledger.now();
        let (written, unrest) = world.ledger.book(|book| {
            let written = book.written.get(&(id, task.revision)).copied();
            // After a failover all is told anew.
            let is_new = |at: &u64| book.lost.iter().all(|(_, restored)| at > restored);
            let written = written.filter(is_new);
            (written, book.line(replica.link.number).unrest)
        });
        if let Some(written) = written.filter(|at| *at > opened && *at > unrest)
            && now > written + PROMPT
        {
            world.ledger.fault(format!(
                "r{} told of {}@{}, written at {written} ms",
                replica.link.number,
                short(&id),
                task.revision
            ));
        }
    }

    fn check(&self, world: &World, is_complete: bool) {
        let law = Law { is_complete, ..LAW };
        if let Err(fault) = history::check(&self.history, law) {
            world.ledger.fault(format!("a watcher was told: {fault}"));
        }
    }

    /// The store lost writes: what was told before had to be lawful by itself.
    fn reset(&mut self, world: &World, epoch: u64) {
        self.check(world, false);
        if epoch <= self.epoch {
            let fault = format!("a watch was reset at epoch {epoch} after {}", self.epoch);
            world.ledger.fault(fault);
        }
        self.history.clear();
    }
}

/// How a stream came to its end.
enum End {
    /// All is told.
    Told,
    /// It broke; to be resumed.
    Broken,
    /// There is nothing to resume.
    Gone,
}

/// Follows one task to its end.
pub(super) async fn task(world: Arc<World>, id: TaskId, accepted: Accepted, seed: u64) {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut memory = Memory::default();
    loop {
        match follow_task(&world, id, &accepted, &mut memory, &mut dice).await {
            End::Told => return memory.check(&world, true),
            End::Gone => return memory.check(&world, false),
            End::Broken => pause(&mut dice).await,
        }
    }
}

async fn follow_task(
    world: &World,
    id: TaskId,
    accepted: &Accepted,
    memory: &mut Memory,
    dice: &mut StdRng,
) -> End {
    let replica = world.any(dice).await;
    let request = WatchTaskRequest {
        task_id: id.to_string(),
        after_revision: memory.history.last().map_or(0, |last| last.revision),
        store_epoch: memory.epoch,
        ..WatchTaskRequest::default()
    };
    let call = replica.service.watch_task(Request::new(request));
    let mut events = match replica.ask(call).await {
        None => return End::Broken,
        Some(Err(status)) => return failed(world, "a task's watch", accepted, &status),
        Some(Ok(reply)) => reply.into_inner(),
    };
    let opened = world.ledger.now();
    let mut leave = std::pin::pin!(sleep(patience(dice)));
    loop {
        let event = tokio::select! {
            biased;
            () = replica.link.gone() => return End::Broken,
            event = events.next() => event,
            () = &mut leave => return End::Broken,
        };
        match event {
            Some(Ok(told)) => {
                let told = told.decode().expect("a message");
                if let Some(watch_task_response::Event::Task(task)) = told.event {
                    if told.reset {
                        memory.reset(world, task.store_epoch);
                    }
                    memory.hear(world, &replica, opened, &task);
                }
            }
            Some(Err(status)) => return failed(world, "a task's watch", accepted, &status),
            None => return End::Told,
        }
    }
}

/// Follows a batch to its end.
pub(super) async fn batch(world: Arc<World>, accepted: Accepted, seed: u64) {
    let mut dice = StdRng::seed_from_u64(seed);
    let (mut memory, mut token) = (Memory::default(), String::new());
    loop {
        let end = follow_batch(&world, &accepted, &mut memory, &mut token, &mut dice).await;
        match end {
            End::Told => return memory.check(&world, true),
            End::Gone => return memory.check(&world, false),
            End::Broken => pause(&mut dice).await,
        }
    }
}

async fn follow_batch(
    world: &World,
    accepted: &Accepted,
    memory: &mut Memory,
    token: &mut String,
    dice: &mut StdRng,
) -> End {
    let replica = world.any(dice).await;
    let request = WatchBatchRequest {
        batch_id: accepted.batch.to_string(),
        resume_token: token.clone(),
        include_results: false,
    };
    let call = replica.service.watch_batch(Request::new(request));
    let mut events = match replica.ask(call).await {
        None => return End::Broken,
        Some(Err(status)) => return failed(world, "a batch's watch", accepted, &status),
        Some(Ok(reply)) => reply.into_inner(),
    };
    let opened = world.ledger.now();
    let mut leave = std::pin::pin!(sleep(patience(dice)));
    loop {
        let event = tokio::select! {
            biased;
            () = replica.link.gone() => return End::Broken,
            event = events.next() => event,
            () = &mut leave => return End::Broken,
        };
        match event {
            Some(Ok(told)) => {
                let told = told.decode().expect("a message");
                *token = told.resume_token;
                if told.reset {
                    // The log follows anew, under an epoch that its tasks tell.
                    memory.check(world, false);
                    memory.history.clear();
                }
                if let Some(watch_batch_response::Event::Task(task)) = told.event {
                    memory.hear(world, &replica, opened, &task);
                }
            }
            Some(Err(status)) => return failed(world, "a batch's watch", accepted, &status),
            None => return End::Told,
        }
    }
}

fn failed(world: &World, who: &str, accepted: &Accepted, status: &tonic::Status) -> End {
    if status.code() == Code::NotFound {
        check_lost(world, who, accepted);
        return End::Gone;
    }
    check_passing(world, who, status);
    End::Broken
}

/// Some leave and come back, some stay for as long as the stream does.
fn patience(dice: &mut StdRng) -> Duration {
    match dice.random_bool(0.5) {
        true => Duration::from_millis(dice.random_range(10..8_000)),
        false => Duration::from_secs(600),
    }
}
