//! Clients that submit until they are told OK, and set watchers on whatever was accepted.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tidings::{
    model::TaskId,
    proto::v1::{SubmitBatchRequest, SubmitBatchResponse},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    fleet::{Fleet, now},
    watcher::{Asked, Clients, follow},
};
use crate::support::{
    chance::Seed,
    checker::{Receipt, Watched},
    server::{Client, prompt},
};

/// A call that has not been answered by then is tried elsewhere.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Nobody has to wait longer until a call is accepted, whatever is struck.
const GIVE_UP: Duration = Duration::from_secs(120);
/// Between two attempts of one client.
const PAUSE: Duration = Duration::from_millis(50);
/// Watchers that share connections, as those of one client do.
const WATCHERS_A_CLIENT: usize = 100;

/// What is watched of each batch.
#[derive(Clone, Copy, Debug)]
pub(super) enum Watching {
    /// The batch, by one watcher.
    Batch,
    /// The batch, and every task of it by a watcher of its own.
    Tasks,
}

/// What was accepted so far, and those who watch it.
pub(super) struct Load {
    fleet: Arc<Fleet>,
    run: u64,
    watching: Watching,
    clients: Vec<Client>,
    pub(super) accepted: BTreeMap<TaskId, String>,
    pub(super) receipts: BTreeMap<TaskId, Receipt>,
    pub(super) batches: Vec<String>,
    /// The partition of the last batch.
    pub(super) latest: Option<u16>,
    /// Whether each batch is submitted once more: not where the first may be lost meanwhile.
    pub(super) twice: bool,
    watchers: JoinSet<Watched>,
    group: (Clients, usize),
    /// Streams that stand now, and when each that broke came back.
    pub(super) open: Arc<Mutex<usize>>,
}

impl Load {
    pub(super) fn new(fleet: &Arc<Fleet>, seed: &Seed, watching: Watching) -> Self {
        Load {
            run: seed.value(),
            watching,
            clients: fleet.connect(),
            accepted: BTreeMap::new(),
            receipts: BTreeMap::new(),
            batches: Vec::new(),
            latest: None,
            twice: true,
            watchers: JoinSet::new(),
            group: (Clients::new(fleet.connect()), 0),
            open: Arc::default(),
            fleet: fleet.clone(),
        }
    }

    /// Submits tasks in batches of at most `size`, each again and again until it is accepted, and once more after
    /// that on another replica: the answer must be the same.
    pub(super) async fn submit(&mut self, tasks: usize, size: usize) {
        let mut left = tasks;
        while left > 0 {
            let number = self.batches.len();
            let count = left.min(size);
            left -= count;
            let name = |task| format!("{}-{number}-{task}", self.run);
            let prompts: Vec<String> = (0..count).map(name).collect();
            let request = SubmitBatchRequest {
                tasks: prompts.iter().map(prompt).collect(),
                idempotency_key: format!("{}-{number}", self.run),
                ..SubmitBatchRequest::default()
            };
            let reply = submit_until_ok(&self.clients, number, &request).await;
            let receipt = Receipt {
                at: now(),
                level: reply.durability.unwrap().level(),
            };
            if self.twice {
                let again = submit_until_ok(&self.clients, number + 1, &request).await;
                assert_eq!(reply, again, "the same key and content");
            }
            let ids: Vec<TaskId> = reply
                .task_ids
                .iter()
                .map(|id| id.parse().unwrap())
                .collect();
            self.latest = ids.first().map(TaskId::partition);
            self.receipts.extend(ids.iter().map(|id| (*id, receipt)));
            self.accepted.extend(ids.iter().copied().zip(prompts));
            self.watch(&reply.batch_id, &ids);
            self.batches.push(reply.batch_id);
        }
    }

    /// Waits for every watcher to be told of the end.
    pub(super) async fn watched(&mut self, within: Duration) -> Vec<Watched> {
        let mut watched = Vec::new();
        let all = async {
            while let Some(ended) = self.watchers.join_next().await {
                watched.push(ended.unwrap());
            }
        };
        let in_time = timeout(within, all).await.is_ok();
        let left = self.watchers.len();
        assert!(
            in_time,
            "{left} watchers were not told of an end in {within:?}"
        );
        watched
    }

    fn watch(&mut self, batch: &str, tasks: &[TaskId]) {
        let all = Asked::Batch(batch.to_owned(), tasks.iter().copied().collect());
        self.set(all);
        if matches!(self.watching, Watching::Tasks) {
            for task in tasks {
                self.set(Asked::Task(*task));
            }
        }
    }

    fn set(&mut self, asked: Asked) {
        let (clients, watchers) = &mut self.group;
        *watchers += 1;
        if *watchers > WATCHERS_A_CLIENT {
            *clients = Clients::new(self.fleet.connect());
            *watchers = 1;
        }
        let home = self.watchers.len();
        self.watchers
            .spawn(follow(asked, clients.clone(), home, self.open.clone()));
    }
}

async fn submit_until_ok(
    clients: &[Client],
    first: usize,
    request: &SubmitBatchRequest,
) -> SubmitBatchResponse {
    let began = Instant::now();
    for attempt in first.. {
        assert!(began.elapsed() < GIVE_UP, "not accepted in {GIVE_UP:?}");
        let mut client = clients[attempt % clients.len()].clone();
        let call = client.submit_batch(request.clone());
        match timeout(ANSWER_WITHIN, call).await {
            Ok(Ok(reply)) => return reply.into_inner(),
            // Whatever became of the call: with the same key it may be repeated.
            Ok(Err(_)) | Err(_) => sleep(PAUSE).await,
        }
    }
    unreachable!("attempts do not end")
}
