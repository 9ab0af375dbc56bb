//! Making a connection to the primary of some partitions, and making sure that it will do.

use std::{fmt, sync::Arc};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, Pipeline,
    aio::MultiplexedConnection,
};
use tokio::time::timeout;

use super::{
    durable::Wait,
    error,
    keys::Keys,
    ledger::{self, Ledger, Standing},
    link,
    script::{Home, Script, Scripts},
    sentinel::Sentinels,
    server::{self, ConnectError, SCHEMA},
};
use crate::store::{Durability, Error};

/// Where to dial.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// This server.
    Fixed(Box<ConnectionInfo>),
    /// The primary that sentinels know.
    Sentinels(Arc<Sentinels>),
}

/// What all connections of a store have in common.
#[derive(Debug)]
pub(super) struct Common {
    /// Over how many partitions ids are spread.
    pub(super) partitions: u16,
    /// The server may evict what it holds.
    pub(super) allow_eviction: bool,
    pub(super) ledger: Ledger,
    pub(super) clock: super::clock::StoreClock,
    /// Whether the servers form a cluster.
    pub(super) cluster: bool,
    /// What submits wait for.
    pub(super) wait: Option<Wait>,
}

/// Makes connections to one target.
#[derive(Clone)]
pub(super) struct Dialer {
    target: Target,
    common: Arc<Common>,
}

/// A connection that may be used.
pub(super) struct Dialled {
    pub(super) connection: MultiplexedConnection,
    pub(super) waiting: Option<(MultiplexedConnection, Wait)>,
    pub(super) addr: ConnectionAddr,
    pub(super) scripts: Arc<Scripts>,
    /// It knows sharded channels.
    pub(super) modern: bool,
    pub(super) durability: Durability,
    /// The partitions that were entered.
    pub(super) entered: Vec<u16>,
}

impl fmt::Display for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Fixed(info) => info.addr().fmt(f),
            Target::Sentinels(sentinels) => sentinels.fmt(f),
        }
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Dialer {
    pub(super) fn new(target: Target, common: Arc<Common>) -> Self {
        Dialer { target, common }
    }

    /// The server to dial now.
    pub(super) async fn server(&self) -> Result<ConnectionInfo, Error> {
        match &self.target {
            Target::Fixed(info) => Ok(ConnectionInfo::clone(info)),
            Target::Sentinels(sentinels) => sentinels.primary().await,
        }
    }

    /// Connects, checks the server, and enters the partitions.
    pub(super) async fn dial(&self, partitions: &[u16]) -> Result<Dialled, ConnectError> {
        let server = self.server().await?;
        let addr = server.addr().clone();
        let client = Client::open(server)?;
        let mut connection = connect(&client, &link::settings()).await?;
        let server = server::inspect(
            &mut connection,
            self.common.allow_eviction,
            self.common.cluster,
        )
        .await?;
        self.still_leads_to(&addr).await?;
        let scripts = Arc::new(Scripts::new(Home {
            modern: server.modern,
            cluster: self.common.cluster,
            whole: self.common.partitions == 1,
        }));
        let waiting = match self.common.wait {
            Some(wait) if wait.fsync && !server.waits_for_disks => {
                return Err(ConnectError::NoDiskWait);
            }
            Some(wait) => {
                let settings = link::settings();
                let settings =
                    settings.set_response_timeout(Some(link::RESPONSE_TIMEOUT + wait.timeout));
                Some((connect(&client, &settings).await?, wait))
            }
            None => None,
        };
        let entered = self.enter(&mut connection, &scripts, partitions).await?;
        Ok(Dialled {
            connection,
            waiting,
            addr,
            scripts,
            modern: server.modern,
            durability: server.durability,
            entered,
        })
    }

    /// One that stood still when it was dialled may answer only after another has taken its place, and take itself for
    /// the primary until the sentinels tell it otherwise. What it accepted would be lost.
    async fn still_leads_to(&self, addr: &ConnectionAddr) -> Result<(), Error> {
        match &self.target {
            Target::Sentinels(sentinels) if sentinels.primary().await?.addr() != addr => Err(
                Error::Unavailable("the sentinels have chosen another primary".into()),
            ),
            _ => Ok(()),
        }
    }

    /// Asks every partition how it stands; makes those that are not there. Answers which were entered so: all but
    /// those that are on their way to another node.
    pub(super) async fn enter(
        &self,
        connection: &mut MultiplexedConnection,
        scripts: &Scripts,
        partitions: &[u16],
    ) -> Result<Vec<u16>, ConnectError> {
        let mut pipeline = Pipeline::with_capacity(partitions.len() + 1);
        pipeline
            .cmd("SCRIPT")
            .arg("LOAD")
            .arg(scripts.text(Script::Epoch));
        for partition in partitions {
            pipeline
                .cmd("EVALSHA")
                .arg(scripts.hash(Script::Epoch))
                .arg(1)
                .arg(Keys::of(*partition).meta());
            for arg in self.common.standing_args(*partition) {
                pipeline.arg(arg);
            }
        }
        let answers = connection
            .send_packed_commands(&pipeline, 0, pipeline.len())
            .await?;
        let mut entered = Vec::with_capacity(partitions.len());
        for (partition, answer) in partitions.iter().zip(answers.into_iter().skip(1)) {
            if self.common.cluster && error::is_astray(&answer) {
                continue;
            }
            self.common.note(*partition, &error::answered(answer)?)?;
            entered.push(*partition);
        }
        Ok(entered)
    }
}

async fn connect(
    client: &Client,
    settings: &AsyncConnectionConfig,
) -> Result<MultiplexedConnection, ConnectError> {
    let connect = client.get_multiplexed_async_connection_with_config(settings);
    let late = |_| Error::Unavailable("no answer in time".into());
    // The crate's own time-out does not cover the greeting.
    Ok(timeout(2 * link::CONNECT_TIMEOUT, connect)
        .await
        .map_err(late)??)
}

impl Common {
    /// The arguments of the `epoch` script.
    pub(super) fn standing_args(&self, partition: u16) -> Vec<Vec<u8>> {
        let [seen, epoch, reign] = self.ledger.page(partition);
        let partitions = self.partitions.to_string().into_bytes();
        vec![
            seen,
            epoch,
            reign,
            SCHEMA.to_string().into_bytes(),
            partitions,
        ]
    }

    /// Takes note of what the `epoch` script answered; with it, whether the epoch is news.
    ///
    /// # Errors
    /// The data is not what this process expects.
    pub(super) fn note(
        &self,
        partition: u16,
        answer: &redis::Value,
    ) -> Result<(Standing, bool), ConnectError> {
        let (standing, [schema, partitions]) = Standing::read(answer).ok_or_else(ledger::odd)?;
        if schema != SCHEMA.to_string() {
            return Err(ConnectError::Schema(schema));
        }
        if partitions != self.partitions.to_string() {
            return Err(ConnectError::Partitions {
                wanted: self.partitions,
                stored: partitions,
            });
        }
        let news = self.ledger.enter(partition, &standing);
        Ok((standing, news))
    }
}
