//! A run from its setup to its verdict.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tidings::{
    model::TaskId,
    proto::v1::{GetStatusRequest, ListTasksRequest, Task},
    simulator::{self, CallRecord, Latency, Running},
};
use tokio::time::{sleep, timeout};

use super::{
    fleet::{Fleet, Setup},
    load::{Load, Watching},
    row::row,
    watcher::{Asked, Clients, follow, seen},
};
use crate::support::{
    chance::Seed,
    checker::{Evidence, Told, Verdict, freshness, is_lost, judge, recovery},
    eventually,
    scale::soaking,
    server::Client,
    upstream::simulate,
};

/// The promise: struck tasks are processing elsewhere within the lease and this.
const RECOVERED_WITHIN: Duration = Duration::from_secs(2);
/// Next to a compiler on two cores a promise in seconds says nothing; the long runs hold to it.
const BUSY: Duration = Duration::from_secs(15);
/// Longer than a lease and whatever a busy machine adds.
const FINISH_WITHIN: Duration = Duration::from_secs(60);
/// Nothing told live may be older, even if every hint was lost.
const STALE: Duration = Duration::from_secs(2);
/// Asked for in one call.
const PAGE: usize = 500;

/// One run: the fleet, its upstream, its load and its seed.
pub(super) struct Run {
    pub(super) seed: Seed,
    pub(super) upstream: Arc<Running>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) load: Load,
}

/// What a row of the table says of a run before it is judged.
pub(super) struct Title {
    pub(super) fault: String,
    pub(super) on: String,
    pub(super) times: usize,
    pub(super) note: String,
}

/// An upstream that keeps callers waiting for as long as models do, on a smaller scale.
pub(super) async fn upstream(shortest: u64, longest: u64) -> Arc<Running> {
    let latency = Latency::Uniform {
        min: Duration::from_millis(shortest),
        max: Duration::from_millis(longest),
    };
    let config = simulator::Config {
        latency,
        ..simulator::Config::default()
    };
    Arc::new(simulate(config).await)
}

impl Run {
    pub(super) async fn start(
        seed: Seed,
        setup: Setup,
        upstream: Arc<Running>,
        watching: Watching,
    ) -> Run {
        let fleet = Fleet::start(setup).await;
        Run {
            load: Load::new(&fleet, &seed, watching),
            upstream,
            fleet,
            seed,
        }
    }

    /// Waits until every task accepted so far is terminal, as a replica other than `frozen` reads it; says how many of
    /// them `frozen` had lost.
    pub(super) async fn others_finish(&self, frozen: usize) -> usize {
        let clients = [self.fleet.connect().remove((frozen + 1) % self.fleet.len())];
        let ids: Vec<TaskId> = self.load.accepted.keys().copied().collect();
        let worker = self.fleet.worker(frozen);
        eventually("the others finish", FINISH_WITHIN, async || {
            let tasks = read(&clients, 0, &ids).await;
            let ended = |task: &Task| seen(task).status.is_terminal();
            let lost = |task: &&Task| {
                task.attempts
                    .iter()
                    .any(|a| a.worker == worker && is_lost(a))
            };
            tasks
                .values()
                .all(ended)
                .then(|| tasks.values().filter(lost).count())
        })
        .await
    }

    /// Whether the store can be read through the first of these clients.
    pub(super) async fn reads(&self, clients: &[Client; 1]) -> bool {
        let request = ListTasksRequest {
            page_size: 1,
            ..ListTasksRequest::default()
        };
        clients[0].clone().list_tasks(request).await.is_ok()
    }

    /// Waits for every task to end, and gathers what is known of them. Every replica has to be up.
    pub(super) async fn evidence(&mut self, within: Duration) -> Evidence {
        let watchers = self.load.watched(within).await;
        let clients = self.fleet.connect();
        let ids: Vec<TaskId> = self.load.accepted.keys().copied().collect();
        let (mut replay, mut times) = (Vec::new(), BTreeMap::new());
        for (batch, id) in self.load.batches.iter().enumerate() {
            let asked = Asked::Batch(id.clone(), Default::default());
            let clients = Clients::new(clients.clone());
            let again = follow(asked, clients, batch, Default::default());
            let again = timeout(within, again).await.expect("a replay ends");
            let when = |told: &Told| ((told.seen.task, told.seen.revision), told.happened);
            times.extend(again.told.iter().map(when));
            replay.extend(again.told.into_iter().map(|told| told.seen));
        }
        let mut calls: BTreeMap<String, usize> = BTreeMap::new();
        // A call cut off before its prompt had come says nothing of a task.
        let heard = |call: &CallRecord| !call.prompt.is_empty();
        for call in self.upstream.calls().into_iter().filter(heard) {
            *calls.entry(call.prompt).or_default() += 1;
        }
        Evidence {
            accepted: self.load.accepted.clone(),
            listed: list(&clients).await,
            ends: read(&clients, 0, &ids).await,
            again: read(&clients, 1, &ids).await,
            replay,
            times,
            receipts: self.load.receipts.clone(),
            watchers,
            calls,
            strikes: self.fleet.strikes(),
            lease: self.fleet.setup().lease,
            concurrency: self.fleet.setup().concurrency,
        }
    }

    /// Judges, reports, and panics unless all was lawful and in time.
    #[track_caller]
    pub(super) fn conclude(&self, title: Title, evidence: &Evidence) -> Verdict {
        let verdict = judge(evidence);
        let waited = recovery(evidence);
        row(&title, evidence, &verdict, waited, &self.seed).report();
        assert!(verdict.faults.is_empty(), "{:#?}", verdict.faults);
        assert_eq!((verdict.lost, verdict.double_terminals), (0, 0));
        let slack = if soaking() { Duration::ZERO } else { BUSY };
        let fresh = freshness(evidence);
        let stale = STALE + slack;
        assert!(fresh.longest <= stale, "told late: {:?}", fresh.slowest);
        let bound = evidence.lease + RECOVERED_WITHIN + slack;
        if let Some(waited) = waited {
            let (task, time) = (waited.task, waited.resumed);
            assert!(time <= bound, "{task} waited {time:?}, {bound:?} promised");
        }
        verdict
    }
}

/// Every task there is.
async fn list(clients: &[Client]) -> BTreeSet<TaskId> {
    let mut listed = BTreeSet::new();
    let mut request = ListTasksRequest {
        page_size: u32::try_from(PAGE).unwrap(),
        ..ListTasksRequest::default()
    };
    loop {
        let page = until_ok(clients, 0, async |client| {
            client.list_tasks(request.clone()).await
        })
        .await;
        listed.extend(page.tasks.iter().map(|task| seen(task).task));
        if page.next_page_token.is_empty() {
            return listed;
        }
        request.page_token = page.next_page_token;
    }
}

/// Tasks as a replica reads them; those that it does not find are left out.
async fn read(clients: &[Client], first: usize, ids: &[TaskId]) -> BTreeMap<TaskId, Task> {
    let mut found = BTreeMap::new();
    for page in ids.chunks(PAGE) {
        let request = GetStatusRequest {
            task_ids: page.iter().map(ToString::to_string).collect(),
            omit_results: false,
        };
        let reply = until_ok(clients, first, async |client| {
            client.get_status(request.clone()).await
        })
        .await;
        assert_eq!(reply.faults, [], "every record can be read");
        found.extend(reply.tasks.into_iter().map(|task| (seen(&task).task, task)));
    }
    found
}

/// Asks one replica after the other until one answers with OK; the faults are over, so soon.
async fn until_ok<T>(
    clients: &[Client],
    first: usize,
    mut call: impl AsyncFnMut(&mut Client) -> Result<tonic::Response<T>, tonic::Status>,
) -> T {
    let mut last = None;
    for attempt in first..first + 100 {
        let mut client = clients[attempt % clients.len()].clone();
        match call(&mut client).await {
            Ok(reply) => return reply.into_inner(),
            Err(status) => last = Some(status),
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("no answer: {last:?}")
}
