//! Finding the primary that sentinels know.

use std::{fmt, sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use redis::{Client, ConnectionAddr, ConnectionInfo, RedisConnectionInfo};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::link::{CONNECT_TIMEOUT, Link, settings};
use crate::store::Error;

/// How often the sentinels are asked whether the primary is still the same: one that was cut off from them may
/// answer as if nothing had happened.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The sentinels of one primary.
pub(super) struct Sentinels {
    nodes: Vec<ConnectionInfo>,
    master: String,
    login: RedisConnectionInfo,
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

    /// The primary as most sentinels know it, or as most of those that answer do: one that was cut off from the
    /// others may name a server that has been replaced.
    ///
    /// # Errors
    /// No sentinel answers, or none knows the primary.
    pub(super) async fn primary(&self) -> Result<ConnectionInfo, Error> {
        let asked = self.nodes.iter().map(|node| self.ask(node));
        let mut answers: FuturesUnordered<_> = asked.collect();
        let mut votes: Vec<(ConnectionInfo, usize)> = Vec::new();
        while let Some(answer) = answers.next().await {
            let Some(named) = answer else { continue };
            match votes
                .iter_mut()
                .find(|(info, _)| info.addr() == named.addr())
            {
                Some((_, count)) => *count += 1,
                None => votes.push((named, 1)),
            }
            let most = self.nodes.len() / 2;
            if let Some((info, _)) = votes.iter().find(|(_, count)| *count > most) {
                return Ok(info.clone());
            }
        }
        let chosen = votes.into_iter().max_by_key(|(_, count)| *count);
        chosen.map(|(info, _)| info).ok_or_else(|| {
            Error::Unavailable(format!(
                "no sentinel knows a primary called {}; check the name and the sentinels' addresses",
                self.master
            ))
        })
    }

    async fn ask(&self, node: &ConnectionInfo) -> Option<ConnectionInfo> {
        let client = Client::open(node.clone()).ok()?;
        let question = async {
            let settings = settings();
            let connect = client.get_multiplexed_async_connection_with_config(&settings);
            let mut connection = connect.await.ok()?;
            let mut ask = redis::cmd("SENTINEL");
            ask.arg("get-master-addr-by-name").arg(&self.master);
            ask.query_async::<Option<(String, u16)>>(&mut connection)
                .await
                .ok()?
        };
        let (host, port) = timeout(CONNECT_TIMEOUT, question).await.ok()??;
        let info = node.clone().set_addr(at(node.addr(), host, port));
        Some(info.set_redis_settings(self.login.clone()))
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
