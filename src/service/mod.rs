//! The gRPC face: unwrap, validate, one call, wrap. The only room that sees both proto and tonic.

mod batch;
mod cancel;
mod convert;
mod error;
mod invalidate;
mod list;
mod method;
mod retry;
mod status;
mod submit;
mod token;
mod told;
mod validate;
mod watch;

pub use error::{
    DETAIL_DESCRIPTORS, bad_timeout, deadline_passed, overloaded, request_late, request_too_large,
};
pub use method::{Deadline, Method};

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::{
    model::Prices,
    proto::{
        Encoded,
        v1::{
            CancelTasksRequest, CancelTasksResponse, GetBatchRequest, GetBatchResponse,
            GetServerInfoRequest, GetServerInfoResponse, GetStatusRequest, GetStatusResponse,
            InvalidateCacheRequest, InvalidateCacheResponse, ListTasksRequest, ListTasksResponse,
            ResumeBatchRequest, ResumeBatchResponse, RetryTasksRequest, RetryTasksResponse,
            SubmitBatchRequest, SubmitBatchResponse, WatchBatchRequest, WatchBatchResponse,
            WatchTaskRequest, WatchTaskResponse, task_service_server::TaskService,
        },
    },
    store::{Capacity, Store},
    watch::Hub,
    worker::Registry,
};

/// Replies stay below this: clients refuse more than 4 MiB by default.
const MAX_REPLY: usize = 3 << 20;

/// What a call may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tasks a SubmitBatch call.
    pub tasks_per_batch: usize,
    /// Encoded bytes a SubmitBatch call.
    pub batch_bytes: usize,
    /// Bytes of one task's input.
    pub task_bytes: usize,
    /// Ids a GetStatus, CancelTasks or RetryTasks call.
    pub ids_per_call: usize,
    /// Bytes of a key, label or custom_id.
    pub name_bytes: usize,
}

impl Limits {
    /// The largest SubmitBatch that is read at all: a call over its limit is refused with details, so it is read first.
    pub fn max_submit_bytes(&self) -> usize {
        2 * self.batch_bytes
    }

    /// The largest other request that is read at all: twice the ids that a call may hold, and names to spare.
    pub fn max_request_bytes(&self) -> usize {
        /// A UUID as text with its tag and length.
        const ID: usize = 38;
        /// Labels and keys that a filter may hold.
        const NAMES: usize = 64;
        let held = 2 * ID * self.ids_per_call + NAMES * self.name_bytes;
        held.max(64 << 10)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            tasks_per_batch: 1_000,
            batch_bytes: 4 << 20,
            task_bytes: 1 << 20,
            ids_per_call: 1_000,
            name_bytes: 512,
        }
    }
}

/// What the service fills in where a request is silent.
#[derive(Clone, Debug)]
pub struct Config {
    /// What a call may hold.
    pub limits: Limits,
    /// What may be unfinished, as GetServerInfo tells it.
    pub capacity: Capacity,
    /// Model of a task that names none.
    pub model: String,
    /// What models cost: what batches with a budget go by.
    pub prices: Prices,
    /// How long a finished task keeps its history.
    pub status_retention: Duration,
    /// How long a finished task and its result are kept.
    pub result_retention: Duration,
}

/// The gRPC service.
#[derive(Debug)]
pub struct Service {
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    functions: Arc<Registry>,
    config: Config,
    draining: CancellationToken,
    told: Arc<told::Told>,
}

impl Service {
    /// A service on `store` whose watches go through `hub`. It takes no more work once `draining` is cancelled.
    pub fn new(
        store: Arc<dyn Store>,
        hub: Arc<Hub>,
        functions: Arc<Registry>,
        config: Config,
        draining: CancellationToken,
    ) -> Self {
        Service {
            store,
            hub,
            functions,
            config,
            draining,
            told: Arc::default(),
        }
    }

    fn refuse_while_draining(&self) -> Result<(), Status> {
        if self.draining.is_cancelled() {
            return Err(error::draining());
        }
        Ok(())
    }
}

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl TaskService for Service {
    async fn submit_batch(
        &self,
        request: Request<SubmitBatchRequest>,
    ) -> Result<Response<SubmitBatchResponse>, Status> {
        self.refuse_while_draining()?;
        self.submit(request.into_inner()).await.map(Response::new)
    }

    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        self.status(request.into_inner()).await.map(Response::new)
    }

    type WatchTaskStream = BoxStream<Encoded<WatchTaskResponse>>;

    async fn watch_task(
        &self,
        request: Request<WatchTaskRequest>,
    ) -> Result<Response<Self::WatchTaskStream>, Status> {
        self.follow_task(request.into_inner())
            .await
            .map(Response::new)
    }

    type WatchBatchStream = BoxStream<Encoded<WatchBatchResponse>>;

    async fn watch_batch(
        &self,
        request: Request<WatchBatchRequest>,
    ) -> Result<Response<Self::WatchBatchStream>, Status> {
        self.follow_batch(request.into_inner())
            .await
            .map(Response::new)
    }

    async fn cancel_tasks(
        &self,
        request: Request<CancelTasksRequest>,
    ) -> Result<Response<CancelTasksResponse>, Status> {
        self.cancel(request.into_inner()).await.map(Response::new)
    }

    async fn retry_tasks(
        &self,
        request: Request<RetryTasksRequest>,
    ) -> Result<Response<RetryTasksResponse>, Status> {
        self.refuse_while_draining()?;
        self.retry(request.into_inner()).await.map(Response::new)
    }

    async fn list_tasks(
        &self,
        request: Request<ListTasksRequest>,
    ) -> Result<Response<ListTasksResponse>, Status> {
        self.list(request.into_inner()).await.map(Response::new)
    }

    async fn get_batch(
        &self,
        request: Request<GetBatchRequest>,
    ) -> Result<Response<GetBatchResponse>, Status> {
        self.batch(request.into_inner()).await.map(Response::new)
    }

    async fn resume_batch(
        &self,
        request: Request<ResumeBatchRequest>,
    ) -> Result<Response<ResumeBatchResponse>, Status> {
        self.resume(request.into_inner()).await.map(Response::new)
    }

    async fn invalidate_cache(
        &self,
        request: Request<InvalidateCacheRequest>,
    ) -> Result<Response<InvalidateCacheResponse>, Status> {
        self.invalidate(request.into_inner())
            .await
            .map(Response::new)
    }

    async fn get_server_info(
        &self,
        _request: Request<GetServerInfoRequest>,
    ) -> Result<Response<GetServerInfoResponse>, Status> {
        Ok(Response::new(self.server_info()))
    }
}
