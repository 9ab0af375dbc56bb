//! What a workload plays on: a store, one or more servers on it, and connections to them.

use std::{path::Path, time::Duration};

use tempfile::TempDir;

use super::{
    Fallible,
    client::{Client, connect},
    process::{Redis, Server, Setup},
};

/// Lines of a server's log that are told when it is over.
const LINES_TOLD: usize = 10;
/// Servers have nothing left to do once they use less than this share of a core for so long: less than two of the steps
/// of 10 ms in which CPU time is counted.
const IDLE: f64 = 0.075;
const QUIET: Duration = Duration::from_millis(200);
/// It is an error when they have something to do after so many of these times.
const RESTLESS: usize = 100;

/// Where tasks live, and how well they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// On disk before the reply.
    Embedded,
    /// In the memory of Redis.
    Redis,
    /// In the memory of Redis, on its disk within a second.
    RedisAppending,
}

impl Kind {
    /// Every one, in the order of the tables.
    pub(crate) const ALL: [Kind; 3] = [Kind::Embedded, Kind::Redis, Kind::RedisAppending];

    /// What it is called in the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Embedded => "embedded",
            Kind::Redis => "redis",
            Kind::RedisAppending => "redis, AOF everysec",
        }
    }
}

/// A store and its servers.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The servers.
    pub(crate) servers: Vec<Server>,
    /// Redis, if the store is there.
    pub(crate) redis: Option<Redis>,
    setup: Setup,
    folder: TempDir,
}

impl Stage {
    /// Starts a new store with so many servers on it. `setup` holds what they need besides.
    pub(crate) fn start(root: &Path, kind: Kind, replicas: usize, setup: Setup) -> Fallible<Stage> {
        // Not where the system keeps temporary files: that may be memory, where a sync costs nothing.
        let folder = tempfile::tempdir_in(root)?;
        let redis = match kind {
            Kind::Embedded => None,
            Kind::Redis => Some(Redis::start(folder.path(), false)?),
            Kind::RedisAppending => Some(Redis::start(folder.path(), true)?),
        };
        let store = match &redis {
            Some(redis) => redis.url(),
            None => format!("embedded:{}", folder.path().join("data").display()),
        };
        let mut stage = Stage {
            servers: Vec::new(),
            redis,
            setup: Setup { store, ..setup },
            folder,
        };
        for _ in 0..replicas {
            stage.add_server()?;
        }
        Ok(stage)
    }

    /// Starts one more server.
    pub(crate) fn add_server(&mut self) -> Fallible<()> {
        let name = format!("server-{}", self.servers.len());
        let server = Server::start(self.folder.path(), &name, &self.setup)?;
        self.servers.push(server);
        Ok(())
    }

    /// Kills all servers and starts one on what they left.
    pub(crate) fn restart(&mut self) -> Fallible<()> {
        self.servers.clear();
        self.add_server()
    }

    /// A new connection to each server.
    pub(crate) async fn clients(&self) -> Fallible<Vec<Client>> {
        let mut clients = Vec::new();
        for server in &self.servers {
            clients.push(connect(&server.endpoint).await?);
        }
        Ok(clients)
    }

    /// Seconds of CPU time of all servers so far.
    pub(crate) fn cpu_seconds(&self) -> Fallible<f64> {
        self.servers
            .iter()
            .map(|server| server.process.cpu_seconds())
            .sum()
    }

    /// Seconds of CPU time of Redis so far; none without one.
    pub(crate) fn redis_cpu_seconds(&self) -> Fallible<f64> {
        self.redis
            .as_ref()
            .map_or(Ok(0.0), |redis| redis.process.cpu_seconds())
    }

    /// Waits until the servers have nothing left to do.
    pub(crate) async fn rest(&self) -> Fallible<()> {
        let mut used = self.cpu_seconds()?;
        for _ in 0..RESTLESS {
            tokio::time::sleep(QUIET).await;
            let now = self.cpu_seconds()?;
            if now - used <= IDLE * QUIET.as_secs_f64() {
                return Ok(());
            }
            used = now;
        }
        Err("the servers do not come to rest".into())
    }

    /// Bytes that the first server holds (`VmRSS`) or has held at most (`VmHWM`).
    pub(crate) fn memory(&self, field: &str) -> Fallible<f64> {
        let server = self.servers.first().ok_or("no server")?;
        server.process.memory(field)
    }
}

/// What servers have warned of goes with the folder, so it is told before.
impl Drop for Stage {
    fn drop(&mut self) {
        for number in 0..self.servers.len() {
            let log = self.folder.path().join(format!("server-{number}.log"));
            let said = std::fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<&str> = said.lines().collect();
            let last = lines.len().saturating_sub(LINES_TOLD);
            for line in &lines[last..] {
                eprintln!("server {number}: {line}");
            }
        }
    }
}
