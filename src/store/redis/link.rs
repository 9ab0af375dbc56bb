//! The one connection that carries a process's commands, replaced whenever it stops being of use.
//!
//! A multiplexed connection by itself outlives a peer that has gone silent and a primary that was demoted; this
//! link counts what goes wrong and dials anew.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::RwLock;
use redis::{AsyncConnectionConfig, Client, Pipeline, Value, aio::MultiplexedConnection};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    error,
    keys::Keys,
    reply,
    script::{Script, Scripts},
    server,
};
use crate::{
    clock::{Clock, SystemClock, Timestamp},
    store::Error,
};

/// A server that does not take a connection within this is away.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longer than any script takes; the crate's own 500 ms is shorter than an fsync on a busy disk may take.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// One late answer may be a slow script; two in a row are a dead connection.
const STRIKES: u32 = 2;
/// Between the first attempts to dial.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// Between later attempts: a server that is back is found within this.
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// Commands queued towards the socket before callers wait.
const QUEUE: usize = 1_024;

/// A script to run.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) script: Script,
    pub(super) partition: u16,
    pub(super) args: Vec<Vec<u8>>,
}

/// The connection for commands.
pub(super) struct Link {
    client: Client,
    scripts: Scripts,
    partitions: u16,
    live: RwLock<Option<Arc<Live>>>,
    lost: Notify,
    /// The store's clock minus this machine's, ms.
    offset: AtomicI64,
}

struct Live {
    connection: MultiplexedConnection,
    strikes: AtomicU32,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client knows the password.
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(
        client: Client,
        connection: MultiplexedConnection,
        scripts: Scripts,
        partitions: u16,
    ) -> Self {
        Link {
            client,
            scripts,
            partitions,
            live: RwLock::new(Some(Arc::new(Live::new(connection)))),
            lost: Notify::new(),
            offset: AtomicI64::new(0),
        }
    }

    /// The store's clock.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 + self.offset.load(Ordering::Relaxed))
    }

    /// Takes note of the store's time, as a call's answer has it. The answer took a while to come, so the clock is
    /// never behind what it says, but may be ahead of it.
    pub(super) fn hear_time(&self, now: i64) {
        let offset = now - SystemClock.now().0;
        self.offset.fetch_max(offset, Ordering::Relaxed);
    }

    /// Sets the clock by an answer that came at once: the two machines' clocks may drift either way.
    pub(super) fn set_time(&self, now: i64) {
        let offset = now - SystemClock.now().0;
        self.offset.store(offset, Ordering::Relaxed);
    }

    /// Sends commands at once and answers in order; errors of the server stand among the answers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no answer came.
    pub(super) async fn send(&self, pipeline: &Pipeline) -> Result<Vec<Value>, Error> {
        let live = self.live()?;
        let mut connection = live.connection.clone();
        match connection
            .send_packed_commands(pipeline, 0, pipeline.len())
            .await
        {
            Ok(values) => {
                live.strikes.store(0, Ordering::Relaxed);
                if values.iter().any(is_demoted) {
                    self.replace(&live, "the server is no longer the primary");
                }
                Ok(values)
            }
            Err(failure) => {
                let error = error::of_transport(&failure);
                if failure.is_timeout() {
                    self.strike(&live);
                } else {
                    self.replace(&live, &error.to_string());
                }
                Err(error)
            }
        }
    }

    /// Like [`Link::send`] for commands that are answered at once by any server in good health.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no answer came.
    pub(super) async fn probe(&self, pipeline: &Pipeline) -> Result<Vec<Value>, Error> {
        let live = self.live()?;
        match timeout(PROBE_TIMEOUT, self.send(pipeline)).await {
            Ok(result) => result,
            Err(_late) => {
                self.strike(&live);
                Err(Error::Unavailable("no answer in time".into()))
            }
        }
    }

    /// Runs scripts at once and answers in order, each with its own error. Loads scripts that the server lost.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no answer came.
    pub(super) async fn run(&self, calls: &[Call]) -> Result<Vec<Result<Value, Error>>, Error> {
        let mut answers = self.send(&self.pipeline(calls)).await?;
        let lost: Vec<usize> = (0..answers.len().min(calls.len()))
            .filter(|index| is_no_script(&answers[*index]))
            .collect();
        if !lost.is_empty() {
            let mut pipeline = Pipeline::with_capacity(2 * lost.len());
            for index in &lost {
                let text = self.scripts.text(calls[*index].script);
                pipeline.cmd("SCRIPT").arg("LOAD").arg(text);
                self.add(&mut pipeline, &calls[*index]);
            }
            let again = self.send(&pipeline).await?;
            for (index, answer) in lost.into_iter().zip(again.into_iter().skip(1).step_by(2)) {
                answers[index] = answer;
            }
        }
        Ok(answers.into_iter().map(answered).collect())
    }

    /// Runs one script.
    ///
    /// # Errors
    /// No answer came, or it was an error.
    pub(super) async fn run_one(&self, call: Call) -> Result<Value, Error> {
        let mut answers = self.run(std::slice::from_ref(&call)).await?;
        answers.pop().unwrap_or_else(|| Err(reply::odd("a script")))
    }

    /// Dials anew whenever the connection was lost; runs until it is dropped.
    pub(super) async fn keep(self: Arc<Self>) {
        loop {
            self.lost.notified().await;
            let mut backoff = BACKOFF_MIN;
            while self.live.read().is_none() {
                match server::dial(&self.client, self.partitions).await {
                    Ok(connection) => {
                        *self.live.write() = Some(Arc::new(Live::new(connection)));
                        tracing::info!("reconnected to Redis");
                    }
                    Err(error) => {
                        tracing::debug!(%error, "could not reconnect to Redis");
                        sleep(backoff.mul_f64(rand::random_range(0.5..1.0))).await;
                        backoff = BACKOFF_MAX.min(backoff * 2);
                    }
                }
            }
        }
    }

    fn live(&self) -> Result<Arc<Live>, Error> {
        let live = self.live.read().clone();
        live.ok_or_else(|| Error::Unavailable("not connected to Redis".into()))
    }

    fn strike(&self, live: &Arc<Live>) {
        if live.strikes.fetch_add(1, Ordering::Relaxed) + 1 >= STRIKES {
            self.replace(live, "the server stopped answering");
        }
    }

    fn replace(&self, live: &Arc<Live>, cause: &str) {
        let mut current = self.live.write();
        // Another call may have noticed first.
        if current.as_ref().is_some_and(|now| Arc::ptr_eq(now, live)) {
            *current = None;
            tracing::warn!(cause, "lost the connection to Redis");
            self.lost.notify_one();
        }
    }

    fn pipeline(&self, calls: &[Call]) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(calls.len());
        for call in calls {
            self.add(&mut pipeline, call);
        }
        pipeline
    }

    fn add(&self, pipeline: &mut Pipeline, call: &Call) {
        pipeline
            .cmd("EVALSHA")
            .arg(self.scripts.hash(call.script))
            .arg(1)
            .arg(Keys::of(call.partition).meta());
        for arg in &call.args {
            pipeline.arg(&arg[..]);
        }
    }
}

impl Live {
    fn new(connection: MultiplexedConnection) -> Self {
        Live {
            connection,
            strikes: AtomicU32::new(0),
        }
    }
}

/// How connections for commands are made.
pub(super) fn settings() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_pipeline_buffer_size(QUEUE)
}

/// An answer, or the error that stands in its place.
pub(super) fn answered(value: Value) -> Result<Value, Error> {
    match value {
        Value::ServerError(failure) => Err(error::of_server(&failure)),
        value => Ok(value),
    }
}

fn is_no_script(value: &Value) -> bool {
    matches!(value, Value::ServerError(failure) if error::is_no_script(failure))
}

fn is_demoted(value: &Value) -> bool {
    matches!(value, Value::ServerError(failure) if error::is_demoted(failure))
}
