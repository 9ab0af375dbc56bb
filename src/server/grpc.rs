//! The gRPC side: which services, over which transport settings.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{self, server::TcpIncoming},
};
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_reflection::server::{Builder, Error as ReflectionError};

use crate::{
    proto::{DESCRIPTORS, v1::task_service_server::TaskServiceServer},
    service::{DETAIL_DESCRIPTORS, Service},
};

/// Finds dead peers before a service mesh gives the connection up.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bounds what one connection can open; a watch is one stream.
const MAX_STREAMS: u32 = 16_384;
/// Inbound flow-control windows: enough for a full submit, bounded for the rest.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 2 << 20;

/// The task service, health, and reflection if it is wanted.
pub(super) fn routes(
    service: Service,
    health: HealthServer<impl Health>,
    max_decoded: usize,
    reflection: bool,
) -> Result<Routes, ReflectionError> {
    let tasks = TaskServiceServer::new(service).max_decoding_message_size(max_decoded);
    let routes = Routes::new(tasks).add_service(health);
    if !reflection {
        return Ok(routes);
    }
    let described = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // Without them a client that has no stubs cannot read the details of an error.
            .register_encoded_file_descriptor_set(DETAIL_DESCRIPTORS)
    };
    // Older clients ask for v1alpha only.
    Ok(routes
        .add_service(described().build_v1()?)
        .add_service(described().build_v1alpha()?))
}

/// Serves until `stop`, then until the open connections have closed.
pub(super) async fn serve(
    listener: TcpListener,
    routes: Routes,
    stop: CancellationToken,
) -> Result<(), transport::Error> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await
}
