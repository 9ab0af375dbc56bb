//! A primary, two replicas and three Sentinels: real processes that fail over by themselves.

use std::{
    collections::HashMap,
    fs::{self, File},
    process::{Child, Command, Stdio},
    time::Duration,
};

use ::redis::{Cmd, FromRedisValue, cmd};
use futures::future::join_all;
use tempfile::TempDir;

use super::{eventually, port, redis::RedisServer};

/// What the Sentinels call the set.
pub(crate) const MASTER: &str = "tidings";

/// A failover takes about two seconds; Sentinels whose votes were split try again after six.
const FAILOVER_WITHIN: Duration = Duration::from_secs(60);

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
        set
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
        let asked = self.sentinels.iter().find(|s| s.child.is_some()).unwrap();
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
            for sentinel in self.sentinels.iter().filter(|s| s.child.is_some()) {
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
        for sentinel in self.sentinels.iter().filter(|s| s.child.is_some()) {
            let primary = sentinel.primary().await?;
            (*agreed.get_or_insert(primary) == primary).then_some(())?;
        }
        agreed
    }
}

/// A running Sentinel.
#[derive(Debug)]
struct Sentinel {
    child: Option<Child>,
    port: u16,
    dir: TempDir,
}

impl Sentinel {
    /// Writes down what a Sentinel would else take seconds to find out: who is there.
    fn new(own: u16, sentinels: &[u16], servers: &[u16]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = format!(
            "port {own}\nbind 127.0.0.1\ndir {dir}\nlogfile {dir}/log\nsentinel myid {id}\n\
             sentinel monitor {MASTER} 127.0.0.1 {primary} 2\n\
             sentinel down-after-milliseconds {MASTER} 800\n\
             sentinel failover-timeout {MASTER} 3000\n\
             sentinel parallel-syncs {MASTER} 2\n",
            dir = dir.path().display(),
            id = id(own),
            primary = servers[0],
        );
        for replica in &servers[1..] {
            config += &format!("sentinel known-replica {MASTER} 127.0.0.1 {replica}\n");
        }
        for other in sentinels.iter().filter(|port| **port != own) {
            let id = id(*other);
            config += &format!("sentinel known-sentinel {MASTER} 127.0.0.1 {other} {id}\n");
        }
        fs::write(dir.path().join("sentinel.conf"), config).unwrap();
        Sentinel {
            child: None,
            port: own,
            dir,
        }
    }

    async fn restart(&mut self) {
        self.kill();
        let errors = File::create(self.dir.path().join("stderr")).unwrap();
        let started = Command::new("redis-server")
            .arg(self.dir.path().join("sentinel.conf"))
            .arg("--sentinel")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn();
        self.child = Some(started.expect("redis-server starts: run `make setup` if it is missing"));
        // Look at the servers and tell each other often enough for a test; when the machine was too slow for the
        // Sentinel to trust its clock, trust it again after a second instead of thirty.
        let mut tune = cmd("SENTINEL");
        tune.arg("DEBUG")
            .arg(&["INFO-PERIOD", "500", "PUBLISH-PERIOD", "250"])
            .arg(&["ASK-PERIOD", "250", "TILT-PERIOD", "1000"]);
        eventually("a sentinel serves", FAILOVER_WITHIN, async || {
            self.ask::<()>(&tune).await
        })
        .await;
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    async fn ask<T: FromRedisValue>(&self, question: &Cmd) -> Option<T> {
        let url = format!("redis://127.0.0.1:{}/", self.port);
        let client = ::redis::Client::open(url).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        question.query_async(&mut connection).await.ok()
    }

    async fn primary(&self) -> Option<u16> {
        let mut question = cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(MASTER);
        let (_, port) = self.ask::<(String, u16)>(&question).await?;
        Some(port)
    }

    /// Whether it finds the primary well and knows two replicas and two other Sentinels.
    async fn is_informed(&self) -> bool {
        let mut question = cmd("SENTINEL");
        question.arg("MASTER").arg(MASTER);
        let found: Option<HashMap<String, String>> = self.ask(&question).await;
        let is =
            |found: &HashMap<_, String>, key, value| found.get(key).is_some_and(|v| v == value);
        found.is_some_and(|found| {
            is(&found, "flags", "master")
                && is(&found, "role-reported", "master")
                && is(&found, "num-slaves", "2")
                && is(&found, "num-other-sentinels", "2")
        })
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a Sentinel is called by the others: forty digits, for ever.
fn id(port: u16) -> String {
    format!("{port:040x}")
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
