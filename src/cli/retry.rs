//! `tidings retry`: a new task for each failed one.

use serde_json::json;

use super::{
    Ending, connection::Session, error::Error, output::Output, submitter::fresh_key, text,
};
use crate::proto::v1::{self, RetryResult};

/// Arguments of `tidings retry`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// Makes it safe to run this command again for 24 h
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

/// Which tasks.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Failed or cancelled tasks, up to 1,000
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All failed tasks of this batch, up to 1,000
    #[arg(long, value_name = "ID")]
    batch: Option<String>,
}

pub(super) async fn run(
    args: Args,
    mut session: Session,
    output: &Output,
) -> Result<Ending, Error> {
    let request = v1::RetryTasksRequest {
        task_ids: args.which.ids,
        batch_id: args.which.batch.unwrap_or_default(),
        idempotency_key: args.idempotency_key.unwrap_or_else(fresh_key),
    };
    let outcome = session.client.retry_tasks(request).await;
    let reply = session.check("retry", outcome)?;
    for outcome in &reply.outcomes {
        output.either(
            || format!("{}  {}", outcome.task_id, words(outcome)),
            || {
                json!({
                    "task_id": outcome.task_id,
                    "result": outcome.result().as_str_name(),
                    "new_task_id": outcome.new_task_id,
                    "status": outcome.status().as_str_name(),
                })
            },
        )?;
    }
    if !output.is_json() {
        let submitted = |outcome: &&v1::RetryOutcome| outcome.result() == RetryResult::Submitted;
        let count = reply.outcomes.iter().filter(submitted).count();
        output.note(&format!("{count} submitted anew"));
    }
    let unknown = |outcome: &v1::RetryOutcome| outcome.result() == RetryResult::NotFound;
    Ok(if reply.outcomes.iter().any(unknown) {
        Ending::NotFound
    } else {
        Ending::Done
    })
}

fn words(outcome: &v1::RetryOutcome) -> String {
    match outcome.result() {
        RetryResult::Submitted => format!("repeated as {}", outcome.new_task_id),
        RetryResult::NotFailed => {
            format!("{}  has not failed", text::status(outcome.status()))
        }
        RetryResult::NotFound => "not found".to_owned(),
        RetryResult::Unspecified => "unknown outcome".to_owned(),
    }
}
