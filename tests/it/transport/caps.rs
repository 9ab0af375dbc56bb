use tidings::config::TransportConfig;
use tokio::time::timeout;

use super::{
    HOUR, SOON,
    raw::{begun, bytes_to_the_end, tcp},
    server, serves,
};
use crate::support::server::{TestServer, soon};

/// One connection is the test server's own client, two are open; the next one is one too many.
async fn assert_caps_at_three(server: TestServer) {
    let mut open = vec![begun(&server.endpoint).await, begun(&server.endpoint).await];
    for stream in &open {
        timeout(SOON, stream.readable()).await.unwrap().unwrap();
    }
    let mut refused = tcp(&server.endpoint).await;
    let closed = timeout(SOON, bytes_to_the_end(&mut refused)).await;
    assert_eq!(closed.expect("it is closed at once"), 0);
    assert!(!serves(&server.endpoint).await);
    open.pop();
    soon("there is room again", async || {
        serves(&server.endpoint).await
    })
    .await;
    server.stop().await;
}

fn patient(transport: &mut TransportConfig) {
    transport.preface_timeout = HOUR;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_the_cap_are_closed_at_once() {
    let server = server(|transport| {
        patient(transport);
        transport.connections = 3;
    });
    assert_caps_at_three(server.await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_the_cap_of_an_address_are_closed_at_once() {
    let server = server(|transport| {
        patient(transport);
        transport.connections_per_address = 3;
    });
    assert_caps_at_three(server.await).await;
}
