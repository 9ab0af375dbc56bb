//! The real `tidings` binary as a process of its own, to be killed.

use std::{
    env,
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
        let mut args = vec!["--store", store, "--upstream-url", upstream];
        args.extend(["--admin-listen", "127.0.0.1:0", "--log", "warn"]);
        args.extend(more);
        Self::start(&args, Stdio::inherit())
    }

    /// Starts a server on any free port, with its log going to `log`, and waits for its line on stdout.
    pub(crate) fn start(args: &[&str], log: Stdio) -> Process {
        Self::launch(program(), args, log)
    }

    /// As [`Process::start`], where the program has an environment of its own.
    pub(crate) fn launch(mut program: Command, args: &[&str], log: Stdio) -> Process {
        let mut child = program
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
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

    /// The port on which gRPC is served.
    pub(crate) fn port(&self) -> u16 {
        let (_, port) = self.endpoint.rsplit_once(':').unwrap();
        port.parse().unwrap()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        signal(self.child.id(), "TERM");
    }

    /// Sends SIGSTOP: it stands still, and its connections with it.
    pub(crate) fn freeze(&self) {
        signal(self.child.id(), "STOP");
    }

    /// Sends SIGCONT: it goes on as if nothing had happened.
    pub(crate) fn thaw(&self) {
        signal(self.child.id(), "CONT");
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

/// The server to be started: the one that was built with the tests, or the one that TIDINGS_BIN names.
#[expect(
    clippy::disallowed_methods,
    reason = "what a test run is told is no configuration of the server"
)]
pub(crate) fn program() -> Command {
    let named = env::var_os("TIDINGS_BIN").filter(|path| !path.is_empty());
    let path = named.unwrap_or_else(|| env!("CARGO_BIN_EXE_tidings").into());
    let mut command = Command::new(path);
    // The server knows every variable of its own, and refuses what is meant for the tests.
    for name in [
        "TIDINGS_BIN",
        "TIDINGS_SOAK",
        "TIDINGS_SEED",
        "TIDINGS_FAULTS_REPORT",
    ] {
        command.env_remove(name);
    }
    command
}

/// Sends a signal to a process.
pub(crate) fn signal(process: u32, name: &str) {
    let args = [format!("-{name}"), process.to_string()];
    let sent = Command::new("kill").args(args).status().unwrap();
    assert!(sent.success(), "no process {process} to send {name} to");
}
