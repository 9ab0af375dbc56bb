//! `tidings resume`: lets a parked batch go on.

use super::{Ending, connection::Session, error::Error, json, output::Output, text};
use crate::proto::v1;

/// Arguments of `tidings resume`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The parked batch
    #[arg(value_name = "BATCH")]
    batch: String,
}

pub(super) async fn run(
    args: Args,
    mut session: Session,
    output: &Output,
) -> Result<Ending, Error> {
    let request = v1::ResumeBatchRequest {
        batch_id: args.batch,
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
