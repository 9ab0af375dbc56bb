//! The real `tidings serve` on a directory, with its log kept: to be killed, and to be given a device that fails.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::{
    process::program,
    server::{Client, connect},
};

/// How to start one.
pub(crate) struct Start<'a> {
    /// Where the store and, beside it, the log are.
    pub(crate) home: &'a Path,
    /// The upstream's base URL.
    pub(crate) upstream: &'a str,
    /// Further flags.
    pub(crate) flags: &'a [&'a str],
    /// Environment variables.
    pub(crate) variables: &'a [(&'a str, &'a Path)],
}

/// A running server.
pub(crate) struct Binary {
    child: Child,
    endpoint: String,
    log: PathBuf,
}

impl Start<'_> {
    /// Starts it, and waits until it serves.
    ///
    /// # Errors
    /// It ended instead: what it logged.
    pub(crate) fn serve(&self) -> Result<Binary, String> {
        let log = self.home.join("log");
        let store = format!("embedded:{}", self.home.join("data").display());
        let mut child = program()
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(["--admin-listen", "127.0.0.1:0", "--log", "warn"])
            .args(["--store", &store, "--upstream-url", self.upstream])
            .args(self.flags)
            .envs(self.variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line
            .strip_prefix("tidings is serving on ")
            .and_then(|rest| rest.split_whitespace().next());
        let Some(address) = address else {
            let status = child.wait().unwrap();
            assert!(!status.success(), "it ended well without serving");
            return Err(fs::read_to_string(&log).unwrap());
        };
        Ok(Binary {
            endpoint: format!("http://{address}"),
            child,
            log,
        })
    }
}

impl Binary {
    /// A client of it.
    pub(crate) async fn client(&self) -> Client {
        connect(&self.endpoint).await
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for it to end by itself, for as long as `within`; answers how, and what it logged.
    pub(crate) async fn ended(&mut self, within: Duration) -> (ExitStatus, String) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, fs::read_to_string(&self.log).unwrap());
            }
            assert!(start.elapsed() < within, "still running after {within:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
