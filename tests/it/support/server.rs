//! A whole server in this process, on real sockets, with a simulated upstream behind it.

use std::time::Duration;

use tempfile::TempDir;
use tidings::{
    config::{Config, StoreConfig},
    model::{Status, TaskId},
    proto::v1::{
        GetStatusRequest, SubmitBatchRequest, SubmitBatchResponse, Task, TaskSpec, TaskStatus,
        WatchBatchRequest, WatchTaskRequest, task_service_client::TaskServiceClient, task_spec,
        watch_batch_response, watch_task_response,
    },
    server::{Error, Server},
    simulator::{self, Running, Simulator},
    worker::Registry,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::{
    eventually,
    history::{self, Law, Seen},
    redis::RedisServer,
};

/// A client of the server under test.
pub(crate) type Client = TaskServiceClient<Channel>;

/// Which store a server under test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Embedded,
    Redis,
}

/// Where a store under test lives; outlives the servers on it.
pub(crate) struct Home {
    folder: TempDir,
    pub(crate) redis: Option<RedisServer>,
}

impl Home {
    pub(crate) async fn new(kind: Kind) -> Home {
        let redis = match kind {
            Kind::Embedded => None,
            Kind::Redis => Some(RedisServer::start(&["--appendonly", "yes"]).await),
        };
        Home {
            folder: tempfile::tempdir().unwrap(),
            redis,
        }
    }

    /// What `--store` takes.
    pub(crate) fn url(&self) -> String {
        match &self.redis {
            Some(redis) => redis.url(),
            None => format!("embedded:{}", self.folder.path().join("data").display()),
        }
    }

    /// What the configuration of a server on it says.
    pub(crate) fn store(&self) -> StoreConfig {
        match &self.redis {
            Some(redis) => StoreConfig::Redis(super::redis::config(&redis.url())),
            None => StoreConfig::Embedded {
                path: self.folder.path().join("data"),
                accept_data_loss: false,
            },
        }
    }
}

/// A running server, its upstream and a client.
pub(crate) struct TestServer {
    pub(crate) home: Home,
    pub(crate) upstream: Running,
    pub(crate) client: Client,
    pub(crate) admin: String,
    pub(crate) endpoint: String,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<(), Error>>,
}

impl TestServer {
    /// A server with everything at its defaults and a quick upstream.
    pub(crate) async fn start(kind: Kind) -> TestServer {
        Self::start_with(kind, simulator::Config::default(), |_| {}).await
    }

    /// A server with a changed configuration.
    pub(crate) async fn start_with(
        kind: Kind,
        upstream: simulator::Config,
        change: impl FnOnce(&mut Config),
    ) -> TestServer {
        Self::start_on(Home::new(kind).await, upstream, Registry::default(), change).await
    }

    /// A server on a store that was there before.
    pub(crate) async fn start_on(
        home: Home,
        upstream: simulator::Config,
        functions: Registry,
        change: impl FnOnce(&mut Config),
    ) -> TestServer {
        let any = "127.0.0.1:0".parse().unwrap();
        let upstream = Simulator::start(upstream, any).await.unwrap();
        let mut config = local(&home);
        config.upstream.base_url = upstream.base_url();
        change(&mut config);
        let server = Server::bind_with(config, functions).await.unwrap();
        let endpoint = format!("http://{}", server.grpc_addr());
        let admin = format!("http://{}", server.admin_addr());
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(server.serve(shutdown.clone()));
        TestServer {
            client: connect(&endpoint).await,
            home,
            upstream,
            admin,
            endpoint,
            shutdown,
            serving,
        }
    }

    /// Another replica on the Redis and the upstream of this one.
    pub(crate) async fn replica(&self, change: impl FnOnce(&mut Config)) -> TestServer {
        assert!(
            self.home.redis.is_some(),
            "an embedded store has one server"
        );
        // Its own home and upstream stay unused.
        let unused = (Kind::Embedded, simulator::Config::default());
        TestServer::start_with(unused.0, unused.1, |config| {
            config.store = self.home.store();
            config.upstream.base_url = self.upstream.base_url();
            change(config);
        })
        .await
    }

    /// Shuts down and waits; gives the store back for another server.
    pub(crate) async fn stop(self) -> Home {
        self.shutdown.cancel();
        self.serving.await.unwrap().unwrap();
        self.home
    }
}

/// A server's configuration: free ports, and the store at home.
pub(crate) fn local(home: &Home) -> Config {
    let any = "127.0.0.1:0".parse().unwrap();
    Config {
        listen: any,
        admin_listen: any,
        store: home.store(),
        shutdown_grace: Duration::from_secs(10),
        ..Config::default()
    }
}

/// A client; waits for the server to listen.
pub(crate) async fn connect(endpoint: &str) -> Client {
    let channel = Channel::from_shared(endpoint.to_owned())
        .unwrap()
        .connect()
        .await
        .unwrap();
    Client::new(channel)
}

/// A task with a prompt.
pub(crate) fn prompt(text: impl Into<String>) -> TaskSpec {
    TaskSpec {
        work: Some(task_spec::Work::Prompt(text.into())),
        ..TaskSpec::default()
    }
}

/// A task that calls a function.
pub(crate) fn function(name: &str, arguments: &str) -> TaskSpec {
    TaskSpec {
        work: Some(task_spec::Work::FunctionCall(
            tidings::proto::v1::FunctionCall {
                name: name.into(),
                arguments: arguments.into(),
            },
        )),
        ..TaskSpec::default()
    }
}

/// Submits tasks as a closed batch.
pub(crate) async fn submit(
    client: &mut Client,
    tasks: impl IntoIterator<Item = TaskSpec>,
) -> SubmitBatchResponse {
    let request = SubmitBatchRequest {
        tasks: tasks.into_iter().collect(),
        ..SubmitBatchRequest::default()
    };
    client.submit_batch(request).await.unwrap().into_inner()
}

/// Watches a task from `after` to its end: every state told.
pub(crate) async fn watch_task(client: &mut Client, id: &str, after: u64) -> Vec<Task> {
    let request = WatchTaskRequest {
        task_id: id.to_owned(),
        after_revision: after,
        ..WatchTaskRequest::default()
    };
    let mut stream = client.watch_task(request).await.unwrap().into_inner();
    let mut told = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        if let Some(watch_task_response::Event::Task(task)) = message.event {
            told.push(task);
        }
    }
    told
}

/// Watches a batch from its beginning to its end: every state told, results included.
pub(crate) async fn watch_batch(client: &mut Client, id: &str) -> Vec<Task> {
    let request = WatchBatchRequest {
        batch_id: id.to_owned(),
        include_results: true,
        ..WatchBatchRequest::default()
    };
    let mut stream = client.watch_batch(request).await.unwrap().into_inner();
    let mut told = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        if let Some(watch_batch_response::Event::Task(task)) = message.event {
            told.push(task);
        }
    }
    told
}

/// One task, by GetStatus.
pub(crate) async fn status(client: &mut Client, id: &str) -> Task {
    let request = GetStatusRequest {
        task_ids: vec![id.to_owned()],
        omit_results: false,
    };
    let mut reply = client.get_status(request).await.unwrap().into_inner();
    reply.tasks.pop().expect("the task is found")
}

/// Runs a test body once for each store, as separate tests.
macro_rules! on_each_store {
    ($($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name($crate::support::server::Kind::Embedded).await;
            })+
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name($crate::support::server::Kind::Redis).await;
            })+
        }
    };
}
pub(crate) use on_each_store;

/// The status of a told task.
pub(crate) fn status_of(task: &Task) -> TaskStatus {
    TaskStatus::try_from(task.status).unwrap()
}

/// Every test that watches to the end closes with this: what was told could have happened.
#[track_caller]
pub(crate) fn assert_lawful(told: &[Task]) {
    let seen: Vec<Seen<TaskId>> = told
        .iter()
        .map(|task| Seen {
            task: task.id.parse().unwrap(),
            revision: task.revision,
            status: Status::from_code(u8::try_from(task.status).unwrap()).unwrap(),
            attempt: task.attempt,
        })
        .collect();
    let law = Law {
        max_attempts: 32,
        is_complete: true,
    };
    history::assert_lawful(&[seen], law);
}

/// Longer than anything here takes, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Waits until something holds, and fails the test when it does not come to.
pub(crate) async fn soon(what: &str, mut check: impl AsyncFnMut() -> bool) {
    eventually(what, SOON, async || check().await.then_some(())).await;
}
