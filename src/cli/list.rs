//! `tidings list`: tasks by status, batch and labels, newest batch first.

use clap::ValueEnum;

use super::{Ending, connection::Session, error::Error, output::Output, submit::label, text};
use crate::proto::v1;

/// The largest page that the server gives.
const PAGE: usize = 1_000;

/// Arguments of `tidings list`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only tasks in this status; may be given more than once
    #[arg(long, value_enum, value_name = "STATUS")]
    status: Vec<StatusWord>,
    /// Only tasks of this batch
    #[arg(long, value_name = "ID")]
    batch: Option<String>,
    /// Only tasks with this label; may be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Most tasks to show; 0 for all
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
    /// Show results too
    #[arg(long)]
    results: bool,
}

/// A status as it is written on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum StatusWord {
    Queued,
    Processing,
    Completed,
    Error,
    Cancelled,
}

impl From<StatusWord> for v1::TaskStatus {
    fn from(word: StatusWord) -> Self {
        match word {
            StatusWord::Queued => v1::TaskStatus::Queued,
            StatusWord::Processing => v1::TaskStatus::Processing,
            StatusWord::Completed => v1::TaskStatus::Completed,
            StatusWord::Error => v1::TaskStatus::Error,
            StatusWord::Cancelled => v1::TaskStatus::Cancelled,
        }
    }
}

pub(super) async fn run(
    args: Args,
    mut session: Session,
    output: &Output,
) -> Result<Ending, Error> {
    let mut left = match args.limit {
        0 => usize::MAX,
        limit => limit,
    };
    let statuses = args.status.into_iter().map(v1::TaskStatus::from);
    let mut request = v1::ListTasksRequest {
        statuses: statuses.map(i32::from).collect(),
        batch_id: args.batch.unwrap_or_default(),
        labels: args.label.into_iter().collect(),
        include_results: args.results,
        ..v1::ListTasksRequest::default()
    };
    loop {
        request.page_size = u32::try_from(left.min(PAGE)).unwrap_or(u32::MAX);
        let outcome = session.client.list_tasks(request.clone()).await;
        let reply = session.check("list tasks", outcome)?;
        for task in reply.tasks.iter().take(left) {
            output.task(task)?;
            if let Some(result) = task.result.as_ref().filter(|_| !output.is_json()) {
                output.line(&text::printable(&result.text))?;
            }
        }
        left = left.saturating_sub(reply.tasks.len());
        if reply.next_page_token.is_empty() {
            return Ok(Ending::Done);
        }
        if left == 0 {
            output.note("there are more; show them with a higher --limit, or 0 for all");
            return Ok(Ending::Done);
        }
        request.page_token = reply.next_page_token;
    }
}
