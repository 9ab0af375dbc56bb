//! The subscription to one server.

use std::time::Duration;

use redis::{
    Client, Pipeline, ProtocolVersion, PushInfo, PushKind, RedisError, Value,
    aio::MultiplexedConnection,
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    error,
    feed::Feed,
    keys::{self, Keys},
    link::{CONNECT_TIMEOUT, Link, settings},
    reply,
};
use crate::store::{Change, Error};

/// How often the subscription is asked whether it is alive, and made for partitions that lack it.
const TEND_EVERY: Duration = Duration::from_secs(1);

impl Feed {
    /// Hears these partitions until the connection ends or leads to the wrong server.
    ///
    /// # Errors
    /// Why it ended; it never ends otherwise.
    pub(super) async fn follow(&self, link: &Link, partitions: &[u16]) -> Result<(), Error> {
        let mut made = link.made();
        made.mark_unchanged();
        let (pushes, mut pushed) = mpsc::unbounded_channel();
        let mut connection = in_time(self.connect(link, pushes)).await?;
        let mut missing = partitions.to_vec();
        let mut ticks = interval(TEND_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                push = pushed.recv() => match push {
                    Some(push) => missing.extend(self.hear(&push)?),
                    None => return Err(ended()),
                },
                _ = ticks.tick() => {
                    let before = missing.len();
                    missing = in_time(self.tend(link, &mut connection, missing)).await?;
                    if missing.len() < before {
                        self.tell(Change::Gap);
                    }
                }
                // The commands go to another server now, or to the same after a restart.
                _ = made.changed() => return Err(ended()),
            }
        }
    }

    async fn connect(
        &self,
        link: &Link,
        pushes: mpsc::UnboundedSender<PushInfo>,
    ) -> Result<MultiplexedConnection, Error> {
        let server = link.dialer().server().await?;
        let login = server.redis_settings().clone();
        let server = server.set_redis_settings(login.set_protocol(ProtocolVersion::RESP3));
        let client = Client::open(server).map_err(of_transport)?;
        let settings = settings().set_push_sender(pushes);
        let connect = client.get_multiplexed_async_connection_with_config(&settings);
        connect.await.map_err(of_transport)
    }

    /// Asks who reigns there, which shows that the connection is alive, and subscribes to those partitions that are
    /// missing. Answers which still are: those that have gone elsewhere or are on their way, and those that were not
    /// compared yet under this reign. Numbers of theirs could be taken for ones that were given out before it.
    async fn tend(
        &self,
        link: &Link,
        connection: &mut MultiplexedConnection,
        missing: Vec<u16>,
    ) -> Result<Vec<u16>, Error> {
        let mut ask = redis::cmd("INFO");
        let info: String = ask
            .arg("replication")
            .query_async(connection)
            .await
            .map_err(of_transport)?;
        let reign = info
            .lines()
            .find_map(|line| line.strip_prefix("master_replid:"));
        let reign = reign.unwrap_or("unknown").trim();
        let (ours, mut missing): (Vec<u16>, Vec<u16>) = missing
            .into_iter()
            .partition(|partition| self.common.ledger.is_under(*partition, reign));
        let mut asked = Vec::with_capacity(ours.len());
        let subscribe = keys::subscribe(self.common.cluster && link.is_modern());
        for partition in ours {
            let mut ask = redis::cmd(subscribe);
            ask.arg(Keys::of(partition).channel());
            match ask.query_async::<Value>(connection).await {
                Ok(_) => asked.push(partition),
                Err(refusal) if refusal.code().is_some() => missing.push(partition),
                Err(failure) => return Err(of_transport(failure)),
            }
        }
        missing.extend(self.begin(connection, &asked).await?);
        Ok(missing)
    }

    /// Takes note of how far every partition is: whatever happened up to here can be read by whoever hears of the gap,
    /// and what follows is numbered. Answers those that did not say.
    async fn begin(
        &self,
        connection: &mut MultiplexedConnection,
        partitions: &[u16],
    ) -> Result<Vec<u16>, Error> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::with_capacity(partitions.len());
        for partition in partitions {
            let meta = Keys::of(*partition).meta();
            pipeline.cmd("HGET").arg(meta).arg("seq");
        }
        let answers = connection
            .send_packed_commands(&pipeline, 0, pipeline.len())
            .await
            .map_err(of_transport)?;
        let mut missing = Vec::new();
        for (partition, answer) in partitions.iter().zip(answers) {
            match reply::count(&answer) {
                Some(seq) => self.stands_at(*partition, seq),
                None => missing.push(*partition),
            }
        }
        Ok(missing)
    }

    /// Passes a message on. Answers the partition whose subscription the server ended: it has moved.
    fn hear(&self, push: &PushInfo) -> Result<Option<u16>, Error> {
        match (&push.kind, &push.data[..]) {
            (PushKind::Message | PushKind::SMessage, [channel, payload]) => {
                let channel = reply::bytes(channel).unwrap_or_default();
                self.hear_message(channel, reply::bytes(payload).unwrap_or_default());
                Ok(None)
            }
            (PushKind::SUnsubscribe | PushKind::Unsubscribe, [channel, ..]) => {
                let channel = std::str::from_utf8(reply::bytes(channel).unwrap_or_default());
                let partition = channel.ok().and_then(keys::partition_of_channel);
                partition.map(Some).ok_or_else(ended)
            }
            (PushKind::Disconnection, _) => Err(ended()),
            _ => Ok(None),
        }
    }
}

fn of_transport(failure: RedisError) -> Error {
    error::of_transport(&failure)
}

fn ended() -> Error {
    Error::Unavailable("the subscription ended".into())
}

async fn in_time<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = |_| Error::Unavailable("no answer in time".into());
    timeout(2 * CONNECT_TIMEOUT, work).await.map_err(late)?
}
