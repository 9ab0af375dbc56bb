//! The gRPC side: which services, over which connections. tonic decodes, routes and encodes; accepting, ages, caps,
//! deadlines and the drain are decided here.
//!
//! A connection goes through `listener` (caps, trouble), `preface` (does it speak HTTP/2 at all), `connection` (age,
//! drain); a call on it through `front`, which reads its `deadline`, has `admission` count it, checks what comes in
//! (`inbound`) and bounds what goes out (`answer`).

mod admission;
mod answer;
mod connection;
mod deadline;
mod front;
mod inbound;
mod listener;
mod preface;
mod seats;

use std::{sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_reflection::server::{Builder, Error as ReflectionError};

use crate::{
    config::TransportConfig,
    proto::{DESCRIPTORS, v1::task_service_server::TaskServiceServer},
    service::{DETAIL_DESCRIPTORS, Limits, Service},
};

use admission::Admission;
use front::Front;
use listener::Listener;

/// The task service, health, and reflection if it is wanted.
pub(super) fn routes(
    service: Service,
    health: HealthServer<impl Health>,
    limits: &Limits,
    reflection: bool,
) -> Result<Routes, ReflectionError> {
    let most = limits.max_submit_bytes().max(limits.max_request_bytes());
    let tasks = TaskServiceServer::new(service).max_decoding_message_size(most);
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

/// Serves until `stop`, tells every client to go, and closes after `close_time` what is still open.
pub(super) async fn serve(
    socket: TcpListener,
    routes: Routes,
    config: TransportConfig,
    limits: Limits,
    stop: CancellationToken,
    close_time: Duration,
) {
    let admission = Arc::new(Admission::new(&config));
    let front = Front::new(routes, limits, admission, config.request_timeout);
    Listener::new(socket, config, front)
        .run(stop, close_time)
        .await;
}
