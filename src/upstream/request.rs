//! One request on the wire: where it goes, what it carries, and how far it got.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT},
};
use hyper::body::{Body, Frame, SizeHint};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{Call, Error, Style};
use crate::model::Kind;

/// How this client calls itself.
const AGENT: &str = concat!("tidings/", env!("CARGO_PKG_VERSION"));
/// Where Azure wants the key.
const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// Where calls go: the base URL, with its query, put together with every path once.
pub(super) struct Endpoint {
    base: Url,
    /// In the order of [`Kind::ALL`].
    uris: [Uri; Kind::ALL.len()],
}

impl Endpoint {
    /// Reads a base URL, with or without a slash at its end.
    pub(super) fn parse(base_url: &str) -> Result<Self, Error> {
        let mut base = Url::parse(base_url.trim())
            .map_err(|_| Error::BaseUrl("it is not an absolute URL like https://host/v1"))?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(Error::BaseUrl("it must start with http:// or https://"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(Error::BaseUrl(
                "it must hold no user or password; use the API key",
            ));
        }
        base.set_fragment(None);
        let mut uris = <[Uri; Kind::ALL.len()]>::default();
        for (uri, kind) in uris.iter_mut().zip(Kind::ALL) {
            let url = below(&base, kind.path());
            *uri = Uri::try_from(url.as_str())
                .map_err(|_| Error::BaseUrl("it holds characters that no request can carry"))?;
        }
        Ok(Endpoint { base, uris })
    }

    /// Whether calls go out in the clear.
    pub(super) fn is_plain(&self) -> bool {
        self.base.scheme() == "http"
    }

    /// What tells it from others.
    pub(super) fn name(&self) -> String {
        below(&self.base, "").into()
    }

    /// Where requests of a kind go.
    pub(super) fn uri(&self, kind: Kind) -> Uri {
        self.uris[kind as usize].clone()
    }
}

/// The URL of `path` below the base, and before its query.
fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    let base_path = base.path().trim_end_matches('/');
    url.set_path(&format!("{base_path}/{}", path.trim_start_matches('/')));
    url
}

/// The header that carries a key, which no `Debug` shows.
pub(super) fn credential(
    key: &SecretString,
    style: Style,
) -> Result<(HeaderName, HeaderValue), Error> {
    let key = key.expose_secret();
    if key.is_empty() {
        return Err(Error::ApiKey);
    }
    let (name, text) = match style {
        Style::OpenAi => (AUTHORIZATION, format!("Bearer {key}")),
        Style::Azure => (API_KEY, key.to_owned()),
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| Error::ApiKey)?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// The headers of one call; none when it has text that a header cannot carry.
pub(super) fn headers(
    call: &Call,
    credential: Option<&(HeaderName, HeaderValue)>,
) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        "idempotency-key",
        HeaderValue::from_str(&call.idempotency_key).ok()?,
    );
    headers.insert(
        "x-client-request-id",
        HeaderValue::from_str(&call.request_id).ok()?,
    );
    headers.extend(credential.cloned());
    Some(headers)
}

/// Knows whether a request's body was asked for, which the transport does only once it has a connection. What was
/// never sent was never billed.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent(Arc<AtomicBool>);

impl Sent {
    /// A body that marks this when it is sent.
    pub(super) fn body(&self, bytes: Bytes) -> Marked {
        Marked {
            bytes: Some(bytes),
            sent: self.clone(),
        }
    }

    /// Whether the body may have left this machine.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Such a body.
#[derive(Debug)]
pub(super) struct Marked {
    bytes: Option<Bytes>,
    sent: Sent,
}

impl Body for Marked {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.sent.0.store(true, Ordering::Release);
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_below_the_base_and_before_its_query() {
        for (base, url) in [
            (
                "https://api.openai.com/v1",
                "https://api.openai.com/v1/chat/completions",
            ),
            (
                "https://api.openai.com/v1/",
                "https://api.openai.com/v1/chat/completions",
            ),
            (
                "http://127.0.0.1:8000",
                "http://127.0.0.1:8000/chat/completions",
            ),
            (
                "https://x.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
                "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21",
            ),
        ] {
            let endpoint = Endpoint::parse(base).unwrap();
            assert_eq!(endpoint.uri(Kind::Chat), url);
        }
    }

    #[test]
    fn every_kind_has_its_own_path() {
        let endpoint = Endpoint::parse("http://host/v1?a=b").unwrap();
        for kind in Kind::ALL {
            let path = format!("/v1{}?a=b", kind.path());
            assert_eq!(endpoint.uri(kind).path_and_query().unwrap().as_str(), path);
        }
    }

    #[test]
    fn a_base_url_that_cannot_work_is_refused() {
        for base in [
            "",
            "api.openai.com/v1",
            "ftp://host",
            "https://me:pw@host/v1",
            "unix:/x",
        ] {
            assert!(Endpoint::parse(base).is_err(), "{base}");
        }
    }

    #[test]
    fn the_key_is_in_the_header_and_in_no_debug() {
        let key = SecretString::from("sk-secret");
        for (style, header, carried) in [
            (Style::OpenAi, "authorization", "Bearer sk-secret"),
            (Style::Azure, "api-key", "sk-secret"),
        ] {
            let (name, value) = credential(&key, style).unwrap();
            assert_eq!(
                (name.as_str(), value.as_bytes()),
                (header, carried.as_bytes())
            );
            assert!(!format!("{value:?}").contains("secret"));
        }
        for bad in ["", "a\nb"] {
            let error = credential(&SecretString::from(bad), Style::OpenAi).unwrap_err();
            assert!(!format!("{error:?} {error}").contains("a\nb"));
        }
    }
}
