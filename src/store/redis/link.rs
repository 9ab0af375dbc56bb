//! The connection that carries a process's commands to one server, replaced whenever it stops being of use.
//!
//! A multiplexed connection by itself outlives a peer that has gone silent and a primary that was demoted; this
//! link counts what goes wrong and dials anew. Before a connection carries anything, every partition behind it is
//! asked how it stands: whoever took over may have less than the server before it.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::RwLock;
use redis::{AsyncConnectionConfig, ConnectionAddr, Pipeline, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{Mutex, Notify, watch},
    time::{sleep, timeout},
};

use super::{
    dial::Dialer, durable::Groups, error, live::Live, script::Script, server::ConnectError,
};
use crate::store::{Durability, Error};

/// A server that does not take a connection within this is away.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longer than any script takes; the crate's own 500 ms is shorter than an fsync on a busy disk may take.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a probe may take: two late ones, after the pause between probes, are to be noticed within two seconds.
const PROBE_TIMEOUT: Duration = Duration::from_millis(600);
/// One late answer may be a slow script; two in a row are a dead connection.
const STRIKES: u32 = 2;
/// Between the first attempts to dial.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
/// Between later attempts: a server that is back is found within this.
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// Commands queued towards the socket before callers wait.
const QUEUE: usize = 1_024;

/// Something for a server to do. All keys are those of one partition.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) order: Order,
    pub(super) partition: u16,
    pub(super) args: Vec<Vec<u8>>,
}

/// What a call is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// Run this script on the partition's meta key.
    Run(Script),
    /// This command; the arguments hold its keys.
    Command(&'static str),
}

/// The connection to one server.
pub(super) struct Link {
    dialer: Dialer,
    /// The partitions that live there, as far as is known.
    partitions: RwLock<Arc<[u16]>>,
    live: RwLock<Option<Arc<Live>>>,
    /// Held by whoever makes a connection or enters partitions over it.
    changing: Mutex<()>,
    lost: Notify,
    groups: Groups,
    /// Counts the connections made, so that whoever depends on one hears of the next.
    made: watch::Sender<u64>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("dialer", &self.dialer)
            .finish_non_exhaustive()
    }
}

impl Link {
    /// A link to where `dialer` leads, for these partitions; [`Link::keep`] connects it.
    pub(super) fn new(dialer: Dialer, partitions: Arc<[u16]>) -> Self {
        let link = Link {
            dialer,
            partitions: RwLock::new(partitions),
            live: RwLock::new(None),
            changing: Mutex::new(()),
            lost: Notify::new(),
            groups: Groups::default(),
            made: watch::Sender::new(0),
        };
        link.lost.notify_one();
        link
    }

    /// Where the link leads.
    pub(super) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// Hears of every connection made.
    pub(super) fn made(&self) -> watch::Receiver<u64> {
        self.made.subscribe()
    }

    /// Sends calls at once and answers in order; errors of the server stand among the answers. Loads scripts that the
    /// server lost.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no answer came.
    pub(super) async fn run(&self, calls: &[&Call]) -> Result<Vec<Value>, Error> {
        let live = self.live()?;
        let mut connection = live.connection.clone();
        let pipeline = live.pipeline(calls);
        let mut answers = self.send(&live, &mut connection, &pipeline).await?;
        let lost: Vec<usize> = (0..answers.len().min(calls.len()))
            .filter(|index| is_no_script(&answers[*index]))
            .collect();
        if !lost.is_empty() {
            let mut pipeline = Pipeline::with_capacity(2 * lost.len());
            for index in &lost {
                live.load(&mut pipeline, calls[*index].order);
                live.add(&mut pipeline, calls[*index]);
            }
            let again = self.send(&live, &mut connection, &pipeline).await?;
            for (index, answer) in lost.into_iter().zip(again.into_iter().skip(1).step_by(2)) {
                answers[index] = answer;
            }
        }
        live.vouch_for(calls, answers)
    }

    /// Like [`Link::run`] for a call that is to reach replicas or disks before it is answered. The answer is followed
    /// by that of the wait.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no answer came.
    pub(super) async fn run_durably(self: &Arc<Self>, call: &Call) -> Result<Vec<Value>, Error> {
        let link = self.clone();
        let send = |calls: Vec<Call>| async move { link.run_group(&calls).await };
        self.groups.run(call, send).await
    }

    /// Runs calls over the connection that waits: the answers, then that of the one wait.
    async fn run_group(&self, calls: &[Call]) -> Result<Vec<Value>, Error> {
        let live = self.live()?;
        let waiting = live.waiting.clone();
        let (mut connection, wait) = waiting.ok_or_else(given_up)?;
        let calls: Vec<&Call> = calls.iter().collect();
        let mut pipeline = Pipeline::with_capacity(2 * calls.len() + 1);
        for call in &calls {
            // Again each time: there is no second attempt over this connection.
            live.load(&mut pipeline, call.order);
            live.add(&mut pipeline, call);
        }
        wait.add(&mut pipeline);
        let answers = self.send(&live, &mut connection, &pipeline).await?;
        // The calls stand at odd places, the wait is the last.
        let last = 2 * calls.len();
        let answers = answers.into_iter().enumerate();
        let wanted = answers.filter(|(index, _)| index % 2 == 1 || *index == last);
        live.vouch_for(&calls, wanted.map(|(_, answer)| answer).collect())
    }

    /// Like [`Link::run`] for calls that are answered at once by any server in good health.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no answer came.
    pub(super) async fn probe(&self, calls: &[&Call]) -> Result<Vec<Value>, Error> {
        let live = self.live()?;
        match timeout(PROBE_TIMEOUT, self.run(calls)).await {
            Ok(result) => result,
            Err(_late) => {
                self.strike(&live);
                Err(Error::Unavailable("no answer in time".into()))
            }
        }
    }

    /// These partitions, and no others, live there from now on. They are entered before this returns, if there is a
    /// connection.
    ///
    /// # Errors
    /// They could not be entered; nothing is sent to them until that was done.
    pub(super) async fn serve(&self, partitions: Arc<[u16]>) -> Result<(), ConnectError> {
        *self.partitions.write() = partitions.clone();
        let live = self.live.read().clone();
        // Without a connection the next one is made for these.
        if live.is_none_or(|live| live.keep_only(&partitions).is_empty()) {
            return Ok(());
        }
        let _alone = self.changing.lock().await;
        self.settle().await
    }

    /// Enters those partitions that have come to live there since the connection was made, and forgets those that
    /// left: they have to be entered again if they come back.
    async fn settle(&self) -> Result<(), ConnectError> {
        let (live, partitions) = (self.live.read().clone(), self.partitions.read().clone());
        let Some(live) = live else { return Ok(()) };
        let fresh = live.keep_only(&partitions);
        if !fresh.is_empty() {
            let mut connection = live.connection.clone();
            let entering = self.dialer.enter(&mut connection, &live.scripts, &fresh);
            live.enter(entering.await?);
        }
        Ok(())
    }

    /// Whether a call for this partition would be sent now, or fail for want of a connection; else it has not been
    /// entered yet.
    pub(super) fn takes(&self, partition: u16) -> bool {
        let live = self.live.read();
        live.as_ref().is_none_or(|live| live.has_entered(partition))
    }

    /// Whether the server that the link leads to, as far as is known, knows sharded channels.
    pub(super) fn is_modern(&self) -> bool {
        self.live.read().as_ref().is_none_or(|live| live.modern)
    }

    /// Whether there is a connection, and to another server than this.
    pub(super) fn leads_elsewhere(&self, addr: &ConnectionAddr) -> bool {
        let live = self.live.read();
        live.as_ref().is_some_and(|live| live.addr != *addr)
    }

    /// Whether the connection is the one that was in use when `made` was taken from [`Link::made`].
    pub(super) fn is_still(&self, made: &watch::Receiver<u64>) -> bool {
        self.live.read().is_some() && !made.has_changed().unwrap_or(true)
    }

    /// Gives the connection up: something better is known.
    pub(super) fn reconnect(&self, cause: &str) {
        let live = self.live.read().clone();
        if let Some(live) = live {
            self.replace(&live, cause);
        }
    }

    /// Makes the connection if there is none. Answers how well the server keeps things.
    ///
    /// # Errors
    /// The server is away, or will not do.
    pub(super) async fn connect(&self) -> Result<Durability, ConnectError> {
        let _alone = self.changing.lock().await;
        if let Some(live) = self.live.read().as_ref() {
            return Ok(live.durability);
        }
        let partitions = self.partitions.read().clone();
        let live = Arc::new(Live::new(self.dialer.dial(&partitions).await?));
        *self.live.write() = Some(live.clone());
        self.made.send_modify(|count| *count += 1);
        // Others may have come to live there meanwhile. Those that cannot be entered now are tried again later.
        if let Err(error) = self.settle().await {
            tracing::debug!(%error, server = %self.dialer, "could not enter every partition");
        }
        Ok(live.durability)
    }

    /// Connects whenever there is no connection; runs until it is dropped.
    pub(super) async fn keep(self: Arc<Self>) {
        loop {
            self.lost.notified().await;
            let mut backoff = BACKOFF_MIN;
            while self.live.read().is_none() {
                match self.connect().await {
                    Ok(_) => tracing::info!(server = %self.dialer, "connected to Redis"),
                    Err(error) => {
                        tracing::debug!(%error, server = %self.dialer, "could not connect to Redis");
                        sleep(backoff.mul_f64(rand::random_range(0.5..1.0))).await;
                        backoff = BACKOFF_MAX.min(backoff * 2);
                    }
                }
            }
        }
    }

    async fn send(
        &self,
        live: &Arc<Live>,
        connection: &mut MultiplexedConnection,
        pipeline: &Pipeline,
    ) -> Result<Vec<Value>, Error> {
        let answers = connection.send_packed_commands(pipeline, 0, pipeline.len());
        let answers = tokio::select! {
            biased;
            answers = answers => answers,
            () = live.gone.cancelled() => return Err(given_up()),
        };
        match answers {
            // Late words of a server that has been replaced: what it took is lost.
            Ok(_) if !self.is_current(live) => Err(given_up()),
            Ok(values) => {
                live.strikes.store(0, Ordering::Relaxed);
                if values.iter().any(is_demoted) {
                    self.replace(live, "the server is no longer the primary");
                }
                Ok(values)
            }
            Err(failure) => {
                let error = error::of_transport(&failure);
                if failure.is_timeout() {
                    self.strike(live);
                } else {
                    self.replace(live, &error.to_string());
                }
                Err(error)
            }
        }
    }

    fn is_current(&self, live: &Arc<Live>) -> bool {
        let current = self.live.read();
        current.as_ref().is_some_and(|now| Arc::ptr_eq(now, live))
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
            live.gone.cancel();
            tracing::warn!(cause, server = %self.dialer, "lost the connection to Redis");
            self.lost.notify_one();
        }
    }
}

/// The answer came over a connection that is not in use any more, or from a node that has lost the partition.
pub(super) fn given_up() -> Error {
    Error::Unavailable("the server was replaced before it answered".into())
}

/// How connections for commands are made.
pub(super) fn settings() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_pipeline_buffer_size(QUEUE)
}

fn is_no_script(value: &Value) -> bool {
    matches!(value, Value::ServerError(failure) if error::is_no_script(failure))
}

fn is_demoted(value: &Value) -> bool {
    matches!(value, Value::ServerError(failure) if error::is_demoted(failure))
}
