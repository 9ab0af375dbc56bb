//! `tidings resume`: lets a parked batch go on.

use super::{Ending, connection::Session, error::Error, json, output::Output, text};
use crate::proto::v1;

/// Arguments of `tidings resume`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The parked batch
    #[arg(value_name = "BATCH")]
    batch: String,
    /// What the batch may spend from now on, all that it has spent included, in the currency of the server's prices
    #[arg(long, value_name = "AMOUNT", value_parser = super::text::nanos)]
    budget: Option<u64>,
}

pub(super) async fn run(
    args: Args,
    mut session: Session,
    output: &Output,
) -> Result<Ending, Error> {
    let request = v1::ResumeBatchRequest {
        batch_id: args.batch,
        budget_nanos: args.budget,
    };
    let outcome = session.client.resume_batch(request).await;
    let reply = session.check("resume the batch", outcome)?;
    let batch = reply.batch.unwrap_or_default();
    output.either(
        || {
            let progress = batch.progress.clone().unwrap_or_default();
            format!("{}  {}", batch.id, text::summary(&progress))
        },
        || json::batch(&batch),
    )?;
    Ok(Ending::Done)
}
