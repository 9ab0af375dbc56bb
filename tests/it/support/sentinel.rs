//! A primary, two replicas and three Sentinels: real processes that fail over by themselves.

mod process;

use std::{collections::HashMap, time::Duration};

use ::redis::cmd;
use futures::future::join_all;

use super::{eventually, port, redis::RedisServer};
use process::Sentinel;

/// What the Sentinels call the set.
pub(crate) const MASTER: &str = "tidings";

/// A failover takes about two seconds; Sentinels whose votes were split try again after six, and a replica whose greeting
/// was broken off in the middle after a minute (`repl-timeout`).
const FAILOVER_WITHIN: Duration = Duration::from_secs(120);

/// Three servers, of which one is the primary, and the Sentinels that watch them. A server is named by its port.
#[derive(Debug)]
pub(crate) struct SentinelSet {
    servers: Vec<RedisServer>,
    sentinels: Vec<Sentinel>,
    args: Vec<String>,
}

impl SentinelSet {
    /// Starts them all, the servers with further arguments such as `--appendonly yes`, and waits until they are settled.
    pub(crate) async fn start(args: &[&str]) -> Self {
        // Without this a replica waits five seconds for others that could share its copy.
        let args = [&["--repl-diskless-sync-delay", "0"], args].concat();
        let primary = RedisServer::start(&args).await;
        let of = primary.port().to_string();
        let as_replica = [args.as_slice(), &["--replicaof", "127.0.0.1", &of]].concat();
        let replicas = join_all((0..2).map(|_| RedisServer::start(&as_replica))).await;
        let mut set = SentinelSet {
            servers: std::iter::once(primary).chain(replicas).collect(),
            sentinels: Vec::new(),
            args: args.iter().map(ToString::to_string).collect(),
        };
        let ports: [u16; 3] = std::array::from_fn(|_| port::free());
        set.sentinels = ports
            .map(|own| Sentinel::new(own, &ports, &set.ports()))
            .into();
        join_all(set.sentinels.iter_mut().map(Sentinel::restart)).await;
        set.wait_settled().await;
        set.wait_fed().await;
        set
    }

    /// Waits until every replica that runs has said that it has all that the primary wrote so far.
    pub(crate) async fn wait_fed(&self) {
        let replicas = self.servers.iter().filter(|s| s.is_running()).count() - 1;
        eventually("the replicas are fed", FAILOVER_WITHIN, async || {
            let primary = self.agreed().await?;
            self.server(primary).feeds(replicas).await
        })
        .await;
    }

    /// How to connect to whichever server is the primary.
    pub(crate) fn url(&self) -> String {
        let hosts = self
            .sentinels
            .iter()
            .map(|s| format!("127.0.0.1:{}", s.port));
        let hosts: Vec<_> = hosts.collect();
        format!("redis+sentinel://{}/{MASTER}", hosts.join(","))
    }

    /// Where the servers listen, the first primary first.
    pub(crate) fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(RedisServer::port).collect()
    }

    /// The server on this port.
    pub(crate) fn server(&self, port: u16) -> &RedisServer {
        let found = self.servers.iter().find(|server| server.port() == port);
        found.expect("a server of this set")
    }

    fn server_mut(&mut self, port: u16) -> &mut RedisServer {
        let mut servers = self.servers.iter_mut();
        let found = servers.find(|server| server.port() == port);
        found.expect("a server of this set")
    }

    /// The server that all Sentinels which run call the primary, once they do.
    pub(crate) async fn primary(&self) -> u16 {
        eventually("the sentinels agree", FAILOVER_WITHIN, async || {
            self.agreed().await
        })
        .await
    }

    /// Kills the primary and says which it was.
    pub(crate) async fn kill_primary(&mut self) -> u16 {
        let primary = self.primary().await;
        self.server_mut(primary).kill();
        primary
    }

    /// Stops the primary as `kill -STOP` does and says which it was. It still takes itself for the primary when it is
    /// resumed, until the Sentinels tell it otherwise.
    pub(crate) async fn pause_primary(&self) -> u16 {
        let primary = self.primary().await;
        self.server(primary).pause();
        primary
    }

    /// Lets a paused server go on.
    pub(crate) fn resume(&self, port: u16) {
        self.server(port).resume();
    }

    /// Starts the servers that were killed. One that the Sentinels have replaced comes back as a replica; one that they
    /// still call the primary comes back as that, with what it kept on disk, which may be nothing.
    pub(crate) async fn restart_dead(&mut self) {
        let primary = self.primary().await;
        let as_replica = ["--replicaof", "127.0.0.1", &primary.to_string()].map(String::from);
        for server in self
            .servers
            .iter_mut()
            .filter(|server| !server.is_running())
        {
            let mut args = self.args.clone();
            if server.port() != primary {
                args.extend_from_slice(&as_replica);
            }
            server.set_args(args);
            server.restart().await;
        }
    }

    /// Has the Sentinels replace a primary that is well. Does not wait for it.
    pub(crate) async fn failover(&self) {
        let mut failover = cmd("SENTINEL");
        failover.arg("FAILOVER").arg(MASTER);
        let asked = self.sentinels.iter().find(|s| s.is_running()).unwrap();
        // Refused while an earlier one is under way or no replica is known to be fit.
        eventually("a failover begins", FAILOVER_WITHIN, async || {
            asked.ask::<()>(&failover).await
        })
        .await;
    }

    /// Waits until all Sentinels that run call another server than `old` the primary, and it takes itself for it.
    pub(crate) async fn wait_for_new_primary(&self, old: u16) -> u16 {
        eventually("there is a new primary", FAILOVER_WITHIN, async || {
            let new = self.agreed().await?;
            let replication = replication(self.server(new)).await?;
            (new != old && replication.get("role")? == "master").then_some(new)
        })
        .await
    }

    /// Waits until every Sentinel that runs knows the same primary and all the others, and every server that runs
    /// follows that primary and is level with it.
    pub(crate) async fn wait_settled(&self) -> u16 {
        eventually("the set is settled", FAILOVER_WITHIN, async || {
            let primary = self.agreed().await?;
            for sentinel in self.sentinels.iter().filter(|s| s.is_running()) {
                sentinel.is_informed().await.then_some(())?;
            }
            let written = offset(&replication(self.server(primary)).await?, "master")?;
            for server in self.servers.iter().filter(|s| s.is_running()) {
                let found = replication(server).await?;
                let fit = if server.port() == primary {
                    found.get("role")? == "master"
                } else {
                    *found.get("master_port")? == primary.to_string()
                        && found.get("master_link_status")? == "up"
                        && offset(&found, "slave")? >= written
                };
                fit.then_some(())?;
            }
            Some(primary)
        })
        .await
    }

    /// From now on nothing that is written to the primary reaches a replica, so that the next failover loses it. The
    /// primary goes on acknowledging. A restart, or [`Self::mend_replication`], ends it.
    pub(crate) async fn cut_replication(&self) {
        let primary = self.server(self.primary().await);
        let mut connection = primary.connect().await.expect("the primary is up");
        // Whoever lost its link may not open it again.
        let cut: ::redis::RedisResult<()> = ::redis::pipe()
            .cmd("ACL")
            .arg(&["SETUSER", "default", "-psync", "-sync"])
            .cmd("CLIENT")
            .arg(&["KILL", "TYPE", "replica"])
            .query_async(&mut connection)
            .await;
        cut.unwrap();
        eventually("the replicas are cut off", FAILOVER_WITHIN, async || {
            let found = replication(primary).await?;
            (found.get("connected_slaves")? == "0").then_some(())
        })
        .await;
    }

    /// Lets replicas follow the server on this port again.
    pub(crate) async fn mend_replication(&self, port: u16) {
        let server = self.server(port);
        let mut connection = server.connect().await.expect("the server is up");
        let mut mend = cmd("ACL");
        mend.arg(&["SETUSER", "default", "+@all"]);
        mend.query_async::<()>(&mut connection).await.unwrap();
    }

    /// Kills the Sentinel that the address names at this place. Two of three still make a quorum.
    pub(crate) fn kill_sentinel(&mut self, index: usize) {
        self.sentinels[index].kill();
    }

    /// Starts a killed Sentinel again; it knows what it knew.
    pub(crate) async fn restart_sentinel(&mut self, index: usize) {
        self.sentinels[index].restart().await;
    }

    async fn agreed(&self) -> Option<u16> {
        let mut agreed = None;
        for sentinel in self.sentinels.iter().filter(|s| s.is_running()) {
            let primary = sentinel.primary().await?;
            (*agreed.get_or_insert(primary) == primary).then_some(())?;
        }
        agreed
    }
}

/// What a server says about replication; nothing while it is away.
async fn replication(server: &RedisServer) -> Option<HashMap<String, String>> {
    let mut connection = server.connect().await?;
    let mut info = cmd("INFO");
    let info = info.arg("replication");
    let text: String = info.query_async(&mut connection).await.ok()?;
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    Some(fields.map(|(k, v)| (k.into(), v.into())).collect())
}

fn offset(replication: &HashMap<String, String>, role: &str) -> Option<u64> {
    replication
        .get(&format!("{role}_repl_offset"))?
        .parse()
        .ok()
}
