//! A long-running command of the real binary.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use super::tidings;

/// A command that says one line when it is ready, and runs until a signal.
pub(super) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// The line.
    pub(super) banner: String,
}

impl Running {
    pub(super) fn start(arguments: &[&str]) -> Self {
        let mut child = tidings(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut banner = String::new();
        stdout.read_line(&mut banner).expect("a line");
        Running {
            child,
            stdout,
            banner,
        }
    }

    /// The word of the banner that begins so.
    pub(super) fn word(&self, start: &str) -> &str {
        let word = self
            .banner
            .split_whitespace()
            .find(|word| word.starts_with(start));
        word.unwrap_or_else(|| panic!("no {start} in {:?}", self.banner))
    }

    pub(super) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([name, &id])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for the end; exit code, what else stdout held, and stderr.
    pub(super) fn end(&mut self, within: Duration) -> (Option<i32>, String, String) {
        let start = Instant::now();
        while self.child.try_wait().expect("a child").is_none() {
            assert!(start.elapsed() < within, "still running after {within:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("text");
        let mut stderr = String::new();
        let mut pipe = self.child.stderr.take().expect("stderr is piped");
        pipe.read_to_string(&mut stderr).expect("text");
        let status = self.child.wait().expect("a child");
        (status.code(), rest, stderr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
