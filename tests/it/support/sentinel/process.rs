//! One Sentinel.

use std::{
    collections::HashMap,
    fs::{self, File},
    process::{Child, Command, Stdio},
};

use ::redis::{Cmd, FromRedisValue, cmd};
use tempfile::TempDir;

use super::{FAILOVER_WITHIN, MASTER, eventually};

/// A running Sentinel.
#[derive(Debug)]
pub(super) struct Sentinel {
    child: Option<Child>,
    pub(super) port: u16,
    dir: TempDir,
}

impl Sentinel {
    /// Writes down what a Sentinel would else take seconds to find out: who is there.
    pub(super) fn new(own: u16, sentinels: &[u16], servers: &[u16]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = format!(
            "port {own}\nbind 127.0.0.1\ndir {dir}\nlogfile {dir}/log\nsentinel myid {id}\n\
             sentinel monitor {MASTER} 127.0.0.1 {primary} 2\n\
             sentinel down-after-milliseconds {MASTER} 1200\n\
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

    pub(super) async fn restart(&mut self) {
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
            .arg(&["ASK-PERIOD", "250", "TILT-PERIOD", "1000"])
            // Silence is counted from the moment of connecting, and the first ping is sent a period later: with the
            // default of a second nearly as late as a server is given up.
            .arg(&["PING-PERIOD", "300"]);
        eventually("a sentinel serves", FAILOVER_WITHIN, async || {
            self.ask::<()>(&cmd("PING")).await
        })
        .await;
        // Redis 6.2 refuses; there everything takes some seconds longer.
        let _: Option<()> = self.ask(&tune).await;
    }

    pub(super) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(super) async fn ask<T: FromRedisValue>(&self, question: &Cmd) -> Option<T> {
        let url = format!("redis://127.0.0.1:{}/", self.port);
        let client = ::redis::Client::open(url).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        question.query_async(&mut connection).await.ok()
    }

    pub(super) async fn primary(&self) -> Option<u16> {
        let mut question = cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(MASTER);
        let (_, port) = self.ask::<(String, u16)>(&question).await?;
        Some(port)
    }

    /// Whether it finds the primary well and knows two replicas and two other Sentinels.
    pub(super) async fn is_informed(&self) -> bool {
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
