//! Several replicas of the real server on one store, each behind a proxy of its own, to be struck one by one.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Stdio,
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tempfile::TempDir;
use tidings::clock::{Clock as _, SystemClock};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::block_in_place,
    time::sleep,
};
use tonic::transport::Endpoint;

use crate::support::{
    checker::{Millis, Strike},
    port,
    process::Process,
    proxy::Proxy,
    server::Client,
};

/// A server starts within this on a machine that compiles something else meanwhile.
const START_WITHIN: Duration = Duration::from_secs(30);
/// What a client waits for an answer to a ping, after as long a silence: a frozen server is left within twice this.
const SILENCE: Duration = Duration::from_secs(2);

/// What a replica of a given number is given.
pub(super) type Url = Box<dyn Fn(usize) -> String + Send + Sync>;

/// What a fleet is made of.
pub(super) struct Setup {
    /// How many there are.
    pub(super) replicas: usize,
    /// How long a silent worker keeps a task.
    pub(super) lease: Duration,
    /// Tasks in hand of one replica.
    pub(super) concurrency: usize,
    /// How long a replica may take to stop.
    pub(super) grace: Duration,
    /// What the configuration file of each holds.
    pub(super) settings: &'static str,
    /// Where each finds the store.
    pub(super) store: Url,
    /// Where each finds the upstream.
    pub(super) upstream: Url,
}

/// The replicas, and what was done to them.
pub(super) struct Fleet {
    setup: Setup,
    replicas: Vec<Replica>,
    strikes: Mutex<Vec<Strike>>,
    logs: TempDir,
}

struct Replica {
    /// Where clients reach it, whatever its port is now.
    clients: Proxy,
    admin: u16,
    running: Mutex<Option<Process>>,
    worker: Mutex<String>,
    starts: AtomicUsize,
}

/// The same time that servers and store go by.
pub(super) fn now() -> Millis {
    SystemClock.now().0
}

impl Fleet {
    /// Starts all of them.
    pub(super) async fn start(setup: Setup) -> Arc<Fleet> {
        let mut replicas = Vec::new();
        for _ in 0..setup.replicas {
            replicas.push(Replica {
                clients: Proxy::before(0).await,
                admin: port::free(),
                running: Mutex::default(),
                worker: Mutex::default(),
                starts: AtomicUsize::new(0),
            });
        }
        let fleet = Fleet {
            setup,
            replicas,
            strikes: Mutex::default(),
            logs: tempfile::tempdir().unwrap(),
        };
        fs::write(fleet.settings(), fleet.setup.settings).unwrap();
        for index in 0..fleet.len() {
            fleet.launch(index).await;
        }
        Arc::new(fleet)
    }

    /// How many replicas there are, up or not.
    pub(super) fn len(&self) -> usize {
        self.replicas.len()
    }

    /// What it was made of.
    pub(super) fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The proxy between its clients and a replica.
    pub(super) fn clients_of(&self, index: usize) -> &Proxy {
        &self.replicas[index].clients
    }

    /// One client of each replica, on connections of their own that come back by themselves.
    pub(super) fn connect(&self) -> Vec<Client> {
        let clients = self.replicas.iter().map(|replica| {
            let endpoint = format!("http://127.0.0.1:{}", replica.clients.port());
            let channel = Endpoint::from_shared(endpoint)
                .unwrap()
                .connect_timeout(SILENCE)
                .http2_keep_alive_interval(SILENCE)
                .keep_alive_timeout(SILENCE)
                .keep_alive_while_idle(true)
                .connect_lazy();
            Client::new(channel)
        });
        clients.collect()
    }

    /// The worker that a replica is, or was.
    pub(super) fn worker(&self, index: usize) -> String {
        self.replicas[index].worker.lock().clone()
    }

    /// `kill -9`; it stays away until [`Fleet::restart`].
    pub(super) fn kill(&self, index: usize) {
        let process = self.replicas[index].running.lock().take();
        let at = now();
        process.expect("it runs").kill();
        self.struck(index, at);
    }

    /// Starts a replica that was killed or has ended.
    pub(super) async fn restart(&self, index: usize) {
        self.launch(index).await;
        self.whole_again(index);
    }

    /// SIGSTOP.
    pub(super) fn freeze(&self, index: usize) {
        let at = now();
        let running = self.replicas[index].running.lock();
        running.as_ref().expect("it runs").freeze();
        self.struck(index, at);
    }

    /// SIGCONT.
    pub(super) fn thaw(&self, index: usize) {
        let running = self.replicas[index].running.lock();
        running.as_ref().expect("it runs").thaw();
        self.whole_again(index);
    }

    /// SIGTERM, and a new one when the old has ended; says how long the old one took. It gives its tasks back or
    /// finishes them: its worker is not struck.
    pub(super) async fn replace(&self, index: usize) -> Duration {
        let process = self.replicas[index].running.lock().take();
        let mut process = process.expect("it runs");
        self.strikes.lock().push(Strike {
            replica: Some(index),
            worker: None,
            at: now(),
            until: Millis::MAX,
        });
        process.terminate();
        let (status, took) = process.ended(self.setup.grace + START_WITHIN).await;
        assert!(status.success(), "replica {index} ended with {status}");
        self.restart(index).await;
        took
    }

    /// A replica lost its `connections` to the store; its worker goes on until its leases end.
    pub(super) fn cut_off(&self, index: usize, connections: usize) {
        assert!(connections > 0, "replica {index} had no connection to lose");
        self.struck(index, now());
    }

    /// A replica that was cut off reaches the store again.
    pub(super) fn reached_again(&self, index: usize) {
        self.whole_again(index);
    }

    /// Something that all replicas stand on broke at `at`, and is whole now.
    pub(super) fn all_struck(&self, at: Millis) {
        self.strikes.lock().push(Strike {
            replica: None,
            worker: None,
            at,
            until: now(),
        });
    }

    /// Everything that was done so far.
    pub(super) fn strikes(&self) -> Vec<Strike> {
        self.strikes.lock().clone()
    }

    /// A counter of a replica, from its /metrics; nothing counted yet is zero.
    pub(super) async fn counter(&self, index: usize, name: &str) -> u64 {
        let admin = ("127.0.0.1", self.replicas[index].admin);
        let mut stream = TcpStream::connect(admin).await.unwrap();
        let request = "GET /metrics HTTP/1.1\r\nhost: tidings\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        let line = reply.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }

    /// What the latest process of a replica wrote to its log.
    pub(super) fn log(&self, index: usize) -> String {
        let starts = self.replicas[index].starts.load(Ordering::SeqCst);
        fs::read_to_string(self.log_path(index, starts)).unwrap_or_default()
    }

    async fn launch(&self, index: usize) {
        let replica = &self.replicas[index];
        let start = replica.starts.fetch_add(1, Ordering::SeqCst) + 1;
        let log = File::create(self.log_path(index, start)).unwrap();
        let setup = &self.setup;
        let millis = |time: Duration| format!("{}ms", time.as_millis());
        let args = [
            ("--config", self.settings().display().to_string()),
            ("--store", (setup.store)(index)),
            ("--upstream-url", (setup.upstream)(index)),
            ("--admin-listen", format!("127.0.0.1:{}", replica.admin)),
            ("--lease", millis(setup.lease)),
            ("--concurrency", setup.concurrency.to_string()),
            ("--shutdown-grace", millis(setup.grace)),
            ("--log", "warn,tidings::worker=info".to_owned()),
        ];
        let args: Vec<&str> = args
            .iter()
            .flat_map(|(name, value)| [*name, value])
            .collect();
        let process = block_in_place(|| Process::start(&args, Stdio::from(log)));
        let worker = self.named(index).await;
        *replica.worker.lock() = worker;
        replica.clients.aim(process.port());
        *replica.running.lock() = Some(process);
    }

    async fn named(&self, index: usize) -> String {
        let start = Instant::now();
        loop {
            if let Some(worker) = worker_named_in(&self.log(index)) {
                return worker;
            }
            assert!(start.elapsed() < START_WITHIN, "no worker started");
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn settings(&self) -> PathBuf {
        self.logs.path().join("tidings.toml")
    }

    fn log_path(&self, index: usize, start: usize) -> PathBuf {
        self.logs.path().join(format!("{index}-{start}.log"))
    }

    fn struck(&self, index: usize, at: Millis) {
        self.strikes.lock().push(Strike {
            replica: Some(index),
            worker: Some(self.worker(index)),
            at,
            until: Millis::MAX,
        });
    }

    fn whole_again(&self, index: usize) {
        let mut strikes = self.strikes.lock();
        let mut of_it = strikes.iter_mut().filter(|s| s.replica == Some(index));
        if let Some(strike) = of_it.next_back() {
            strike.until = now();
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for index in 0..self.len() {
                eprintln!("log of replica {index}:\n{}", self.log(index));
            }
        }
    }
}

fn worker_named_in(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("worker started worker=")?;
    // The line is whole once what follows the name is there.
    rest.split_once(' ').map(|(worker, _)| worker.to_owned())
}
