//! The processes that a case needs: `tidings serve` with a configuration of its own, and Redis.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::report::Stop;

/// Exit code of a server that refuses its configuration.
const WRONG_USAGE: i32 = 2;

/// A process that ends with its case.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How to start a server.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    /// Where its files go.
    pub(crate) folder: &'a Path,
    /// What its files are called.
    pub(crate) name: &'a str,
    /// What `--store` takes.
    pub(crate) store: &'a str,
    /// The bearer key it calls with.
    pub(crate) key: &'a str,
    /// Its configuration file, from `benches/quota/config`.
    pub(crate) config: &'a str,
    /// What stands in that file in place of these words.
    pub(crate) words: &'a [(&'a str, String)],
    /// Upstream calls in flight.
    pub(crate) concurrency: usize,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    /// Its process.
    pub(crate) process: Process,
    /// Where it serves gRPC.
    pub(crate) endpoint: String,
}

impl Server {
    /// Starts one. A configuration that it refuses means that it does not have what the case is about.
    pub(crate) fn start(setup: &Setup<'_>) -> Result<Server, Stop> {
        let config = setup.folder.join(format!("{}.toml", setup.name));
        std::fs::write(&config, filled(setup)?)?;
        let log = setup.folder.join(format!("{}.log", setup.name));
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidings"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
            ])
            .args(["--store", setup.store, "--log", "warn"])
            .args(["--concurrency", &setup.concurrency.to_string()])
            .arg("--config")
            .arg(&config)
            .env("TIDINGS_UPSTREAM_API_KEY", setup.key)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let Some(address) = line.split_whitespace().nth(4) else {
            return Err(refused(&mut child, &log));
        };
        Ok(Server {
            endpoint: format!("http://{address}"),
            process: Process(child),
        })
    }
}

fn filled(setup: &Setup<'_>) -> Result<String, Stop> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/quota/config");
    let mut text = std::fs::read_to_string(root.join(setup.config))?;
    for (word, value) in setup.words {
        text = text.replace(word, value);
    }
    Ok(text)
}

fn refused(child: &mut Child, log: &PathBuf) -> Stop {
    let code = child.wait().ok().and_then(|status| status.code());
    let said = std::fs::read_to_string(log).unwrap_or_default();
    if code == Some(WRONG_USAGE) {
        return Stop::NotBuilt(format!("the server refuses the configuration: {said}"));
    }
    Stop::Broken(format!("the server did not start: {said}"))
}

/// A Redis on a free port, which writes its file once a second.
#[derive(Debug)]
pub(crate) struct Redis {
    _process: Process,
    /// What `--store` takes.
    pub(crate) url: String,
}

impl Redis {
    /// Starts one.
    pub(crate) fn start(folder: &Path) -> Result<Redis, Stop> {
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
            .args(["--appendonly", "yes", "--appendfsync", "everysec", "--dir"])
            .arg(folder)
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| Stop::Broken(format!("redis-server: {error}; run `make setup`")))?;
        let redis = Redis {
            _process: Process(child),
            url: format!("redis://127.0.0.1:{port}"),
        };
        let until = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > until {
                return Err(Stop::Broken("redis-server did not start".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(redis)
    }
}
