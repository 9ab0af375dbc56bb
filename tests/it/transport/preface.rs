use std::time::Duration;

use tokio::{io::AsyncWriteExt as _, time::timeout};

use super::{
    HOUR, SOON, assert_serves,
    raw::{PREFACE, Raw, begun, bytes_to_the_end, tcp},
    server,
};

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_closed() {
    let server = server(|transport| transport.preface_timeout = Duration::from_millis(500)).await;
    let mut silent = tcp(&server.endpoint).await;
    let closed = timeout(SOON, bytes_to_the_end(&mut silent)).await;
    assert_eq!(closed.expect("it is closed"), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_drips_is_closed_before_the_end() {
    let server = server(|transport| transport.preface_timeout = Duration::from_millis(500)).await;
    let mut slow = tcp(&server.endpoint).await;
    for byte in PREFACE {
        // Three seconds in all.
        tokio::time::sleep(Duration::from_millis(125)).await;
        if slow.write_all(&[*byte]).await.is_err() {
            break;
        }
    }
    let closed = timeout(SOON, bytes_to_the_end(&mut slow)).await;
    assert_eq!(closed.expect("it is closed"), 0, "nobody was let in");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_something_else_is_closed_at_once() {
    let server = server(|transport| transport.preface_timeout = HOUR).await;
    let mut other = tcp(&server.endpoint).await;
    other.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let closed = timeout(SOON, bytes_to_the_end(&mut other)).await;
    assert_eq!(closed.expect("it is closed"), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_but_in_time_is_let_in() {
    let server = server(|transport| transport.preface_timeout = HOUR).await;
    let mut slow = tcp(&server.endpoint).await;
    for part in PREFACE.chunks(5) {
        slow.write_all(part).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    slow.readable().await.unwrap();
    let mut settings = [0; 9];
    timeout(
        SOON,
        tokio::io::AsyncReadExt::read_exact(&mut slow, &mut settings),
    )
    .await
    .unwrap()
    .unwrap();
    assert_eq!(settings[3], 4, "the server answers with its settings");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_in_nobodys_way() {
    let server = server(|_| {}).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(tcp(&server.endpoint).await);
        idle.push(begun(&server.endpoint).await);
    }
    assert_serves(&server.endpoint).await;
    assert!(Raw::connect(&server.endpoint).await.is_open().await);
    server.stop().await;
}
