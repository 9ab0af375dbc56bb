//! Built-in functions for trying things out.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Context, Error, Function};

/// `debug.echo`: answers with its arguments and what it knows of its own task.
pub(super) struct Echo;

#[derive(Serialize)]
struct EchoAnswer<'a> {
    arguments: &'a RawValue,
    task: EchoTask<'a>,
}

#[derive(Serialize)]
struct EchoTask<'a> {
    id: String,
    batch_id: String,
    custom_id: &'a str,
    attempt: u32,
    worker: String,
}

#[async_trait]
impl Function for Echo {
    fn name(&self) -> &str {
        "debug.echo"
    }

    fn is_brief(&self) -> bool {
        true
    }

    async fn call(&self, context: Context, arguments: &str) -> Result<String, Error> {
        let task = &context.task;
        let answer = EchoAnswer {
            arguments: serde_json::from_str(arguments).map_err(not_json)?,
            task: EchoTask {
                id: task.id.to_string(),
                batch_id: task.batch_id.to_string(),
                custom_id: &task.spec.custom_id,
                attempt: task.attempt(),
                worker: context.worker.to_string(),
            },
        };
        serde_json::to_string(&answer).map_err(not_json)
    }
}

/// `debug.sleep`: waits for `{"seconds": n}`, reporting progress, and answers with the same.
pub(super) struct Sleep;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct SleepArguments {
    seconds: f64,
}

/// Progress is reported in this many steps.
const SLEEP_STEPS: u8 = 10;

#[async_trait]
impl Function for Sleep {
    fn name(&self) -> &str {
        "debug.sleep"
    }

    async fn call(&self, context: Context, arguments: &str) -> Result<String, Error> {
        let wanted: SleepArguments = serde_json::from_str(arguments).map_err(|_| {
            Error::Permanent("debug.sleep takes {\"seconds\": number} and nothing else".into())
        })?;
        let total = Duration::try_from_secs_f64(wanted.seconds)
            .map_err(|_| Error::Permanent("debug.sleep: seconds must not be negative".into()))?;
        for step in 1..=SLEEP_STEPS {
            tokio::time::sleep(total / u32::from(SLEEP_STEPS)).await;
            context.progress.report(step * (100 / SLEEP_STEPS));
        }
        serde_json::to_string(&wanted).map_err(not_json)
    }
}

fn not_json(_: serde_json::Error) -> Error {
    Error::Permanent("the arguments are not JSON".into())
}
