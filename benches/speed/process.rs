//! The processes that a workload needs, and what the kernel says of them.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::Fallible;

/// Linux counts CPU time in hundredths of a second for programs, whatever its own clock.
const TICKS_PER_SECOND: f64 = 100.0;
/// How long a Redis may take to listen.
const START_WITHIN: Duration = Duration::from_secs(20);

/// A process that ends with its workload.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts one, and answers the first line that it prints.
    fn announced(command: &mut Command) -> Fallible<(Process, String)> {
        let mut process = Process(command.stdout(Stdio::piped()).spawn()?);
        let mut line = String::new();
        if let Some(stdout) = process.0.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        Ok((process, line))
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Seconds of CPU time that it has used so far, in user mode and in the kernel.
    pub(crate) fn cpu_seconds(&self) -> Fallible<f64> {
        cpu_seconds_of(&self.0.id().to_string())
    }

    /// Bytes: `VmRSS` for now, `VmHWM` for the most so far.
    pub(crate) fn memory(&self, field: &str) -> Fallible<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find(|line| line.starts_with(field));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(kib.ok_or("no such figure of the process")?.parse::<f64>()? * 1024.0)
    }
}

/// Seconds of CPU time of the process with this id, or of `self`.
pub(crate) fn cpu_seconds_of(id: &str) -> Fallible<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // What stands before the last bracket is the program's name, which may hold anything.
    let (_, fields) = stat.rsplit_once(')').ok_or("no stat of the process")?;
    let used = fields.split_whitespace().skip(11).take(2);
    let ticks: Vec<f64> = used.map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How to start a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    /// What `--store` takes.
    pub(crate) store: String,
    /// What `--upstream-url` takes; empty where nothing is called.
    pub(crate) upstream: String,
    /// Its configuration file, as text.
    pub(crate) config: String,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    /// Its process.
    pub(crate) process: Process,
    /// Where it serves gRPC.
    pub(crate) endpoint: String,
    /// How long it took until it said that it serves.
    pub(crate) ready_after: Duration,
}

impl Server {
    /// Starts one, with its files in the folder under this name.
    pub(crate) fn start(folder: &Path, name: &str, setup: &Setup) -> Fallible<Server> {
        let config = folder.join(format!("{name}.toml"));
        std::fs::write(&config, &setup.config)?;
        let log = folder.join(format!("{name}.log"));
        let upstream = match setup.upstream.as_str() {
            "" => "http://127.0.0.1:9/v1",
            url => url,
        };
        let began = Instant::now();
        let (process, line) = Process::announced(
            Command::new(env!("CARGO_BIN_EXE_tidings"))
                .args([
                    "serve",
                    "--listen",
                    "127.0.0.1:0",
                    "--admin-listen",
                    "127.0.0.1:0",
                ])
                .args([
                    "--store",
                    &setup.store,
                    "--log",
                    "warn",
                    "--upstream-url",
                    upstream,
                ])
                .arg("--config")
                .arg(&config)
                .stdin(Stdio::null())
                .stderr(File::create(&log)?),
        )?;
        let ready_after = began.elapsed();
        let Some(address) = line.split_whitespace().nth(4) else {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(format!("the server did not start: {}", said.trim()).into());
        };
        Ok(Server {
            endpoint: format!("http://{address}"),
            process,
            ready_after,
        })
    }
}

/// A simulated upstream in a process of its own, as the peers have it.
#[derive(Debug)]
pub(crate) struct Upstream {
    _process: Process,
    /// The base URL of its API.
    pub(crate) url: String,
}

impl Upstream {
    /// Starts one whose answers take this long, such as `50ms`.
    pub(crate) fn start(latency: &str) -> Fallible<Upstream> {
        let (process, line) = Process::announced(
            Command::new(env!("CARGO_BIN_EXE_tidings"))
                .args([
                    "simulate-upstream",
                    "--listen",
                    "127.0.0.1:0",
                    "--latency",
                    latency,
                ])
                .stdin(Stdio::null()),
        )?;
        let url = line
            .split_whitespace()
            .last()
            .filter(|word| word.starts_with("http"));
        Ok(Upstream {
            url: url
                .ok_or("the simulated upstream did not start")?
                .to_owned(),
            _process: process,
        })
    }
}

/// The server of an echo stream: this very program, told to be one.
pub(crate) fn echo_server() -> Fallible<(Process, String)> {
    let (process, line) = Process::announced(
        Command::new(std::env::current_exe()?)
            .arg("--serve-echoes")
            .stdin(Stdio::null()),
    )?;
    Ok((process, line.trim().to_owned()))
}

/// A Redis on a free port.
#[derive(Debug)]
pub(crate) struct Redis {
    /// Its process.
    pub(crate) process: Process,
    /// Where it listens on 127.0.0.1.
    pub(crate) port: u16,
}

impl Redis {
    /// Starts one that keeps nothing on disk, or an append-only file that is synced once a second.
    pub(crate) fn start(folder: &Path, appends: bool) -> Fallible<Redis> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .args(["--appendonly", if appends { "yes" } else { "no" }])
            .args(["--appendfsync", "everysec", "--dir"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("redis-server: {error}; run `make setup`"))?;
        let process = Process(child);
        let until = Instant::now() + START_WITHIN;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > until {
                return Err("redis-server did not start".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Redis { process, port })
    }

    /// What `--store` takes.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}
