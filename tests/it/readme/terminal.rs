//! A fresh folder to run commands in, with `tidings` and the tools of `scripts/setup` on the PATH.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use super::document::{Exchange, same_lines};

/// What the README's commands listen on: gRPC and admin by default, and the simulated upstream as printed.
const PORTS: [u16; 3] = [50051, 9464, 8089];
/// Another run of this test, of another checkout, may hold the ports for a while.
const PORTS_FREE_WITHIN: Duration = Duration::from_secs(120);
/// A debug build on a busy machine needs its time.
const COMMAND_ENDS_WITHIN: Duration = Duration::from_secs(60);

/// Runs commands; ends those that serve when dropped.
pub(super) struct Terminal {
    folder: tempfile::TempDir,
    path: String,
    serving: Vec<Child>,
}

impl Terminal {
    /// Opens a terminal once the ports are free. Panics when a tool is missing.
    pub(super) fn open(repository: &Path) -> Self {
        let tools = repository.join(".tools");
        let folders = [
            Path::new(env!("CARGO_BIN_EXE_tidings"))
                .parent()
                .unwrap()
                .to_owned(),
            tools.join("bin"),
            tools.join("venv/bin"),
        ];
        for tool in [folders[1].join("grpcurl"), folders[2].join("python")] {
            assert!(
                tool.exists(),
                "{} is missing: run scripts/setup",
                tool.display()
            );
        }
        wait_for_ports();
        Self {
            folder: tempfile::tempdir().unwrap(),
            path: folders.map(|it| it.display().to_string()).join(":"),
            serving: Vec::new(),
        }
    }

    /// Writes a file into the folder.
    pub(super) fn write(&mut self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Runs a command to its end. Panics when it fails or prints anything else than expected.
    pub(super) fn run(&mut self, exchange: &Exchange) {
        let output = self
            .command("timeout")
            .arg(COMMAND_ENDS_WITHIN.as_secs().to_string())
            .args([
                "bash",
                "-o",
                "pipefail",
                "-c",
                &self.script(&exchange.command),
            ])
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<String> = printed.lines().map(str::to_owned).collect();
        assert!(
            output.status.success() && same_lines(&exchange.output, &lines),
            "$ {}\nexpected:\n{}\nprinted ({}):\n{printed}\n{}",
            exchange.command,
            exchange.output.join("\n"),
            output.status,
            String::from_utf8_lossy(&output.stderr),
        );
    }

    /// Starts a command that serves and reads the line that says so.
    pub(super) fn serve(&mut self, exchange: &Exchange) {
        let log = self
            .folder
            .path()
            .join(format!("serving-{}.log", self.serving.len()));
        let mut child = self
            .command("bash")
            // Without a shell in between, so that killing the child ends the server.
            .args(["-c", &self.script(&format!("exec {}", exchange.command))])
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        self.serving.push(child);
        let (told, hear) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            told.send(line.trim_end().to_owned()).ok();
            // Read on, so that the command never blocks on a full pipe.
            stdout.lines().map_while(Result::ok).for_each(drop);
        });
        let line = hear.recv_timeout(COMMAND_ENDS_WITHIN).unwrap_or_default();
        assert!(
            same_lines(&exchange.output, std::slice::from_ref(&line)),
            "$ {}\nexpected:\n{}\nprinted:\n{line}\n{}",
            exchange.command,
            exchange.output.join("\n"),
            fs::read_to_string(log).unwrap(),
        );
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// Sets the PATH inside the script: what the machine has comes after the tools under test.
    fn script(&self, command: &str) -> String {
        format!("PATH=\"{}:$PATH\"\n{command}", self.path)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        for child in &mut self.serving {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn wait_for_ports() {
    let deadline = Instant::now() + PORTS_FREE_WITHIN;
    for port in PORTS {
        while TcpListener::bind(("127.0.0.1", port)).is_err() {
            assert!(
                Instant::now() < deadline,
                "port {port} is taken; the README's commands are tested on their own ports: free it"
            );
            thread::sleep(Duration::from_millis(100));
        }
    }
}
