//! A real `redis-server` for a test: its own port, its own directory, gone with the test.

use std::{
    io::ErrorKind,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tidings::store::redis::{Config, address::Address};

use super::{eventually, port};

/// Long enough for a machine that compiles something else meanwhile.
const START_WITHIN: Duration = Duration::from_secs(20);

/// What connects a store to this URL.
pub(crate) fn config(url: &str) -> Config {
    Config::new(Address::parse(url).unwrap())
}

/// A running server.
#[derive(Debug)]
pub(crate) struct RedisServer {
    child: Option<Child>,
    port: u16,
    dir: TempDir,
    args: Vec<String>,
}

impl RedisServer {
    /// Starts a server that keeps nothing on disk, with further arguments such as `--appendonly yes`.
    pub(crate) async fn start(args: &[&str]) -> Self {
        let mut server = RedisServer {
            child: None,
            port: port::free(),
            dir: tempfile::tempdir().unwrap(),
            args: args.iter().map(ToString::to_string).collect(),
        };
        server.restart().await;
        server
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How to connect to it.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Kills it, as `kill -9` does. What it kept on disk stays.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether its process is there, paused or not.
    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Stops it as `kill -STOP` does: whoever talks to it is kept waiting.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on after a pause.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    /// What it is started with from the next restart on, instead of the arguments so far.
    pub(crate) fn set_args(&mut self, args: Vec<String>) {
        self.args = args;
    }

    fn signal(&self, signal: &str) {
        let child = self.child.as_ref().expect("the server runs");
        let id = child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Starts it (again) on the same port and directory, and waits until it serves.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.child = Some(self.spawn());
        eventually("redis-server serves", START_WITHIN, async || {
            let mut connection = self.connect().await?;
            let ping = ::redis::cmd("PING");
            ping.query_async::<String>(&mut connection).await.ok()
        })
        .await;
    }

    /// A connection of the test's own; none while the server is away.
    pub(crate) async fn connect(&self) -> Option<::redis::aio::MultiplexedConnection> {
        let client = ::redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.ok()
    }

    /// Whether it sends so many replicas what it writes: to one that has just been given its copy it sends nothing
    /// before it was heard of, which takes up to a second. None when it does not in time.
    pub(crate) async fn feeds(&self, replicas: usize) -> Option<()> {
        let mut connection = self.connect().await?;
        let mut wait = ::redis::pipe();
        wait.cmd("PING").ignore();
        wait.cmd("WAIT").arg(replicas).arg(400);
        let (heard,): (usize,) = wait.query_async(&mut connection).await.ok()?;
        (heard >= replicas).then_some(())
    }

    /// What the server says about itself under a heading.
    pub(crate) async fn info(&self, section: &str) -> String {
        let mut connection = self.connect().await.expect("the server is up");
        let mut info = ::redis::cmd("INFO");
        info.arg(section)
            .query_async(&mut connection)
            .await
            .unwrap()
    }

    fn spawn(&self) -> Child {
        let started = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--loglevel", "warning", "--dir"])
            .arg(self.dir.path())
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match started {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("redis-server is not installed: run `make setup`")
            }
            Err(error) => panic!("failed to start redis-server: {error}"),
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
