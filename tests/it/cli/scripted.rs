//! A gRPC server on a real socket that plays a script: what a real one does rarely, on purpose.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use futures::{StreamExt as _, stream::BoxStream};
use prost::Message;
use tidings::proto::{
    Encoded,
    v1::{
        self,
        task_service_server::{TaskService, TaskServiceServer},
    },
};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, async_trait, transport::Server};

type Play<T> = BoxStream<'static, Result<T, Status>>;

/// What the server will answer, call by call, and what it was asked.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// Answers of SubmitBatch: a refusal, or None to accept.
    pub(super) submits: VecDeque<Option<Status>>,
    /// Streams of WatchBatch.
    pub(super) batches: VecDeque<Vec<Result<v1::WatchBatchResponse, Status>>>,
    /// Streams of WatchTask.
    pub(super) tasks: VecDeque<Vec<Result<v1::WatchTaskResponse, Status>>>,
    /// Streams stay open after their last message.
    pub(super) endless: bool,
    /// How many tasks ListTasks knows.
    pub(super) listed: usize,
    /// Requests of SubmitBatch so far.
    pub(super) submitted: Vec<v1::SubmitBatchRequest>,
    /// Resume tokens of WatchBatch so far.
    pub(super) tokens: Vec<String>,
    /// Revisions of WatchTask so far.
    pub(super) revisions: Vec<u64>,
}

#[derive(Clone)]
struct Service(Arc<Mutex<Script>>);

/// A running server.
pub(super) struct Scripted {
    pub(super) script: Arc<Mutex<Script>>,
    pub(super) endpoint: String,
    _runtime: Runtime,
}

impl Scripted {
    pub(super) fn start(script: Script) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let script = Arc::new(Mutex::new(script));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = runtime
            .block_on(TcpListener::bind(any))
            .expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let service =
            TaskServiceServer::new(Service(script.clone())).max_decoding_message_size(8 << 20);
        runtime.spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        Scripted {
            script,
            endpoint,
            _runtime: runtime,
        }
    }
}

fn play<T: Message + 'static>(messages: Vec<Result<T, Status>>, endless: bool) -> Play<Encoded<T>> {
    let encoded = |message: Result<T, Status>| message.map(|it| Encoded::from(&it));
    let messages = futures::stream::iter(messages).map(encoded);
    if endless {
        messages.chain(futures::stream::pending()).boxed()
    } else {
        messages.boxed()
    }
}

fn refused<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not in the script"))
}

#[async_trait]
impl TaskService for Service {
    type WatchTaskStream = Play<Encoded<v1::WatchTaskResponse>>;
    type WatchBatchStream = Play<Encoded<v1::WatchBatchResponse>>;

    async fn submit_batch(
        &self,
        request: Request<v1::SubmitBatchRequest>,
    ) -> Result<Response<v1::SubmitBatchResponse>, Status> {
        let mut script = self.0.lock().expect("not poisoned");
        let request = request.into_inner();
        let start = request.tasks.len();
        script.submitted.push(request);
        if let Some(Some(refusal)) = script.submits.pop_front() {
            return Err(refusal);
        }
        Ok(Response::new(v1::SubmitBatchResponse {
            batch_id: "the-batch".to_owned(),
            task_ids: (0..start).map(|index| format!("task-{index}")).collect(),
            durability: None,
        }))
    }

    async fn watch_batch(
        &self,
        request: Request<v1::WatchBatchRequest>,
    ) -> Result<Response<Self::WatchBatchStream>, Status> {
        let mut script = self.0.lock().expect("not poisoned");
        script.tokens.push(request.into_inner().resume_token);
        let stream = script.batches.pop_front();
        let stream = stream.ok_or_else(|| Status::not_found("no such batch"))?;
        Ok(Response::new(play(stream, script.endless)))
    }

    async fn watch_task(
        &self,
        request: Request<v1::WatchTaskRequest>,
    ) -> Result<Response<Self::WatchTaskStream>, Status> {
        let mut script = self.0.lock().expect("not poisoned");
        script.revisions.push(request.into_inner().after_revision);
        let stream = script.tasks.pop_front();
        let stream = stream.ok_or_else(|| Status::not_found("no such task"))?;
        Ok(Response::new(play(stream, script.endless)))
    }

    async fn list_tasks(
        &self,
        request: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksResponse>, Status> {
        let listed = self.0.lock().expect("not poisoned").listed;
        let request = request.into_inner();
        let from: usize = request.page_token.parse().unwrap_or(0);
        let until = listed.min(from + request.page_size as usize);
        let tasks = (from..until).map(|index| v1::Task {
            id: format!("task-{index}"),
            labels: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            ..v1::Task::default()
        });
        Ok(Response::new(v1::ListTasksResponse {
            tasks: tasks.collect(),
            next_page_token: if until < listed {
                until.to_string()
            } else {
                String::new()
            },
        }))
    }

    async fn get_status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        Ok(Response::new(v1::GetStatusResponse {
            not_found: request.into_inner().task_ids,
            ..v1::GetStatusResponse::default()
        }))
    }

    async fn cancel_tasks(
        &self,
        _: Request<v1::CancelTasksRequest>,
    ) -> Result<Response<v1::CancelTasksResponse>, Status> {
        refused()
    }

    async fn retry_tasks(
        &self,
        _: Request<v1::RetryTasksRequest>,
    ) -> Result<Response<v1::RetryTasksResponse>, Status> {
        refused()
    }

    async fn get_batch(
        &self,
        _: Request<v1::GetBatchRequest>,
    ) -> Result<Response<v1::GetBatchResponse>, Status> {
        refused()
    }

    async fn resume_batch(
        &self,
        _: Request<v1::ResumeBatchRequest>,
    ) -> Result<Response<v1::ResumeBatchResponse>, Status> {
        refused()
    }

    async fn invalidate_cache(
        &self,
        _: Request<v1::InvalidateCacheRequest>,
    ) -> Result<Response<v1::InvalidateCacheResponse>, Status> {
        refused()
    }

    async fn get_server_info(
        &self,
        _: Request<v1::GetServerInfoRequest>,
    ) -> Result<Response<v1::GetServerInfoResponse>, Status> {
        refused()
    }
}
