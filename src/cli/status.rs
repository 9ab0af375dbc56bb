//! `tidings status`: tasks as they now are.

use serde_json::json;

use super::{Ending, connection::Session, error::Error, json, output::Output, text};
use crate::proto::v1;

/// Arguments of `tidings status`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Tasks, up to 1,000
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Leave results out
    #[arg(long)]
    no_results: bool,
}

pub(super) async fn run(
    args: Args,
    mut session: Session,
    output: &Output,
) -> Result<Ending, Error> {
    let request = v1::GetStatusRequest {
        task_ids: args.ids,
        omit_results: args.no_results,
    };
    let outcome = session.client.get_status(request).await;
    let reply = session.check("read the status", outcome)?;
    for task in &reply.tasks {
        output.either(|| text::detail(task), || json::task(task))?;
    }
    let missing = missing(&reply);
    for (id, kind, message) in &missing {
        output.either(
            || format!("{id}  {message}"),
            || json!({"id": id, *kind: message}),
        )?;
    }
    Ok(ending(&reply.tasks, missing.is_empty()))
}

/// Ids without a task: id, kind and what to tell of it.
fn missing(reply: &v1::GetStatusResponse) -> Vec<(&str, &'static str, &str)> {
    let unknown = reply.not_found.iter();
    let expired = reply.expired.iter();
    let faults = reply.faults.iter();
    unknown
        .map(|id| (id.as_str(), "not_found", "not found"))
        .chain(expired.map(|id| (id.as_str(), "expired", "past its retention")))
        .chain(faults.map(|fault| (fault.task_id.as_str(), "fault", fault.message.as_str())))
        .collect()
}

fn ending(tasks: &[v1::Task], all_found: bool) -> Ending {
    let failed = |task: &v1::Task| {
        matches!(
            task.status(),
            v1::TaskStatus::Error | v1::TaskStatus::Cancelled
        )
    };
    match all_found {
        false => Ending::NotFound,
        true if tasks.iter().any(failed) => Ending::TaskFailed,
        true => Ending::Done,
    }
}
