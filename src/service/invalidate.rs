//! InvalidateCache: forgets answers by the tasks that asked for them.

use std::collections::BTreeSet;

use tonic::Status;

use super::{Service, error, validate};
use crate::{
    model::CacheKey,
    proto::v1::{InvalidateCacheRequest, InvalidateCacheResponse},
    store::Lookup,
    upstream,
};

impl Service {
    pub(super) async fn invalidate(
        &self,
        request: InvalidateCacheRequest,
    ) -> Result<InvalidateCacheResponse, Status> {
        let ids = validate::task_ids(&request.task_ids, &self.config.limits)?;
        let lookups = self.store.tasks(&ids).await.map_err(error::from_store)?;
        let mut keys: BTreeSet<CacheKey> = BTreeSet::new();
        let mut not_found = Vec::new();
        for (id, lookup) in ids.iter().zip(lookups) {
            match lookup {
                Lookup::Found(task) => keys.extend(upstream::cache_key(&task.spec)),
                _ => not_found.push(id.to_string()),
            }
        }
        let keys: Vec<CacheKey> = keys.into_iter().collect();
        let forgotten = self.store.forget(&keys).await.map_err(error::from_store)?;
        Ok(InvalidateCacheResponse {
            forgotten_count: u32::try_from(forgotten).unwrap_or(u32::MAX),
            not_found,
        })
    }
}
