//! The client: sends a call, waits out short rate limits, and judges what comes back.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{sleep, timeout};

use super::{
    Call, Config, Error, ask,
    assemble::Broken,
    error_body::{ErrorBody, is_token, reveals},
    gate::Gate,
    reply::{self, NoAnswer},
    request::{Endpoint, Sent, authorization, headers},
    retry_after::retry_after,
    taxonomy::{Observed, Phase, held_back, judge},
    transport::{Answer, Content, exchange, http_client},
};
use crate::{
    clock::{Clock, SystemClock},
    model::{Budget, ErrorCode, Failed, Failure, Outcome, Recourse, Wait},
};

/// A rate limit that opens within this is waited out in the call; a longer one gives the worker back.
const IN_CALL_WAIT: Duration = Duration::from_secs(2);
/// All such waits of one call together.
const PATIENCE: Duration = Duration::from_secs(30);
/// The least wait after a call's first 429, doubled with each further one: a server that names waits too short to
/// help must not be asked again and again.
const LEAST_WAIT: Duration = Duration::from_millis(20);
/// Told waits are stretched by up to this share, so that not all calls come back at once.
const STRETCH: f64 = 0.1;
/// Longest upstream request id that is kept.
const REQUEST_ID_MAX: usize = 128;
/// Where upstreams put their id of a call, in order of preference.
const REQUEST_IDS: [&str; 4] = ["x-request-id", "request-id", "apim-request-id", "cf-ray"];

/// Calls one OpenAI-compatible server over a pool of connections. Cheap to clone; clones share pool and rate limits.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    http: reqwest::Client,
    endpoint: Endpoint,
    key: Option<SecretString>,
    authorization: Option<HeaderValue>,
    gate: Gate,
    plain: ask::Plain,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// A client for one server. Nothing is sent yet. Fails when the URL or the key cannot be used.
    pub fn new(config: Config) -> Result<Client, Error> {
        // Fails when there is a provider already, which then serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let endpoint = Endpoint::parse(&config.base_url)?;
        let authorization = config.api_key.as_ref().map(authorization).transpose()?;
        Ok(Client(Arc::new(Inner {
            http: http_client(endpoint.is_plain())?,
            endpoint,
            key: config.api_key,
            authorization,
            gate: Gate::default(),
            plain: ask::Plain::default(),
        })))
    }

    /// Sends the call and reads the answer. A 429 that opens soon is waited out, at most 30 s in all; every other
    /// failure is returned at once with what may be done about it. `before_send` is awaited once, before the first
    /// byte goes out. Dropping the future closes the connection.
    pub async fn complete(
        &self,
        call: &Call,
        before_send: impl Future<Output = ()> + Send,
    ) -> Result<Outcome, Failed> {
        let mut patience = PATIENCE;
        let mut least = LEAST_WAIT;
        let mut before_send = Some(before_send);
        loop {
            self.pass_gate(call, &mut patience).await?;
            if let Some(before_send) = before_send.take() {
                before_send.await;
            }
            let failed = match self.send(call).await {
                Ok(outcome) => return Ok(outcome),
                Err(failed) => failed,
            };
            let Some(told) = throttled(&failed) else {
                return Err(failed);
            };
            self.0.gate.close(&call.model, told, Instant::now());
            if told > IN_CALL_WAIT || least > patience {
                return Err(failed);
            }
            wait(least.mul_f64(rand::random_range(0.5..1.0)), &mut patience).await;
            least = (least * 2).min(IN_CALL_WAIT);
        }
    }

    /// Waits until the model's rate limit lets calls through; gives up where that takes too long.
    async fn pass_gate(&self, call: &Call, patience: &mut Duration) -> Result<(), Failed> {
        while let Some(closed) = self.0.gate.closed_for(&call.model, Instant::now()) {
            if closed > IN_CALL_WAIT || closed > *patience {
                return Err(held_back(closed));
            }
            wait(
                closed.mul_f64(1.0 + STRETCH * rand::random::<f64>()),
                patience,
            )
            .await;
        }
        Ok(())
    }

    /// One send, or two where the server refuses, for the first time, what asks for the usage of a stream.
    async fn send(&self, call: &Call) -> Result<Outcome, Failed> {
        if call.listener.is_none() {
            let answer = self.exchange(call, call.body.clone()).await?;
            return self.read(answer, &call.model);
        }
        let plain = ask::streamed(&call.body, false);
        let body = match self.0.plain.knows(&call.model) {
            true => plain.clone(),
            false => ask::streamed(&call.body, true),
        };
        let mut answer = self.exchange(call, body.clone()).await?;
        if let Content::Whole(refusal) = &answer.body
            && ask::refuses_options(answer.status, refusal)
            && plain != body
        {
            self.0.plain.note(&call.model);
            answer = self.exchange(call, plain).await?;
        }
        self.read(answer, &call.model)
    }

    async fn exchange(&self, call: &Call, body: Bytes) -> Result<Answer, Failed> {
        let Some(headers) = headers(call, self.0.authorization.as_ref()) else {
            return Err(not_sendable());
        };
        let listener = call.listener.as_deref();
        if let Some(listener) = listener {
            listener.begin();
        }
        let sent = Sent::default();
        let url = self.0.endpoint.join(&call.path);
        let body = sent.body(body);
        let exchange = exchange(&self.0.http, url, headers, body, listener);
        let lost = |phase| if sent.is_set() { phase } else { Phase::NotSent };
        match timeout(call.timeout, exchange).await {
            Err(_) => Err(judge(transport(lost(Phase::TimedOut)))),
            Ok(Err(_)) => Err(judge(transport(lost(Phase::Lost)))),
            Ok(Ok(answer)) => Ok(answer),
        }
    }

    fn read(&self, answer: Answer, model: &str) -> Result<Outcome, Failed> {
        let is_success = answer.is_success();
        let Answer {
            status,
            headers,
            body,
        } = answer;
        let mut phase = match body {
            Content::Whole(body) if !is_success => Phase::Status(status, ErrorBody::parse(&body)),
            Content::TooLarge if !is_success => Phase::Status(status, ErrorBody::default()),
            Content::Whole(body) => match read_success(body, model) {
                Ok(outcome) => return Ok(outcome),
                Err(NoAnswer::Error(error)) => Phase::Status(status, error),
                Err(NoAnswer::Unreadable) => Phase::BadReply(status),
            },
            Content::TooLarge | Content::Broken(Broken::Unreadable) => Phase::BadReply(status),
            Content::Broken(Broken::Truncated) => Phase::Truncated(status),
            Content::Broken(Broken::Error {
                error,
                after_output,
            }) => Phase::Streamed(status, error, after_output),
        };
        let key = self.0.key.as_ref().map(ExposeSecret::expose_secret);
        if let (Phase::Status(_, error) | Phase::Streamed(_, error, _), Some(key)) =
            (&mut phase, key)
        {
            error.forget(key);
        }
        Err(judge(Observed {
            phase,
            no_retry: headers
                .get("x-should-retry")
                .is_some_and(|value| value == "false"),
            retry_after: retry_after(&headers, SystemClock.now()),
            request_id: request_id(&headers).filter(|id| !key.is_some_and(|key| reveals(id, key))),
            chance: rand::random(),
        }))
    }
}

fn read_success(body: Bytes, model: &str) -> Result<Outcome, NoAnswer> {
    let body = String::from_utf8(body.into()).map_err(|_| NoAnswer::Unreadable)?;
    reply::read(body, model)
}

async fn wait(duration: Duration, patience: &mut Duration) {
    *patience = patience.saturating_sub(duration);
    sleep(duration).await;
}

/// The wait told by a rate limit; none for any other failure.
fn throttled(failed: &Failed) -> Option<Duration> {
    match failed.recourse {
        Recourse::Retry {
            budget: Budget::Time,
            wait: Wait::Told(told),
        } => Some(told),
        _ => None,
    }
}

fn transport(phase: Phase) -> Observed {
    Observed {
        phase,
        no_retry: false,
        retry_after: None,
        request_id: None,
        chance: 0.0,
    }
}

fn not_sendable() -> Failed {
    Failed {
        failure: Failure::new(
            ErrorCode::InvalidRequest,
            "the idempotency key or request id holds characters that a header cannot carry",
        ),
        recourse: Recourse::Never,
    }
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    REQUEST_IDS
        .iter()
        .filter_map(|name| headers.get(*name)?.to_str().ok())
        .find(|id| is_token(id, REQUEST_ID_MAX))
        .map(str::to_owned)
}
