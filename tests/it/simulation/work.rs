//! What the tasks do: hold a worker for a while, fail as often as they are told to, and say who answered.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use tidings::{
    model::{TaskId, WorkerId},
    proto::v1::FunctionCall,
    worker::{
        Function,
        function::{Context, Error},
    },
};
use tokio::time::{Duration, sleep};

use super::{ledger::short, link::Link, plan::Job};

/// The function's name.
const NAME: &str = "sim.work";
/// Progress is reported in this many steps.
const STEPS: u32 = 4;

/// The function, in the process of one replica.
#[derive(Debug)]
pub(super) struct Work(pub(super) Arc<Link>);

/// The call that does this job.
pub(super) fn call(job: &Job) -> FunctionCall {
    let arguments = json!({ "hold": job.hold, "failures": job.failures });
    FunctionCall {
        name: NAME.into(),
        arguments: arguments.to_string(),
    }
}

/// The answer of one attempt: no other attempt gives the same.
pub(super) fn answer(task: TaskId, attempt: u32, worker: WorkerId) -> String {
    json!(format!("{task} {attempt} {worker}")).to_string()
}

#[async_trait]
impl Function for Work {
    fn name(&self) -> &str {
        NAME
    }

    async fn call(&self, context: Context, arguments: &str) -> Result<String, Error> {
        let Context {
            task,
            worker,
            progress,
        } = context;
        let (link, attempt) = (&self.0, task.attempt());
        link.running().await;
        link.ledger.book(|book| {
            book.starts
                .entry(task.id)
                .or_default()
                .push((attempt, worker));
        });
        link.ledger
            .trace(|| format!("r{} runs {}#{attempt}", link.number, short(&task.id)));
        let wanted: Value = serde_json::from_str(arguments).expect("the arguments are ours");
        let number = |name: &str| wanted[name].as_u64().expect("the arguments are ours");
        for step in 1..=STEPS {
            sleep(Duration::from_millis(number("hold")) / STEPS).await;
            // In a process that stands still nothing gets done.
            link.running().await;
            progress.report(u8::try_from(step * 100 / STEPS).expect("at most 100"));
        }
        if u64::from(task.charges.failures) < number("failures") {
            link.ledger
                .book(|book| book.failed.insert((task.id, attempt)));
            return Err(Error::Transient("told to fail".into()));
        }
        Ok(answer(task.id, attempt, worker))
    }
}
