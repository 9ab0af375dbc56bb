//! GetBatch, ResumeBatch and GetServerInfo.

use tonic::Status;

use super::{Service, convert, error, validate};
use crate::{
    proto::v1::{
        GetBatchRequest, GetBatchResponse, GetServerInfoResponse, Limits, ResumeBatchRequest,
        ResumeBatchResponse,
    },
    store::Amendment,
};

impl Service {
    pub(super) async fn batch(&self, request: GetBatchRequest) -> Result<GetBatchResponse, Status> {
        let id = validate::batch_id(&request.batch_id)?;
        let batch = self.store.batch(id).await.map_err(error::from_store)?;
        let batch = batch.ok_or_else(|| error::not_found("batch", id))?;
        Ok(GetBatchResponse {
            batch: Some(convert::batch(&batch)),
        })
    }

    pub(super) async fn resume(
        &self,
        request: ResumeBatchRequest,
    ) -> Result<ResumeBatchResponse, Status> {
        let id = validate::batch_id(&request.batch_id)?;
        let budget = request.budget_nanos;
        validate::budget(budget)?;
        let resumed = self.store.amend(id, Amendment::Resume { budget }).await;
        let batch = resumed
            .map_err(error::from_store)?
            .ok_or_else(|| error::not_found("batch", id))?;
        let has = batch.funds.map(|funds| funds.budget);
        if budget.is_some() && budget != has {
            return Err(error::budget_refused(batch.funds));
        }
        Ok(ResumeBatchResponse {
            batch: Some(convert::batch(&batch)),
        })
    }

    pub(super) fn server_info(&self) -> GetServerInfoResponse {
        let info = self.store.info();
        let limits = &self.config.limits;
        GetServerInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            store: info.name.to_owned(),
            durability: Some(convert::durability(info.durability)),
            limits: Some(Limits {
                tasks_per_batch: limits.tasks_per_batch as u32,
                batch_bytes: limits.batch_bytes as u64,
                task_bytes: limits.task_bytes as u64,
                ids_per_call: limits.ids_per_call as u32,
                name_bytes: limits.name_bytes as u32,
                queue_tasks: self.config.capacity.tasks,
                queue_bytes: self.config.capacity.bytes,
            }),
            functions: self.functions.names().map(str::to_owned).collect(),
            default_model: self.config.model.clone(),
            status_retention: Some(convert::duration(self.config.status_retention)),
            result_retention: Some(convert::duration(self.config.result_retention)),
            store_epoch: u64::from(info.epoch),
        }
    }
}
