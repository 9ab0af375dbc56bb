//! Functions that are taken up together, and are nothing to each other.

use std::{
    sync::{Condvar, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use tidings::{
    model::{ErrorCode, Status, Work},
    worker::{
        Function, Registry,
        function::{Context, Error},
    },
};
use tokio::time::sleep;

use super::World;
use crate::support::server::soon;

/// Says that it is brief, and waits for a minute.
struct Wait;

#[async_trait]
impl Function for Wait {
    fn name(&self) -> &str {
        "test.wait"
    }

    fn is_brief(&self) -> bool {
        true
    }

    async fn call(&self, _: Context, _: &str) -> Result<String, Error> {
        sleep(Duration::from_secs(60)).await;
        Ok("null".into())
    }
}

/// Panics at once.
struct Panic;

#[async_trait]
impl Function for Panic {
    fn name(&self) -> &str {
        "test.panic"
    }

    fn is_brief(&self) -> bool {
        true
    }

    async fn call(&self, _: Context, _: &str) -> Result<String, Error> {
        panic!("as it was told to");
    }
}

/// Blocks its thread until the test lets it go on, as no function should.
struct Block;

/// How many block, and whether they may go on.
static BLOCKED: (Mutex<(usize, bool)>, Condvar) = (Mutex::new((0, false)), Condvar::new());

#[async_trait]
impl Function for Block {
    fn name(&self) -> &str {
        "test.block"
    }

    async fn call(&self, _: Context, _: &str) -> Result<String, Error> {
        let (state, changed) = &BLOCKED;
        state.lock().unwrap().0 += 1;
        let state = state.lock().unwrap();
        drop(changed.wait_while(state, |state| !state.1).unwrap());
        Ok("null".into())
    }
}

/// Lets it go on however the test ends: the runtime waits for its threads.
struct Release;

impl Drop for Release {
    fn drop(&mut self) {
        BLOCKED.0.lock().unwrap().1 = true;
        BLOCKED.1.notify_all();
    }
}

fn function(name: &str, arguments: &str) -> Work {
    Work::Function {
        name: name.into(),
        arguments: arguments.into(),
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_and_one_that_panics_leave_the_others_alone() {
    let world = World::new();
    let slow = world.submit(function("test.wait", "null")).await;
    let broken = world.submit(function("test.panic", "null")).await;
    let quick = [
        world.submit(function("debug.echo", "1")).await,
        world.submit(function("debug.echo", "2")).await,
    ];
    world.start(Registry::default().with(Wait).with(Panic));

    sleep(Duration::from_secs(10)).await;
    assert_eq!(world.task(slow).await.status(), Status::Processing);
    let broken = world.task(broken).await;
    assert_eq!(broken.error().unwrap().code, ErrorCode::FunctionFailed);
    for id in quick {
        assert_eq!(world.task(id).await.status(), Status::Completed);
    }
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.task(slow).await.status(), Status::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_blocks_its_thread_holds_up_no_other() {
    let _release = Release;
    let world = World::new();
    let mut quick = Vec::new();
    for number in 0..3 {
        if number == 1 {
            world.submit(function("test.block", "null")).await;
        }
        quick.push(world.submit(function("debug.echo", "1")).await);
    }
    world.start(Registry::default().with(Block));

    soon("it blocks", async || BLOCKED.0.lock().unwrap().0 == 1).await;
    for id in quick {
        soon("the others are done", async || {
            world.task(id).await.status() == Status::Completed
        })
        .await;
    }
}
