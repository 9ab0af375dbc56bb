//! The gRPC server's connections: their age, their caps, their deadlines, and clients without manners.

mod age;
mod caps;
mod deadline;
mod drain;
mod files;
mod flood;
mod load;
mod preface;
mod raw;
mod size;
mod stalled;

use std::time::Duration;

use tidings::{
    proto::v1::GetServerInfoRequest,
    simulator::{self, Latency},
};

use crate::support::server::{Client, Kind, TestServer, connect};
use tidings::config::TransportConfig;

/// Longer than anything here takes, on a busy machine.
const SOON: Duration = Duration::from_secs(30);
/// Longer than any test.
const HOUR: Duration = Duration::from_secs(3_600);

/// A server whose upstream never answers, with a changed transport.
async fn server(change: impl FnOnce(&mut TransportConfig)) -> TestServer {
    let upstream = simulator::Config {
        latency: Latency::Fixed(HOUR),
        ..simulator::Config::default()
    };
    TestServer::start_with(Kind::Embedded, upstream, |config| {
        // What never ends is not to be waited for.
        config.shutdown_grace = Duration::ZERO;
        change(&mut config.transport);
    })
    .await
}

/// Whether a call on a new connection is answered.
async fn serves(endpoint: &str) -> bool {
    let channel = tonic::transport::Channel::from_shared(endpoint.to_owned()).unwrap();
    let Ok(channel) = channel.connect().await else {
        return false;
    };
    let mut client = Client::new(channel);
    client
        .get_server_info(GetServerInfoRequest {})
        .await
        .is_ok()
}

/// Calls must be answered while somebody else misbehaves.
async fn assert_serves(endpoint: &str) {
    let mut client = connect(endpoint).await;
    for _ in 0..20 {
        let call = client.get_server_info(GetServerInfoRequest {});
        let answered = tokio::time::timeout(SOON, call).await;
        answered.expect("others are served").unwrap();
    }
}
