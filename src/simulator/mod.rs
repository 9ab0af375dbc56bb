//! An OpenAI-compatible server that simulates one, over real HTTP: for tests, benchmarks, the demo and for people. It
//! answers chat completions, responses, plain completions and embeddings, whole or as streams.
//!
//! It is open about it: every reply carries `x-tidings-simulated: true`, its models are owned by
//! `tidings-simulation`, its answers begin with `simulated:`, and its vectors come with the fingerprint `simulated`. A
//! connection's way through: `server` (accept, and break where a fault says so) → `route` (which endpoint) → `call`
//! (admit, wait, answer) → `log`.

mod answer;
mod call;
mod fault;
mod input;
mod latency;
mod limit;
mod log;
mod reply;
mod request;
mod route;
mod server;
mod shape;
mod state;
mod stream;

use std::{fmt, io, net::SocketAddr, sync::Arc};

use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use answer::AnswerTokens;
pub use fault::{Canned, Fault, Faults, Rule, Unreadable, UnreadableRule};
pub use latency::Latency;
pub use limit::{Headers, Limits, QuotaChange, RetryAfter, TokenCharge};
pub use log::{CallRecord, Ended, LogWriter};
pub use reply::{answer_to, hash16};

use state::State;

/// How many finished calls are kept for [`Running::calls`] unless told otherwise.
pub const KEEP_CALLS: usize = 200_000;

/// How the simulation behaves.
#[derive(Clone)]
pub struct Config {
    /// How long answers take.
    pub latency: Latency,
    /// How long answers are; none lets each say no more than it has to.
    pub answer_tokens: Option<AnswerTokens>,
    /// Decides latencies, lengths and faults, together with each prompt: the same seed gives the same ones.
    pub seed: u64,
    /// How many requests and tokens a minute are let through.
    pub limits: Limits,
    /// What goes wrong.
    pub faults: Faults,
    /// The bearer key that calls must carry; none lets all in.
    pub api_key: Option<SecretString>,
    /// The models it lists; with an empty list it takes any model, and lists one.
    pub models: Vec<String>,
    /// The latest finished calls to keep in memory.
    pub keep_calls: usize,
    /// Where each finished call goes as one line of JSON.
    pub log: Option<LogWriter>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            latency: Latency::default(),
            answer_tokens: None,
            seed: 0,
            limits: Limits::default(),
            faults: Faults::default(),
            api_key: None,
            models: Vec::new(),
            keep_calls: KEEP_CALLS,
            log: None,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("latency", &self.latency)
            .field("answer_tokens", &self.answer_tokens)
            .field("seed", &self.seed)
            .field("limits", &self.limits)
            .field("faults", &self.faults)
            .field("api_key", &self.api_key.as_ref().map(|_| "***"))
            .field("models", &self.models)
            .field("keep_calls", &self.keep_calls)
            .finish_non_exhaustive()
    }
}

/// Why the simulation did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("listen on {addr}: {source}; choose another address, or port 0 for any free one")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The configuration contradicts itself.
    #[error("use the simulator's configuration: {0}")]
    Config(&'static str),
}

/// Starts simulations.
#[derive(Clone, Copy, Debug)]
pub struct Simulator;

impl Simulator {
    /// Listens on `listen` (port 0 takes a free one) and serves until the [`Running`] is shut down or dropped.
    pub async fn start(config: Config, listen: SocketAddr) -> Result<Running, Error> {
        config.faults.check().map_err(Error::Config)?;
        config.limits.check().map_err(Error::Config)?;
        config.latency.check().map_err(Error::Config)?;
        let answers = config.answer_tokens;
        answers
            .map_or(Ok(()), AnswerTokens::check)
            .map_err(Error::Config)?;
        let refused = |source| Error::Listen {
            addr: listen,
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(refused)?;
        let addr = listener.local_addr().map_err(refused)?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let state = Arc::new(State::new(config, stop.clone()));
        tasks.spawn(server::serve(listener, state.clone(), tasks.clone()));
        Ok(Running {
            addr,
            state,
            stop,
            tasks,
        })
    }
}

/// A simulation that serves. Dropping it stops it.
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
    state: Arc<State>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Running {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL of its API.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// The finished calls, in the order they ended; the latest [`Config::keep_calls`] of them.
    pub fn calls(&self) -> Vec<CallRecord> {
        self.state.log.calls()
    }

    /// How many calls finished so far.
    pub fn finished_calls(&self) -> u64 {
        self.state.log.finished()
    }

    /// How many calls wait for their answer.
    pub fn open_calls(&self) -> usize {
        self.state.log.open()
    }

    /// How many connections were accepted so far.
    pub fn accepted_connections(&self) -> u64 {
        self.state.accepted()
    }

    /// Whether calls are served at all; when not, each is answered with 503.
    pub fn set_healthy(&self, healthy: bool) {
        self.state.set_healthy(healthy);
    }

    /// Puts another plan of faults in force; its schedule counts from now. Fails when it contradicts itself.
    pub fn set_faults(&self, faults: Faults) -> Result<(), Error> {
        faults.check().map_err(Error::Config)?;
        self.state.set_faults(faults);
        Ok(())
    }

    /// Closes all connections, open calls included, and frees the port.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
