//! SubmitBatch.

use std::sync::Arc;

use prost::Message as _;
use tonic::Status;

use super::{Service, convert, error, validate};
use crate::{
    chance,
    clock::Timestamp,
    model::{BatchId, IdRange, TENANT},
    proto::v1::{SubmitBatchRequest, SubmitBatchResponse, TaskSpec, task_spec::Work},
    store::{Append, Idempotency, Submission},
};

impl Service {
    pub(super) async fn submit(
        &self,
        mut request: SubmitBatchRequest,
    ) -> Result<SubmitBatchResponse, Status> {
        let now = self.store.now();
        let budget = self.budget(&request).await?;
        let rules = validate::Rules {
            config: &self.config,
            functions: &self.functions,
            now,
            budget,
        };
        let specs = rules.specs(&request)?;
        let key = std::mem::take(&mut request.idempotency_key);
        let idempotency =
            (!key.is_empty()).then(|| idempotency("submit", &key, &request.encode_to_vec()));
        let (batch_id, append) = match request.batch_id.as_str() {
            "" => (self.new_batch(now, idempotency.as_ref()), Append::New),
            text => (validate::batch_id(text)?, Append::Open),
        };
        let submission = Submission {
            batch_id,
            append,
            keep_open: request.keep_open,
            ids: new_ids(now, batch_id, specs.len()),
            specs: specs.into_iter().map(Arc::new).collect(),
            budget,
            idempotency,
        };
        let accepted = self.store.submit(submission).await;
        let accepted = accepted.map_err(error::from_store)?;
        Ok(SubmitBatchResponse {
            batch_id: accepted.batch_id.to_string(),
            task_ids: accepted.ids.iter().map(|id| id.to_string()).collect(),
            durability: Some(convert::durability(accepted.durability)),
        })
    }

    /// What the batch that a call is for may spend, if it has a budget that concerns the call.
    async fn budget(&self, request: &SubmitBatchRequest) -> Result<Option<u64>, Status> {
        if request.batch_id.is_empty() {
            return Ok(request.budget_nanos);
        }
        let id = validate::batch_id(&request.batch_id)?;
        let costs_nothing = |task: &TaskSpec| matches!(task.work, Some(Work::FunctionCall(_)));
        if request.budget_nanos.is_none() && request.tasks.iter().all(costs_nothing) {
            return Ok(None);
        }
        let batch = self.store.batch(id).await.map_err(error::from_store)?;
        // Of one that is not there the store says so.
        let funds = batch.and_then(|batch| batch.funds);
        let budget = funds.map(|funds| funds.budget);
        if request.budget_nanos.is_none() || request.budget_nanos == budget {
            return Ok(budget);
        }
        let has = match budget {
            Some(budget) => format!("this one's is {budget}"),
            None => "this one has none".to_owned(),
        };
        Err(error::invalid_field(
            "budget_nanos",
            format!(
                "is set when a batch is made, and {has}; leave it out, or change a budget with ResumeBatch"
            ),
        ))
    }

    /// A batch whose partition follows from the key, so that a repeated call meets its first in the same place.
    fn new_batch(&self, now: Timestamp, idempotency: Option<&Idempotency>) -> BatchId {
        let random = chance::number();
        let place = match idempotency {
            Some(Idempotency { key, .. }) => {
                let hash = blake3::hash(key.as_bytes());
                u64::from_be_bytes(std::array::from_fn(|byte| hash.as_bytes()[byte]))
            }
            None => random,
        };
        let partitions = u64::from(self.store.info().partitions.max(1));
        let partition = u16::try_from(place % partitions).unwrap_or_default();
        BatchId::new(now, partition, chance::number())
    }
}

/// New ids for `count` tasks of a batch.
pub(super) fn new_ids(now: Timestamp, batch: BatchId, count: usize) -> IdRange {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    IdRange::new(now, batch.partition(), chance::number(), count)
}

/// A caller's key, kept apart by tenant and call, with the hash of the call's content.
pub(super) fn idempotency(call: &str, key: &str, content: &[u8]) -> Idempotency {
    Idempotency {
        key: format!("{TENANT}/{call}/{key}"),
        hash: *blake3::hash(content).as_bytes(),
    }
}
