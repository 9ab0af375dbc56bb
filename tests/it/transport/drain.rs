use std::time::Duration;

use tidings::proto::v1::WatchTaskRequest;
use tokio::{io::AsyncWriteExt as _, time::timeout};

use super::{
    HOUR, SOON,
    raw::{Raw, WATCH_TASK, begun, bytes_to_the_end, frame, framed, header_block, tcp},
    server,
};
use crate::support::{
    process::Process,
    server::{Home, Kind, prompt, submit},
};

/// Opens a watch and never says or reads anything again.
async fn hung_watch(endpoint: &str, task: &str) -> tokio::net::TcpStream {
    let mut stream = begun(endpoint).await;
    let watch = framed(&WatchTaskRequest {
        task_id: task.to_owned(),
        ..WatchTaskRequest::default()
    });
    stream
        .write_all(&frame(1, 4, 1, &header_block(WATCH_TASK)))
        .await
        .unwrap();
    stream.write_all(&frame(0, 1, 1, &watch)).await.unwrap();
    timeout(SOON, stream.readable()).await.unwrap().unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_is_closed_by_the_time_the_server_has_stopped() {
    let mut server = server(|transport| transport.preface_timeout = HOUR).await;
    let batch = submit(&mut server.client, [prompt("p")]).await;
    let mut peers = vec![
        tcp(&server.endpoint).await,
        begun(&server.endpoint).await,
        hung_watch(&server.endpoint, &batch.task_ids[0]).await,
    ];
    let mut half = tcp(&server.endpoint).await;
    half.write_all(b"PRI * HT").await.unwrap();
    peers.push(half);
    let polite = Raw::connect(&server.endpoint).await;

    timeout(SOON, server.stop())
        .await
        .expect("nobody holds it up");

    for peer in &mut peers {
        let closed = timeout(SOON, bytes_to_the_end(peer)).await;
        closed.expect("the connection is closed");
    }
    let ended = timeout(SOON, polite.ended).await.unwrap().unwrap();
    ended.expect("who listens is told to go");
}

#[tokio::test(flavor = "multi_thread")]
async fn hung_peers_do_not_hold_the_exit_up() {
    let home = Home::new(Kind::Embedded).await;
    let more = ["--shutdown-grace", "1s"];
    let mut server = Process::serve(&home.url(), "http://127.0.0.1:9/v1", &more);
    let batch = submit(&mut server.client().await, [prompt("p")]).await;
    let mut peers = Vec::new();
    for _ in 0..20 {
        peers.push(tcp(&server.endpoint).await);
        peers.push(begun(&server.endpoint).await);
        peers.push(hung_watch(&server.endpoint, &batch.task_ids[0]).await);
    }

    server.terminate();

    // The grace and two seconds.
    let (status, _) = server.ended(Duration::from_secs(3)).await;
    assert!(status.success());
}
