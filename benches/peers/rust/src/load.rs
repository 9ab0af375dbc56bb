//! A bare load generator: W3 without any queue, the nearest to ideal that the upstream and the machine allow.
//!
//! One connection for each call in flight, opened before the clock starts, and HTTP/1.1 straight on hyper.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{net::TcpStream, task::JoinSet};

use crate::shared::{Failed, Workload, payload, report_seconds, request_body, settings, variable};

#[derive(Deserialize)]
struct Settings {
    in_flight: usize,
}

type Connection = http1::SendRequest<Full<Bytes>>;

pub async fn client(workload: &Workload) -> Result<(), Failed> {
    if workload.name != "w3" {
        return Err("the load generator knows only w3".into());
    }
    let url: hyper::Uri = variable("UPSTREAM_URL")?.parse()?;
    let mut connections = Vec::new();
    for _ in 0..settings::<Settings>()?.in_flight {
        connections.push(connect(&url).await?);
    }
    let next = Arc::new(AtomicUsize::new(workload.first));
    let end = workload.numbers().end;
    let started = Instant::now();
    let mut slots = JoinSet::new();
    for connection in connections {
        slots.spawn(slot(connection, url.clone(), Arc::clone(&next), end));
    }
    let mut known = 0;
    while let Some(answered) = slots.join_next().await {
        known += answered??;
    }
    report_seconds(started.elapsed().as_secs_f64(), known);
    Ok(())
}

async fn connect(url: &hyper::Uri) -> Result<Connection, Failed> {
    let authority = url.authority().ok_or("UPSTREAM_URL has no host")?;
    let stream = TcpStream::connect(authority.as_str()).await?;
    stream.set_nodelay(true)?;
    let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(driver);
    Ok(connection)
}

/// One call after the other, until all are taken; how many were answered.
async fn slot(
    mut connection: Connection,
    url: hyper::Uri,
    next: Arc<AtomicUsize>,
    end: usize,
) -> Result<usize, Failed> {
    let host = url.authority().map_or("", |authority| authority.as_str());
    let mut answered = 0;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= end {
            return Ok(answered);
        }
        let request = Request::post(url.path())
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(request_body(&payload(number)))))?;
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        let answer = response.status().is_success();
        response.into_body().collect().await?;
        answered += usize::from(answer);
    }
}
