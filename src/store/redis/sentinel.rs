//! Finding the primary that sentinels know.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use redis::{Client, ConnectionAddr, ConnectionInfo, Pipeline, RedisConnectionInfo, Value};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::link::{CONNECT_TIMEOUT, Link, settings};
use crate::store::Error;

/// How often the sentinels are asked whether the primary is still the same: one that was cut off from them may
/// answer as if nothing had happened.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The sentinels of one primary.
pub(super) struct Sentinels {
    nodes: Vec<ConnectionInfo>,
    master: String,
    login: RedisConnectionInfo,
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
        }
    }

    /// The primary as most sentinels know it; where there is no such majority, as the one with the latest failover
    /// knows it. One that was cut off from the others may name a server that has been replaced.
    ///
    /// # Errors
    /// No sentinel answers, or none knows the primary.
    pub(super) async fn primary(&self) -> Result<ConnectionInfo, Error> {
        let asked = self.nodes.iter().map(|node| self.ask(node));
        let mut answers: FuturesUnordered<_> = asked.collect();
        let mut votes: Vec<Vote> = Vec::new();
        while let Some(answer) = answers.next().await {
            let Some((named, epoch)) = answer else {
                continue;
            };
            match votes.iter_mut().find(|it| it.info.addr() == named.addr()) {
                Some(vote) => {
                    vote.count += 1;
                    vote.epoch = vote.epoch.max(epoch);
                }
                None => votes.push(Vote {
                    info: named,
                    epoch,
                    count: 1,
                }),
            }
            let most = self.nodes.len() / 2;
            if let Some(vote) = votes.iter().find(|vote| vote.count > most) {
                return Ok(vote.info.clone());
            }
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
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Ok(primary) = self.primary().await
                && link.leads_elsewhere(primary.addr())
            {
                link.reconnect("the sentinels have chosen another primary");
            }
        }
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
