//! The real `tidings` binary as a process of its own, to be killed.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::server::{Client, connect};

/// A running `tidings serve`.
pub(crate) struct Process {
    child: Child,
    /// Where gRPC is served, as `http://…`.
    pub(crate) endpoint: String,
}

impl Process {
    /// Starts a server on `store` and waits for its line on stdout.
    pub(crate) fn serve(store: &str, upstream: &str, more: &[&str]) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidings"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
            ])
            .args([
                "--store",
                store,
                "--upstream-url",
                upstream,
                "--log",
                "warn",
            ])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line
            .strip_prefix("tidings is serving on ")
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap_or_else(|| panic!("not the line that says where it serves: {line:?}"));
        Process {
            endpoint: format!("http://{address}"),
            child,
        }
    }

    /// A client of it.
    pub(crate) async fn client(&self) -> Client {
        connect(&self.endpoint).await
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end, for as long as `within`; says how it ended and when.
    pub(crate) async fn ended(&mut self, within: Duration) -> (ExitStatus, Duration) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, start.elapsed());
            }
            assert!(start.elapsed() < within, "still running after {within:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
