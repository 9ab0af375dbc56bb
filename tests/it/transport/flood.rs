//! Clients that make the server work for nothing.

use bytes::Bytes;
use h2::Reason;
use tokio::{io::AsyncWriteExt as _, task::JoinHandle, time::timeout};

use super::{
    SOON, assert_serves,
    raw::{INFO, Raw, SUBMIT, begun, frame, header_block},
    server,
};

/// Runs a flood until it is dropped.
struct Flood(JoinHandle<()>);

impl Drop for Flood {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_resets_keeps_nobody_from_being_served() {
    let server = server(|_| {}).await;
    let endpoint = server.endpoint.clone();
    let (told, mut cut) = tokio::sync::mpsc::unbounded_channel();
    let flood = Flood(tokio::spawn(async move {
        loop {
            let raw = Raw::connect(&endpoint).await;
            while let Ok((_response, mut body)) = raw.open(INFO, &[]).await {
                body.send_reset(Reason::CANCEL);
                tokio::task::yield_now().await;
            }
            let _ = told.send(());
        }
    }));
    assert_serves(&server.endpoint).await;
    let told = timeout(SOON, cut.recv()).await;
    told.expect("the flood's connection is cut").unwrap();
    assert_serves(&server.endpoint).await;
    drop(flood);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_empty_frames_keeps_nobody_from_being_served() {
    let server = server(|_| {}).await;
    let endpoint = server.endpoint.clone();
    let (told, mut cut) = tokio::sync::mpsc::unbounded_channel();
    let flood = Flood(tokio::spawn(async move {
        let nothing = frame(0, 0, 1, &[]).repeat(10_000);
        loop {
            let mut stream = begun(&endpoint).await;
            let call = frame(1, 4, 1, &header_block(SUBMIT));
            if stream.write_all(&call).await.is_ok() {
                while stream.write_all(&nothing).await.is_ok() {}
            }
            let _ = told.send(());
        }
    }));
    assert_serves(&server.endpoint).await;
    let told = timeout(SOON, cut.recv()).await;
    told.expect("the flood's connection is cut").unwrap();
    assert_serves(&server.endpoint).await;
    drop(flood);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_end_are_refused() {
    let server = server(|_| {}).await;
    let raw = Raw::connect(&server.endpoint).await;
    let long = "x".repeat(20 << 10);
    let (response, mut body) = raw.open(INFO, &[("x-long", &long)]).await.unwrap();
    let _ = body.send_data(Bytes::new(), true);
    let response = response.await.unwrap();
    assert_eq!(response.status(), 431, "Request Header Fields Too Large");
    assert_serves(&server.endpoint).await;
    server.stop().await;
}
