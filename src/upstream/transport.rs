//! The wire: a pool of connections, and one exchange of a request for a reply that is read to its end.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use http::{HeaderMap, Method, Request, Uri, header::CONTENT_TYPE, response::Parts};
use http_body_util::{BodyDataStream, BodyExt as _};
use hyper::body::{Body as _, Incoming};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore};

use super::{Call, Error, assemble::Broken, request::Marked, stream as streamed};

/// A server that takes longer to accept a connection is taken to be away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Common servers close idle connections after 5 s; using one at that very moment loses a request that may be billed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Finds dead peers behind silent networks long before a task's timeout does.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Between further looks at a silent connection, of which so many may stay without an answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
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

/// A pool of connections. It follows no redirect, which would send a POST, and may bill it, twice, and carry the key
/// elsewhere; it repeats no request that was sent, since attempts are counted by the task; and it asks no variable of the
/// environment where prompts go.
pub(super) type Http = Client<TimeoutConnector<HttpsConnector<HttpConnector>>, Marked>;

/// Such a pool. `plain` is for servers that are called without TLS.
pub(super) fn http_client(plain: bool) -> Result<Http, Error> {
    let config = ClientConfig::builder();
    let config = if plain {
        // The machine's certificates are not needed, and a bare container has none.
        config.with_root_certificates(RootCertStore::empty())
    } else {
        config.try_with_platform_verifier().map_err(Error::Client)?
    };
    let tls = HttpsConnectorBuilder::new()
        .with_tls_config(config.with_no_client_auth())
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(tcp());
    let mut connector = TimeoutConnector::new(tls);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    Ok(Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .build(connector))
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    // Shared out among a name's addresses: one that does not answer leaves time for the next.
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(KEEPALIVE));
    tcp
}

/// No reply, or not all of it.
#[derive(Debug)]
pub(super) struct Lost;

/// Sends a call as this request, and reads all of the reply. Where the call has a listener a stream was asked for.
pub(super) async fn exchange(
    http: &Http,
    uri: Uri,
    headers: HeaderMap,
    body: Marked,
    call: &Call,
) -> Result<Answer, Lost> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    let response = http.request(request).await.map_err(|_| Lost)?;
    let (head, body) = response.into_parts();
    let body = match read_body(&head, body, call).await {
        // What an error says is less than what its status says.
        Err(Lost) if !head.status.is_success() => Content::Whole(Bytes::new()),
        other => other?,
    };
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    })
}

async fn read_body(head: &Parts, mut reply: Incoming, call: &Call) -> Result<Content, Lost> {
    if reply.size_hint().lower() > BODY_MAX as u64 {
        return Ok(Content::TooLarge);
    }
    let mut body = BytesMut::new();
    while let Some(frame) = reply.frame().await {
        let Ok(chunk) = frame.map_err(|_| Lost)?.into_data() else {
            continue;
        };
        if body.len() + chunk.len() > BODY_MAX {
            return Ok(Content::TooLarge);
        }
        let is_first = body.trim_ascii_start().is_empty();
        body.extend_from_slice(&chunk);
        if is_first && is_stream(head, call.listener.is_some(), &body) {
            return Ok(read_stream(body.freeze(), reply, call).await);
        }
    }
    Ok(Content::Whole(body.freeze()))
}

fn is_stream(head: &Parts, asked: bool, begun: &[u8]) -> bool {
    let kind = head.headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok());
    head.status.is_success() && streamed::is_stream(kind, asked, begun)
}

async fn read_stream(begun: Bytes, reply: Incoming, call: &Call) -> Content {
    let chunks = stream::iter([Ok(begun)]).chain(BodyDataStream::new(reply));
    match streamed::read(chunks, BODY_MAX, call).await {
        Ok(body) => Content::Whole(body.into()),
        Err(broken) => Content::Broken(broken),
    }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}
