//! One connection from its first byte to its last.

use std::{pin::pin, sync::Arc, time::Duration};

use hyper::{rt::Executor, server::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{front::Front, preface, seats::Seat};
use crate::config::TransportConfig;

/// Finds dead peers before a service mesh gives the connection up.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Inbound flow-control windows: enough for a full submit, bounded for the rest.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 2 << 20;
/// What a stream may have queued towards a client that does not read.
const SEND_BUFFER: usize = 64 << 10;
/// Metadata of a call is a few hundred bytes; more than this is no call of ours.
const HEADER_LIST: u32 = 16 << 10;
/// Streams reset by the client before they were looked at, and by us for its faults: more is an attack.
const PENDING_RESETS: usize = 20;
const OWN_RESETS: usize = 1_024;
/// Connections that began together must not end together.
const AGE_JITTER: std::ops::Range<f64> = 0.9..1.1;

/// Spawns what hyper has to run beside a connection, and knows when all of it has ended.
#[derive(Clone, Debug)]
pub(super) struct Calls(pub(super) TaskTracker);

impl<F> Executor<F> for Calls
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// How HTTP/2 is spoken.
pub(super) fn protocol(config: &TransportConfig, calls: Calls) -> http2::Builder<Calls> {
    let mut builder = http2::Builder::new(calls);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_concurrent_streams(config.streams_per_connection)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(HEADER_LIST)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(OWN_RESETS)
        .auto_date_header(false);
    builder
}

/// A connection that has a place.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// Given back when the connection is gone.
    pub(super) seat: Seat,
    pub(super) protocol: http2::Builder<Calls>,
    pub(super) front: Front,
    pub(super) config: Arc<TransportConfig>,
}

impl Connection {
    /// Serves until the client has gone or the connection's time is over: at its age, or when `stop` says so, the
    /// client is told to go; its streams go on, for as long as the grace at most. Dropping this closes at once.
    pub(super) async fn run(self, stop: CancellationToken) {
        let Connection {
            stream,
            seat: _seat,
            protocol,
            front,
            config,
        } = self;
        let begun = tokio::select! {
            begun = timeout(config.preface_timeout, preface::expect(stream)) => begun,
            () = stop.cancelled() => return,
        };
        let Ok(Some(stream)) = begun else {
            return;
        };
        let age = config.max_age.mul_f64(rand::random_range(AGE_JITTER));
        let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), front));
        tokio::select! {
            biased;
            ended = connection.as_mut() => return note(ended),
            () = stop.cancelled() => {}
            () = sleep(age) => {}
        }
        connection.as_mut().graceful_shutdown();
        if let Ok(ended) = timeout(config.age_grace, connection).await {
            note(ended);
        }
    }
}

/// Clients come and go as they like; only somebody who looks for it wants to read why.
fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}
