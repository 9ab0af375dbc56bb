//! Finding the primary that sentinels know.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{Client, ConnectionAddr, ConnectionInfo, Pipeline, RedisConnectionInfo, Value};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::{
    link::{CONNECT_TIMEOUT, Link, settings},
    quorum::most,
};
use crate::store::Error;

/// How often the sentinels are asked whether the primary is still the same: one that was cut off from them may
/// answer as if nothing had happened.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The sentinels of one primary.
pub(super) struct Sentinels {
    nodes: Vec<ConnectionInfo>,
    master: String,
    login: RedisConnectionInfo,
    /// Somebody wants a look taken at once.
    wanted: Notify,
    /// The number of the look that was begun last.
    begun: AtomicU64,
    /// The look that ended last.
    ended: watch::Sender<Look>,
}

/// What asking the sentinels came to.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    number: u64,
    /// The link's server was the primary.
    confirmed: bool,
}

/// A server that sentinels name.
struct Vote {
    info: ConnectionInfo,
    epoch: u64,
    count: usize,
}

impl fmt::Display for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "primary {}", self.master)
    }
}

impl fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Sentinels {
    pub(super) fn new(
        nodes: Vec<ConnectionInfo>,
        master: String,
        login: RedisConnectionInfo,
    ) -> Self {
        Sentinels {
            nodes,
            master,
            login,
            wanted: Notify::new(),
            begun: AtomicU64::new(0),
            ended: watch::Sender::default(),
        }
    }

    /// The primary as the sentinel with the latest failover knows it: the others hear of it up to two seconds later,
    /// and one that was cut off from them may name a server that has been replaced.
    ///
    /// # Errors
    /// No sentinel answers, or none knows the primary.
    pub(super) async fn primary(&self) -> Result<ConnectionInfo, Error> {
        let mut votes: Vec<Vote> = Vec::new();
        let asked = self.nodes.iter().map(|node| self.ask(node)).collect();
        for (named, epoch) in most(asked).await {
            votes.push(Vote::new(named, epoch, &votes));
        }
        let chosen = votes.into_iter().max_by_key(|it| (it.epoch, it.count));
        chosen.map(|vote| vote.info).ok_or_else(|| {
            Error::Unavailable(format!(
                "no sentinel knows a primary called {}; check the name and the sentinels' addresses",
                self.master
            ))
        })
    }

    /// The primary that a sentinel names, and the number of the failover that made it so.
    async fn ask(&self, node: &ConnectionInfo) -> Option<(ConnectionInfo, u64)> {
        let client = Client::open(node.clone()).ok()?;
        let question = async {
            let settings = settings();
            let connect = client.get_multiplexed_async_connection_with_config(&settings);
            let mut connection = connect.await.ok()?;
            let mut pipeline = Pipeline::new();
            for question in ["get-master-addr-by-name", "master"] {
                let ask = pipeline.cmd("SENTINEL");
                ask.arg(question).arg(&self.master);
            }
            connection.send_packed_commands(&pipeline, 0, 2).await.ok()
        };
        let answers = timeout(CONNECT_TIMEOUT, question).await.ok()??;
        let [named, details] = <[Value; 2]>::try_from(answers).ok()?;
        let (host, port) = redis::from_redis_value::<Option<(String, u16)>>(named).ok()??;
        // Not every stand-in for a sentinel knows the second question.
        let details = redis::from_redis_value::<HashMap<String, String>>(details);
        let epoch = details
            .ok()
            .and_then(|it| it.get("config-epoch")?.parse().ok());
        let info = node.clone().set_addr(at(node.addr(), host, port));
        let info = info.set_redis_settings(self.login.clone());
        Some((info, epoch.unwrap_or_default()))
    }

    /// Gives the link's connection up when the sentinels have chosen another primary; runs until it is dropped.
    pub(super) async fn watch(self: Arc<Self>, link: Arc<Link>) {
        for number in 1.. {
            let _ = timeout(LOOK_EVERY, self.wanted.notified()).await;
            self.begun.store(number, Ordering::SeqCst);
            let primary = self.primary().await;
            let moved = matches!(&primary, Ok(it) if link.leads_elsewhere(it.addr()));
            if moved {
                link.reconnect("the sentinels have chosen another primary");
            }
            self.ended.send_replace(Look {
                number,
                confirmed: primary.is_ok() && !moved,
            });
        }
    }

    /// Whether a look at the sentinels that begins from now on finds the link's server still the primary. One look
    /// answers everybody who asked before it.
    pub(super) async fn confirm(&self) -> bool {
        let before = self.begun.load(Ordering::SeqCst);
        let mut ended = self.ended.subscribe();
        self.wanted.notify_one();
        let look = ended.wait_for(|look| look.number > before).await;
        look.is_ok_and(|look| look.confirmed)
    }
}

impl Vote {
    /// Counts those before it that name the same server.
    fn new(info: ConnectionInfo, epoch: u64, others: &[Vote]) -> Self {
        let same = others.iter().filter(|it| it.info.addr() == info.addr());
        let count = same.count() + 1;
        Vote { info, epoch, count }
    }
}

/// Another server, reached as `like` is.
pub(super) fn at(like: &ConnectionAddr, host: String, port: u16) -> ConnectionAddr {
    match like {
        ConnectionAddr::TcpTls {
            insecure,
            tls_params,
            ..
        } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host, port),
    }
}
