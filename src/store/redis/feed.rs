//! From what scripts announce to what this process hears: one subscription, however many listen.
//!
//! Messages are numbered by partition. A gap in the numbers, a new subscription, or a number that the store has
//! reached and this process has not heard of for a second is told as [`Change::Gap`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use redis::{Client, Pipeline, Value, aio::PubSub};
use tokio::{
    sync::{broadcast, watch},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    keys::{self, Keys},
    link::{CONNECT_TIMEOUT, Link},
    message, reply,
};
use crate::store::{Change, Error};

/// Changes that a listener of this process may lag behind before it is told of a gap.
const CAPACITY: usize = 4_096;
/// How often the store is asked how far it is, and the subscription whether it is alive.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// How long a start waits for the first subscription.
const STANDS_WITHIN: Duration = Duration::from_secs(3);
/// Between attempts to subscribe.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// What this process hears.
#[derive(Debug)]
pub(super) struct Feed {
    sender: broadcast::Sender<Change>,
    /// Whether the subscription stood at least once.
    stood: watch::Sender<bool>,
    /// The last number heard, by partition.
    heard: Vec<AtomicU64>,
}

impl Feed {
    pub(super) fn new(partitions: u16) -> Self {
        Feed {
            sender: broadcast::channel(CAPACITY).0,
            stood: watch::channel(false).0,
            heard: (0..partitions).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<Change> {
        self.sender.subscribe()
    }

    /// Waits until this process hears.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it does not come to that in time.
    pub(super) async fn stands(&self) -> Result<(), Error> {
        let mut stood = self.stood.subscribe();
        match timeout(STANDS_WITHIN, stood.wait_for(|stood| *stood)).await {
            Ok(_stood) => Ok(()),
            Err(_late) => Err(Error::Unavailable("no subscription in time".into())),
        }
    }

    /// Subscribes, and again whenever that fails; runs until it is dropped.
    pub(super) async fn subscribe(self: Arc<Self>, client: Client, link: Arc<Link>) {
        loop {
            if let Err(error) = self.follow(&client, &link).await {
                tracing::debug!(%error, "lost the subscription to Redis");
            }
            sleep(RETRY_AFTER.mul_f64(rand::random_range(0.5..1.0))).await;
        }
    }

    /// Compares how far the store is with what was heard; runs until it is dropped. The same question tells the
    /// link that its connection is alive, and this process what time it is there.
    pub(super) async fn probe(self: Arc<Self>, link: Arc<Link>) {
        let mut ticks = interval(PROBE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before: Vec<u64> = Vec::new();
        loop {
            ticks.tick().await;
            // Asked again at once after a failure: a dead connection shall be known within seconds.
            for _ in 0..2 {
                if let Ok(reached) = self.reached(&link).await {
                    self.compare(&before, &reached);
                    before = reached;
                    break;
                }
            }
        }
    }

    async fn follow(&self, client: &Client, link: &Link) -> Result<(), Error> {
        let late = |_| Error::Unavailable("no answer in time".into());
        let connect = timeout(CONNECT_TIMEOUT, self.connect(client));
        let (mut sink, mut messages) = connect.await.map_err(late)??.split();
        // Whatever happened up to here can be read by whoever hears of the gap; what follows is numbered.
        for (heard, reached) in self.heard.iter().zip(self.reached(link).await?) {
            heard.store(reached, Ordering::Relaxed);
        }
        self.tell(Change::Gap);
        self.stood.send_replace(true);
        let mut pings = interval(PROBE_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) => self.hear(message.get_channel_name(), message.get_payload_bytes()),
                    None => return Err(Error::Unavailable("the subscription ended".into())),
                },
                _ = pings.tick() => {
                    let ping = timeout(CONNECT_TIMEOUT, sink.ping::<Value>());
                    ping.await.map_err(late)?.map_err(|failure| super::error::of_transport(&failure))?;
                }
            }
        }
    }

    async fn connect(&self, client: &Client) -> Result<PubSub, Error> {
        let of_transport = |failure| super::error::of_transport(&failure);
        let mut subscription = client.get_async_pubsub().await.map_err(of_transport)?;
        for partition in 0..self.heard.len() as u16 {
            let channel = Keys::of(partition).channel();
            subscription
                .subscribe(channel)
                .await
                .map_err(of_transport)?;
        }
        Ok(subscription)
    }

    fn hear(&self, channel: &str, payload: &[u8]) {
        let partition = keys::partition_of_channel(channel).map(usize::from);
        let heard = partition.and_then(|partition| self.heard.get(partition));
        let (Some(heard), Some(message)) = (heard, message::decode(payload)) else {
            self.tell(Change::Gap);
            return;
        };
        let last = heard.fetch_max(message.seq, Ordering::Relaxed);
        if message.seq > last + 1 {
            self.tell(Change::Gap);
        }
        for change in message.changes {
            self.tell(change);
        }
    }

    fn tell(&self, change: Change) {
        // Nobody may be listening.
        let _ = self.sender.send(change);
    }

    /// Asks how far each partition is.
    async fn reached(&self, link: &Link) -> Result<Vec<u64>, Error> {
        let mut pipeline = Pipeline::with_capacity(self.heard.len() + 1);
        for partition in 0..self.heard.len() as u16 {
            pipeline
                .cmd("HGET")
                .arg(Keys::of(partition).meta())
                .arg("seq");
        }
        pipeline.cmd("TIME");
        let answers = link.probe(&pipeline).await?;
        let (time, seqs) = answers.split_last().ok_or_else(|| reply::odd("the time"))?;
        if let Some([seconds, micros]) = reply::array(time)
            && let (Some(seconds), Some(micros)) = (reply::int(seconds), reply::int(micros))
        {
            link.set_time(seconds * 1_000 + micros / 1_000);
        }
        let seqs: Option<Vec<u64>> = seqs.iter().map(reply::count).collect();
        seqs.ok_or_else(|| reply::odd("the announcements so far"))
    }

    /// `before` is what the store had reached a second ago.
    fn compare(&self, before: &[u64], reached: &[u64]) {
        let mut gap = false;
        for ((heard, before), reached) in self.heard.iter().zip(before).zip(reached) {
            let unheard = heard.load(Ordering::Relaxed) < *before;
            let fell_back = reached < before;
            if fell_back {
                tracing::error!(
                    before,
                    reached,
                    "Redis came back with less than it had: what it accepted last, or everything, is lost; \
                     turn its append-only file on"
                );
            }
            if unheard || fell_back {
                heard.store(*reached, Ordering::Relaxed);
                gap = true;
            }
        }
        if gap {
            self.tell(Change::Gap);
        }
    }
}
