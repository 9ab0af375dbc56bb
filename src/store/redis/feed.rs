//! From what scripts announce to what this process hears: one subscription a server, however many listen.
//!
//! Messages are numbered by partition. A gap in the numbers, a new subscription, or a number that the store has
//! reached and this process has not heard of at the next probe is told as [`Change::Gap`].

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{broadcast, watch},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    dial::Common,
    echo::Echoes,
    keys,
    link::{Call, Link, Order},
    message::{self, Message},
    router::Router,
    script::Script,
};
use crate::{
    model::Status,
    store::{Change, Error, Prompts, Recent},
};

/// Changes that a listener of this process may lag behind before it is told of a gap.
const CAPACITY: usize = 4_096;
/// How often the store is asked how far it is, and the subscription whether it is alive. What was not heard shows with
/// the second question after it: within two seconds, on a busy machine as well.
const PROBE_EVERY: Duration = Duration::from_millis(700);
/// How long a start waits for the first subscriptions.
const STANDS_WITHIN: Duration = Duration::from_secs(5);
/// Between attempts to subscribe.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// Not subscribed yet.
const NEVER: u64 = u64::MAX;

/// What this process hears.
#[derive(Debug)]
pub(super) struct Feed {
    sender: broadcast::Sender<Change>,
    pub(super) common: Arc<Common>,
    /// What of this process's own calls is not told yet.
    pub(super) echoes: Echoes,
    /// What need not be read.
    pub(super) recent: Recent,
    /// What need not be looked for.
    pub(super) prompts: Prompts,
    /// Told whenever another partition is heard for the first time.
    stood: watch::Sender<()>,
    /// The last number heard, by partition.
    heard: Vec<AtomicU64>,
}

impl Feed {
    pub(super) fn new(common: Arc<Common>) -> Self {
        Feed {
            sender: broadcast::channel(CAPACITY).0,
            echoes: Echoes::default(),
            recent: Recent::hearing(),
            prompts: Prompts::default(),
            stood: watch::channel(()).0,
            heard: (0..common.partitions)
                .map(|_| AtomicU64::new(NEVER))
                .collect(),
            common,
        }
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<Change> {
        self.sender.subscribe()
    }

    /// Waits until this process hears every partition, or as many as it can.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it does not come to that in time.
    pub(super) async fn stands(&self) -> Result<(), Error> {
        let mut stood = self.stood.subscribe();
        let all = |_: &()| {
            self.heard
                .iter()
                .all(|it| it.load(Ordering::Acquire) != NEVER)
        };
        let late = timeout(STANDS_WITHIN, stood.wait_for(all)).await.is_err();
        let none = self
            .heard
            .iter()
            .all(|it| it.load(Ordering::Acquire) == NEVER);
        match (late, none) {
            (true, true) => Err(Error::Unavailable("no subscription in time".into())),
            (true, false) => {
                // One may be on its way from node to node for long.
                tracing::warn!("some partitions of the cluster cannot be subscribed to yet");
                Ok(())
            }
            (false, _) => Ok(()),
        }
    }

    /// Keeps a subscription at every server that has partitions; runs until it is dropped.
    pub(super) async fn subscribe(self: Arc<Self>, router: Arc<Router>) {
        loop {
            let (number, servers) = router.arrangement();
            let followed = servers.into_iter().map(|(link, partitions)| {
                let follow = self.clone().follow_all(link, partitions);
                AbortOnDropHandle::new(tokio::spawn(follow))
            });
            // Given up when the next arrangement begins; its subscriptions say that there was a gap.
            let _followed: Vec<_> = followed.collect();
            router.rearranged(number).await;
        }
    }

    /// Compares how far the store is with what was heard; runs until it is dropped. The same question tells the
    /// links that their connections are alive, whether the store has come back with less than it had, and this
    /// process what time it is there.
    pub(super) async fn probe(self: Arc<Self>, router: Arc<Router>) {
        let mut ticks = interval(PROBE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before: HashMap<u16, u64> = HashMap::new();
        loop {
            ticks.tick().await;
            let failed = self
                .look(&router, &mut before, 0..self.common.partitions)
                .await;
            // Asked again at once after a failure: a dead connection shall be known within seconds.
            self.look(&router, &mut before, failed).await;
        }
    }

    /// Asks how partitions stand; answers those that could not be asked.
    async fn look(
        &self,
        router: &Router,
        before: &mut HashMap<u16, u64>,
        partitions: impl IntoIterator<Item = u16>,
    ) -> Vec<u16> {
        let calls: Vec<Call> = partitions
            .into_iter()
            .map(|partition| Call {
                order: Order::Run(Script::Epoch),
                partition,
                args: self.common.standing_args(partition),
            })
            .collect();
        let (mut failed, mut gap) = (Vec::new(), false);
        for (call, answer) in calls.iter().zip(router.probe(&calls).await) {
            let noted = answer.map(|answer| self.common.note(call.partition, &answer));
            match noted {
                Ok(Ok((standing, news))) => {
                    self.common.clock.set(standing.now);
                    let reached = before.insert(call.partition, standing.seq);
                    gap |= news | self.is_behind(call.partition, reached, standing.seq);
                }
                Ok(Err(error)) => {
                    tracing::error!(%error, "what Redis holds is not what it held");
                    router.distrust(call.partition);
                    failed.push(call.partition);
                }
                Err(_away) => failed.push(call.partition),
            }
        }
        if gap {
            self.tell(Change::Gap);
        }
        failed
    }

    /// Whether something was announced that this process did not hear. `before` is what the store had reached a second
    /// ago.
    fn is_behind(&self, partition: u16, before: Option<u64>, reached: u64) -> bool {
        let (Some(heard), Some(before)) = (self.heard.get(usize::from(partition)), before) else {
            return false;
        };
        let last = heard.load(Ordering::Acquire);
        let behind = last != NEVER && (last < before || reached < before);
        if behind {
            heard.store(reached, Ordering::Release);
        }
        behind
    }

    async fn follow_all(self: Arc<Self>, link: Arc<Link>, partitions: Arc<[u16]>) {
        loop {
            if let Err(error) = self.follow(&link, &partitions).await {
                tracing::debug!(%error, server = %link.dialer(), "lost the subscription to Redis");
            }
            sleep(RETRY_AFTER.mul_f64(rand::random_range(0.5..1.0))).await;
        }
    }

    pub(super) fn hear_message(&self, channel: &[u8], payload: &[u8]) {
        let partition = std::str::from_utf8(channel)
            .ok()
            .and_then(keys::partition_of_channel);
        let heard = partition.and_then(|it| Some((it, self.heard.get(usize::from(it))?)));
        let (Some((partition, heard)), Some(message)) = (heard, message::decode(payload)) else {
            self.tell(Change::Gap);
            return;
        };
        self.common.ledger.saw(partition, message.seq);
        let is_news = self.common.ledger.heard_epoch(partition, message.epoch);
        let last = heard.fetch_max(message.seq, Ordering::AcqRel);
        if is_news || message.seq > last.saturating_add(1) {
            self.tell(Change::Gap);
        }
        if message.changes.iter().any(may_be_ready) {
            self.prompts.announce(message.seq);
        }
        if let Some(message) = self.echoes.hold(message) {
            self.pass_on(message);
        }
    }

    /// Tells what a message says.
    pub(super) fn pass_on(&self, message: Message) {
        // Before anybody looks: what others have added is known to be there, and has to be read.
        for (batch, reaches) in message.reaches {
            self.recent.heard(batch, reaches);
        }
        for change in message.changes {
            self.tell(change);
        }
    }

    /// From now on every announcement after the one with this number is heard.
    pub(super) fn stands_at(&self, partition: u16, seq: u64) {
        if let Some(heard) = self.heard.get(usize::from(partition)) {
            heard.store(seq, Ordering::Release);
        }
        self.stood.send_replace(());
    }

    pub(super) fn tell(&self, change: Change) {
        match &change {
            Change::Gap => {
                self.recent.missed_some();
                self.prompts.missed_some();
            }
            Change::Amended(batch) => self.recent.amended(*batch),
            Change::Moved(_) | Change::Noted(_) => {}
        }
        // Nobody may be listening.
        let _ = self.sender.send(change);
    }
}

/// Whether something may be ready that was not before.
fn may_be_ready(change: &Change) -> bool {
    match change {
        Change::Moved(moved) => moved.iter().any(|it| it.status == Status::Queued),
        Change::Amended(_) | Change::Gap => true,
        Change::Noted(_) => false,
    }
}
