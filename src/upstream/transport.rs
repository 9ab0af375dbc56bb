//! The wire: a pool of connections, and one exchange of a request for a reply that is read to its end.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Body, Response, Url, header::HeaderMap, redirect, retry};

use super::Error;

/// A server that takes longer to accept a connection is taken to be away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Common servers close idle connections after 5 s; using one at that very moment loses a request that may be billed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Finds dead peers behind silent networks long before a task's timeout does.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Far above what a model can say in one answer.
const BODY_MAX: usize = 16 * 1024 * 1024;
/// A reply, read to its end; no body where it was larger than [`BODY_MAX`].
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
}

impl Answer {
    /// The upstream says that it answered; what it says may still be an error.
    pub(super) fn is_success(&self) -> bool {
        is_success(self.status)
    }
}

/// A pool of connections. `plain` is for servers that are called without TLS.
pub(super) fn http_client(plain: bool) -> Result<reqwest::Client, Error> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("tidings/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(usize::MAX)
        .tcp_nodelay(true)
        .tcp_keepalive(KEEPALIVE)
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .http2_keep_alive_while_idle(false)
        // A redirected POST would be sent, and may be billed, twice, and carry the key elsewhere.
        .redirect(redirect::Policy::none())
        // Attempts are counted by the task, not hidden in here.
        .retry(retry::never())
        // Only what is configured decides where prompts go, not a variable of the environment.
        .no_proxy();
    let builder = if plain {
        // The machine's certificates are not needed, and a bare container has none.
        builder.tls_certs_only([])
    } else {
        builder
    };
    builder
        .build()
        .map_err(|error| Error::Client(error.without_url()))
}

/// Sends a request, and reads all of the reply.
pub(super) async fn exchange(
    http: &reqwest::Client,
    url: Url,
    headers: HeaderMap,
    body: Body,
) -> Result<Answer, reqwest::Error> {
    let response = http.post(url).headers(headers).body(body).send().await?;
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let body = match read_body(response).await {
        // What an error says is less than what its status says.
        Err(_) if !is_success(status) => Some(Bytes::new()),
        other => other?,
    };
    Ok(Answer {
        status,
        headers,
        body,
    })
}

async fn read_body(mut response: Response) -> Result<Option<Bytes>, reqwest::Error> {
    if response
        .content_length()
        .is_some_and(|length| length > BODY_MAX as u64)
    {
        return Ok(None);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > BODY_MAX {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.freeze()))
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}
