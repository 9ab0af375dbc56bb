//! The user's side: submits over gRPC, and watches.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tidings::{
    clock::{Clock as _, SystemClock, Timestamp},
    proto::v1::{
        BatchProgress, SubmitBatchRequest, SubmitBatchResponse, Task, TaskOptions, TaskSpec,
        TaskStatus, WatchBatchRequest, task_service_client::TaskServiceClient,
        watch_batch_response::Event,
    },
};
use tokio::{task::JoinHandle, time::sleep};
use tonic::transport::Channel;

use super::report::Stop;

/// A connection to a server.
pub(crate) type Client = TaskServiceClient<Channel>;

/// Less than what one call may hold.
const PER_CALL: usize = 1_000;
const BYTES_PER_CALL: usize = 3 << 20;

/// Connects.
pub(crate) async fn connect(endpoint: &str) -> Result<Client, Stop> {
    let channel = Channel::from_shared(endpoint.to_owned())?.tcp_nodelay(true);
    let client = TaskServiceClient::new(channel.connect().await?);
    Ok(client.max_decoding_message_size(64 << 20))
}

/// A batch, and when each of its tasks was accepted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    /// Its id.
    pub(crate) id: String,
    /// Its tasks, in the order of submission.
    pub(crate) tasks: Vec<(String, Timestamp)>,
    /// What it may cost, if that is limited.
    pub(crate) budget_nanos: Option<u64>,
}

impl Batch {
    /// Submits tasks in as many calls as it takes, and adds them to the batch.
    pub(crate) async fn add(
        &mut self,
        client: &mut Client,
        specs: Vec<TaskSpec>,
        options: &TaskOptions,
        keep_open: bool,
    ) -> Result<(), Stop> {
        for request in self.requests(specs, options, keep_open) {
            let request = SubmitBatchRequest {
                batch_id: self.id.clone(),
                ..request
            };
            let reply = client.submit_batch(request).await?.into_inner();
            self.accepted(reply);
        }
        Ok(())
    }

    fn requests(
        &self,
        specs: Vec<TaskSpec>,
        options: &TaskOptions,
        keep_open: bool,
    ) -> Vec<SubmitBatchRequest> {
        let calls = calls(specs);
        let last = calls.len();
        let request = |(number, tasks)| SubmitBatchRequest {
            tasks,
            options: Some(options.clone()),
            keep_open: keep_open || number + 1 < last,
            budget_nanos: self.budget_nanos,
            ..SubmitBatchRequest::default()
        };
        calls.into_iter().enumerate().map(request).collect()
    }

    fn accepted(&mut self, reply: SubmitBatchResponse) {
        self.id = reply.batch_id;
        let now = SystemClock.now();
        let accepted = reply.task_ids.into_iter().map(|id| (id, now));
        self.tasks.extend(accepted);
    }
}

fn calls(specs: Vec<TaskSpec>) -> Vec<Vec<TaskSpec>> {
    let mut calls = vec![Vec::new()];
    let mut bytes = 0;
    for spec in specs {
        let size = prost::Message::encoded_len(&spec);
        let full = calls
            .last()
            .is_some_and(|call: &Vec<_>| call.len() == PER_CALL);
        if full || bytes + size > BYTES_PER_CALL {
            calls.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(call) = calls.last_mut() {
            call.push(spec);
        }
    }
    calls
}

/// What a watch has told so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// The tasks that have ended: how, and when that was heard.
    pub(crate) ends: HashMap<String, (TaskStatus, Timestamp)>,
    /// The latest counters.
    pub(crate) progress: Option<BatchProgress>,
    /// Each task as it was told last.
    pub(crate) latest: HashMap<String, Task>,
    /// The watch has come to its end.
    pub(crate) done: bool,
}

impl Told {
    /// How many tasks ended like this.
    pub(crate) fn count(&self, status: TaskStatus) -> usize {
        self.ends.values().filter(|(end, _)| *end == status).count()
    }
}

/// A watch of a batch.
#[derive(Debug)]
pub(crate) struct Watch {
    told: Arc<Mutex<Told>>,
    running: JoinHandle<()>,
}

impl Watch {
    /// Watches a batch through any of these servers until it ends, from the beginning; goes on elsewhere where a
    /// stream breaks.
    pub(crate) fn start(clients: Vec<Client>, batch_id: String) -> Self {
        let told = Arc::new(Mutex::new(Told::default()));
        let running = tokio::spawn(watch(clients, batch_id, told.clone()));
        Watch { told, running }
    }

    /// What was told so far.
    pub(crate) fn told(&self) -> Told {
        self.told.lock().expect("nobody panics with it").clone()
    }

    /// Whether this is so of what was told.
    pub(crate) fn sees<T>(&self, look: impl FnOnce(&Told) -> T) -> T {
        look(&self.told.lock().expect("nobody panics with it"))
    }

    /// Waits until the watch ends, or for so long; answers what was told.
    pub(crate) async fn end(&self, within: Duration) -> Told {
        self.until(within, |told| told.done).await;
        self.told()
    }

    /// Waits until this is so, or for so long; answers whether it is.
    pub(crate) async fn until(&self, within: Duration, is_so: impl Fn(&Told) -> bool) -> bool {
        let look = async {
            while !self.sees(&is_so) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(within, look).await.is_ok()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn watch(clients: Vec<Client>, batch_id: String, told: Arc<Mutex<Told>>) {
    let mut resume_token = String::new();
    for mut client in clients.into_iter().cycle() {
        let request = WatchBatchRequest {
            batch_id: batch_id.clone(),
            resume_token: resume_token.clone(),
            ..WatchBatchRequest::default()
        };
        let Ok(stream) = client.watch_batch(request).await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let mut stream = stream.into_inner();
        loop {
            let message = match stream.message().await {
                Ok(Some(message)) => message,
                Ok(None) => {
                    told.lock().expect("nobody panics with it").done = true;
                    return;
                }
                Err(_) => break,
            };
            let now = SystemClock.now();
            let mut told = told.lock().expect("nobody panics with it");
            match message.event {
                Some(Event::Task(task)) => hear(&mut told, task, now),
                Some(Event::Progress(progress)) => told.progress = Some(progress),
                _ => {}
            }
            if !message.resume_token.is_empty() {
                resume_token = message.resume_token;
            }
        }
    }
}

fn hear(told: &mut Told, task: Task, now: Timestamp) {
    let status = task.status();
    if matches!(
        status,
        TaskStatus::Completed | TaskStatus::Error | TaskStatus::Cancelled
    ) {
        told.ends.entry(task.id.clone()).or_insert((status, now));
    }
    told.latest.insert(task.id.clone(), task);
}
