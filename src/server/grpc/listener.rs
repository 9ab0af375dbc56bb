//! Takes connections in, for as long as there is room and the server is to serve.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::server::conn::http2;
use rustix::process::{Resource, getrlimit};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    connection::{Calls, Connection, protocol},
    front::Front,
    seats::Seats,
};
use crate::config::TransportConfig;

/// How long accepting pauses after it failed for want of something, such as open files: at first, and at most.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// The same trouble is told once in this time.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// For peers that vanish before they have said anything; later HTTP/2's own pings find out.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);
/// Files kept for the store and the upstream: a quarter of those the process may open, and at least so many.
const FILES_KEPT: u64 = 128;
/// How long calls may take to notice that their connection has been closed.
const UNWIND_TIME: Duration = Duration::from_millis(200);

/// The accept loop.
pub(super) struct Listener {
    socket: TcpListener,
    seats: Arc<Seats>,
    calls: TaskTracker,
    protocol: http2::Builder<Calls>,
    front: Front,
    config: Arc<TransportConfig>,
    pause: Duration,
    accept_trouble: Trouble,
    full_trouble: Trouble,
}

impl Listener {
    pub(super) fn new(socket: TcpListener, config: TransportConfig, front: Front) -> Self {
        let calls = TaskTracker::new();
        let most = config.connections.min(affordable_connections());
        if most < config.connections {
            tracing::info!(
                connections = most,
                "the limit of open files holds the connections down; raise it with `ulimit -n`"
            );
        }
        Listener {
            socket,
            seats: Seats::new(most, config.connections_per_address),
            protocol: protocol(&config, Calls(calls.clone())),
            calls,
            front,
            config: Arc::new(config),
            pause: PAUSE_MIN,
            accept_trouble: Trouble::default(),
            full_trouble: Trouble::default(),
        }
    }

    /// Accepts until `stop`; then every connection is told to go, and what is still there after `close_time` is closed.
    pub(super) async fn run(mut self, stop: CancellationToken, close_time: Duration) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a connection failed");
                    }
                }
                (stream, peer) = self.accept() => {
                    if let Some(connection) = self.admit(stream, peer) {
                        connections.spawn(connection.run(stop.clone()));
                    }
                }
            }
        }
        drop(self.socket);
        let all_gone = async { while connections.join_next().await.is_some() {} };
        if timeout(close_time, all_gone).await.is_err() {
            tracing::debug!(count = connections.len(), "closing connections that stay");
            connections.shutdown().await;
        }
        self.calls.close();
        // Whoever is not gone by then holds nothing that a restart needs.
        let _ = timeout(UNWIND_TIME, self.calls.wait()).await;
    }

    /// The next connection. Where it is dropped and called again it tries again at once, so it is to be dropped
    /// only for what frees something, such as another connection's end.
    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok(accepted) => {
                    self.pause = PAUSE_MIN;
                    return accepted;
                }
                // That connection is gone; the next one may be well.
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if let Some(times) = self.accept_trouble.tell() {
                        tracing::warn!(%error, times, "cannot accept connections; trying again");
                    }
                    let pause = self.pause;
                    self.pause = PAUSE_MAX.min(2 * pause);
                    sleep(pause).await;
                }
            }
        }
    }

    /// Gives a connection a place, or closes it. To leave it waiting would hide from the client that it should go
    /// elsewhere, and would let the first address that has its fill hold up all others.
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) -> Option<Connection> {
        let seat = match self.seats.take(peer.ip()) {
            Ok(seat) => seat,
            Err(full) => {
                if let Some(times) = self.full_trouble.tell() {
                    tracing::warn!(%peer, times, ?full, "too many connections; closing new ones");
                }
                return None;
            }
        };
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%error, "a connection was gone at once");
            return None;
        }
        Some(Connection {
            stream,
            seat,
            protocol: self.protocol.clone(),
            front: self.front.clone(),
            config: self.config.clone(),
        })
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    // A watch's small messages must not wait for one another.
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(TCP_KEEPALIVE);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// How many connections leave the rest of the process enough files: a store that cannot open one fails for good.
fn affordable_connections() -> usize {
    let Some(files) = getrlimit(Resource::Nofile).current else {
        return usize::MAX;
    };
    let kept = (files / 4).max(FILES_KEPT.min(files / 2));
    usize::try_from(files - kept).unwrap_or(usize::MAX).max(1)
}

/// Something that happens again and again, and is told now and then.
#[derive(Debug, Default)]
struct Trouble {
    told: Option<Instant>,
    times: u64,
}

impl Trouble {
    /// Notes that it happened; says how often since it was told last, when it is time to tell.
    fn tell(&mut self) -> Option<u64> {
        self.times += 1;
        if self.told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return None;
        }
        self.told = Some(Instant::now());
        Some(std::mem::take(&mut self.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn trouble_is_told_once_in_a_while_with_how_often_it_was() {
        let mut trouble = Trouble::default();
        assert_eq!(trouble.tell(), Some(1));
        for _ in 0..100 {
            assert_eq!(trouble.tell(), None);
        }
        tokio::time::advance(TELL_EVERY).await;
        assert_eq!(trouble.tell(), Some(101));
    }

    #[test]
    fn the_store_keeps_files_to_open() {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = affordable_connections() as u64;
        assert!(most > 0 && (files == u64::MAX || most < files));
    }
}
