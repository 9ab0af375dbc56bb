//! `tidings cancel`: queued tasks never start, running ones are dropped at once.

use serde_json::json;

use super::{Ending, connection::Session, error::Error, output::Output, text};
use crate::proto::v1::{self, CancelResult};

/// Arguments of `tidings cancel`.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Args {
    /// Tasks, up to 1,000
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All tasks of this batch
    #[arg(long, value_name = "ID")]
    batch: Option<String>,
}

pub(super) async fn run(
    args: Args,
    mut session: Session,
    output: &Output,
) -> Result<Ending, Error> {
    let request = v1::CancelTasksRequest {
        task_ids: args.ids,
        batch_id: args.batch.unwrap_or_default(),
    };
    let outcome = session.client.cancel_tasks(request).await;
    let reply = session.check("cancel", outcome)?;
    for outcome in &reply.outcomes {
        output.either(
            || format!("{}  {}", outcome.task_id, words(outcome)),
            || {
                json!({
                    "task_id": outcome.task_id,
                    "result": outcome.result().as_str_name(),
                    "status": outcome.status().as_str_name(),
                })
            },
        )?;
    }
    if !output.is_json() {
        output.note(&format!("{} cancelled", reply.cancelled_count));
    }
    let unknown = |outcome: &v1::CancelOutcome| outcome.result() == CancelResult::NotFound;
    Ok(if reply.outcomes.iter().any(unknown) {
        Ending::NotFound
    } else {
        Ending::Done
    })
}

fn words(outcome: &v1::CancelOutcome) -> String {
    let status = text::status(outcome.status());
    match outcome.result() {
        CancelResult::Cancelled => status,
        CancelResult::AlreadyTerminal => format!("{status}  had ended before"),
        CancelResult::NotFound => "not found".to_owned(),
        CancelResult::Unspecified => format!("{status}  unknown outcome"),
    }
}
