//! Connections: accepted, served, and broken where a fault says so.

use std::{error::Error, future::poll_fn, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_util::task::TaskTracker;

use super::{route::route, state::State};

/// Pause after a failed accept, which mostly means that file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How a fault ends a connection without a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Break {
    /// With a TCP RST.
    #[error("reset by an injected fault")]
    Reset,
    /// With a TCP FIN.
    #[error("closed by an injected fault")]
    Close,
}

/// Accepts connections until the simulation stops.
pub(super) async fn serve(listener: TcpListener, state: Arc<State>, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = state.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                state.count_accepted();
                tasks.spawn(connection(stream, state.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "the simulation could not accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    // Not worth failing for: it only delays small packets.
    let _ = stream.set_nodelay(true);
    let handler = state.clone();
    let service = service_fn(move |request| Box::pin(route(handler.clone(), request)));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = poll_fn(|context| connection.poll_without_shutdown(context)) => ended,
        () = state.stop.cancelled() => return,
    };
    let Err(error) = ended else { return };
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    if cause == Some(&Break::Reset) {
        // Closing a socket that does not linger sends a reset.
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}
