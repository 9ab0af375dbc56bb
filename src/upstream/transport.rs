//! The wire: a pool of connections, and one exchange of a request for a reply that is read to its end.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use reqwest::{
    Body, Response, Url,
    header::{CONTENT_TYPE, HeaderMap},
    redirect, retry,
};

use super::{Call, Error, assemble::Broken, stream as streamed};

/// A server that takes longer to accept a connection is taken to be away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Common servers close idle connections after 5 s; using one at that very moment loses a request that may be billed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Finds dead peers behind silent networks long before a task's timeout does.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Far above what a model can say in one answer.
const BODY_MAX: usize = 16 * 1024 * 1024;

/// A reply, read to its end.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Content,
}

/// What a reply held.
pub(super) enum Content {
    /// All of it; of a stream, what it says in one piece.
    Whole(Bytes),
    /// More than [`BODY_MAX`].
    TooLarge,
    /// A stream that is no answer.
    Broken(Broken),
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

/// Sends a call as this request, and reads all of the reply. Where the call has a listener a stream was asked for.
pub(super) async fn exchange(
    http: &reqwest::Client,
    url: Url,
    headers: HeaderMap,
    body: Body,
    call: &Call,
) -> Result<Answer, reqwest::Error> {
    let response = http.post(url).headers(headers).body(body).send().await?;
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let body = match read_body(response, call).await {
        // What an error says is less than what its status says.
        Err(_) if !is_success(status) => Content::Whole(Bytes::new()),
        other => other?,
    };
    Ok(Answer {
        status,
        headers,
        body,
    })
}

async fn read_body(mut response: Response, call: &Call) -> Result<Content, reqwest::Error> {
    if response
        .content_length()
        .is_some_and(|length| length > BODY_MAX as u64)
    {
        return Ok(Content::TooLarge);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > BODY_MAX {
            return Ok(Content::TooLarge);
        }
        let is_first = body.trim_ascii_start().is_empty();
        body.extend_from_slice(&chunk);
        if is_first && is_stream(&response, call.listener.is_some(), &body) {
            return Ok(read_stream(body.freeze(), response, call).await);
        }
    }
    Ok(Content::Whole(body.freeze()))
}

fn is_stream(response: &Response, asked: bool, begun: &[u8]) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok());
    is_success(response.status().as_u16()) && streamed::is_stream(kind, asked, begun)
}

async fn read_stream(begun: Bytes, response: Response, call: &Call) -> Content {
    let chunks = stream::iter([Ok(begun)]).chain(response.bytes_stream());
    match streamed::read(chunks, BODY_MAX, call).await {
        Ok(body) => Content::Whole(body.into()),
        Err(broken) => Content::Broken(broken),
    }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}
