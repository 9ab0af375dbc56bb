//! Submits many prompts as one batch: one call a chunk, each safe to repeat by itself.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic_types::StatusExt as _;

use super::{
    connection::Session,
    error::{Error, message},
    output::Output,
    pause::{Pauses, may_repeat},
    prompt::{self, Prompt},
};
use crate::proto::v1;

/// How long one call is repeated while the server is away or full.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was accepted, over all calls.
#[derive(Debug, Default)]
pub(super) struct Submitted {
    /// The batch.
    pub(super) batch_id: String,
    /// Its tasks in the order of the input.
    pub(super) task_ids: Vec<String>,
    /// How well they are kept.
    pub(super) durability: v1::Durability,
}

/// Submits prompts as one batch.
pub(super) struct Submitter {
    /// The way to the server.
    pub(super) session: Session,
    /// Where pauses are noted.
    pub(super) output: Output,
}

impl Submitter {
    /// Submits in as many calls as needed; the last closes the batch.
    pub(super) async fn all(
        &self,
        prompts: Vec<Prompt>,
        defaults: &v1::TaskOptions,
        key: &str,
        budget: Option<u64>,
    ) -> Result<Submitted, Error> {
        let chunks = prompt::chunks(prompts);
        let count = chunks.len();
        let mut submitted = Submitted::default();
        for (index, chunk) in chunks.into_iter().enumerate() {
            let (lines, tasks): (Vec<_>, Vec<_>) = chunk
                .into_iter()
                .map(|prompt| (prompt.line, prompt.spec))
                .unzip();
            let request = v1::SubmitBatchRequest {
                tasks,
                // One key a call: each can be repeated by itself without submitting anything twice.
                idempotency_key: if count == 1 {
                    key.to_owned()
                } else {
                    format!("{key}/{index}")
                },
                options: Some(defaults.clone()),
                batch_id: submitted.batch_id.clone(),
                keep_open: index + 1 < count,
                // Of the batch: said once.
                budget_nanos: budget.filter(|_| index == 0),
            };
            let reply = self
                .one(request)
                .await
                .map_err(|error| explained(error, &lines, &submitted))?;
            submitted.batch_id = reply.batch_id;
            submitted.task_ids.extend(reply.task_ids);
            submitted.durability = reply.durability.unwrap_or_default();
        }
        Ok(submitted)
    }

    /// One call, repeated while the server is away or full.
    async fn one(&self, request: v1::SubmitBatchRequest) -> Result<v1::SubmitBatchResponse, Error> {
        let mut client = self.session.client.clone();
        let mut pauses = Pauses::new();
        let start = Instant::now();
        loop {
            let status = match client.submit_batch(request.clone()).await {
                Ok(reply) => return Ok(reply.into_inner()),
                Err(status) => status,
            };
            let pause = pauses.after(&status);
            if !may_repeat(&status) || start.elapsed() + pause > PATIENCE {
                return Err(Error::call("submit", &self.session.endpoint, status));
            }
            self.output.note(&format!(
                "not accepted yet ({}); trying again",
                message(&status)
            ));
            sleep(pause).await;
        }
    }
}

/// Adds what the server cannot know: lines of the input, and what earlier calls have left behind.
fn explained(mut error: Error, lines: &[usize], before: &Submitted) -> Error {
    let Error::Call { status, notes, .. } = &mut error else {
        return error;
    };
    let bad = status.get_details_bad_request();
    for violation in bad.iter().flat_map(|bad| &bad.field_violations) {
        let index = violation
            .field
            .strip_prefix("tasks[")
            .and_then(|rest| rest.split(']').next()?.parse::<usize>().ok());
        if let Some((index, line)) = index.and_then(|index| Some((index, lines.get(index)?))) {
            notes.push(format!("tasks[{index}] is line {line} of the input"));
        }
    }
    if !before.batch_id.is_empty() {
        notes.push(format!(
            "the batch {} stays open with the {} tasks before these; cancel it with `tidings cancel --batch {}`",
            before.batch_id,
            before.task_ids.len(),
            before.batch_id,
        ));
    }
    error
}

/// A key that nobody has used.
pub(super) fn fresh_key() -> String {
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    format!("tidings-cli/{id}")
}
