//! The client: sends a call, waits out short rate limits, and judges what comes back.

use std::{
    fmt,
    num::NonZeroU64,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{sleep, timeout};

use super::{
    Call, Config, Error,
    error_body::{ErrorBody, is_token, reveals},
    pace::{Answer as Heard, Settings, float},
    pacer::{Pacer, Turn},
    queue::NEAR,
    rate_headers,
    reply::{self, NoAnswer},
    request::{Endpoint, Sent, authorization, headers},
    retry_after::retry_after,
    shared::Shared,
    taxonomy::{Observed, Phase, held_back, judge},
    transport::{Answer, exchange, http_client},
};
use crate::{
    clock::{Clock, SystemClock},
    model::{Budget, ErrorCode, Failed, Failure, Outcome, Recourse, Wait},
};

/// All such waits of one call together.
const PATIENCE: Duration = Duration::from_secs(30);
/// The least wait after a call's first 429, doubled with each further one: a server that names waits too short to
/// help must not be asked again and again.
const LEAST_WAIT: Duration = Duration::from_millis(20);
/// By this code an upstream asks for a slower ramp than its limits would allow.
const SLOW_DOWN: &str = "slow_down";
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
    pacer: Arc<Pacer>,
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
        let settings = Settings {
            requests: config.requests_per_minute.map(a_second),
            tokens: config.tokens_per_minute.map(a_second),
        };
        let mut scope = blake3::Hasher::new();
        let key = config.api_key.as_ref().map(ExposeSecret::expose_secret);
        scope.update(config.base_url.as_bytes()).update(b"\0");
        scope
            .update(key.unwrap_or_default().as_bytes())
            .update(b"\0");
        let pacer = Arc::new(Pacer::new(settings, config.adaptive_concurrency, scope));
        Ok(Client(Arc::new(Inner {
            http: http_client(endpoint.is_plain())?,
            endpoint,
            key: config.api_key,
            authorization,
            pacer,
        })))
    }

    /// From now on all processes that share this keep to one schedule, as far as they use the same server and key. The
    /// first call counts.
    pub fn share(&self, shared: Arc<dyn Shared>) {
        self.0.pacer.share(shared);
    }

    /// When a call of about so many tokens could be sent, as far as is known now; `now` where nothing is in its way.
    pub fn earliest(&self, model: &str, tokens: u64, now: Instant) -> Instant {
        now + self.0.pacer.earliest(model, float(tokens))
    }

    /// How many calls may wait for their turns, over all models; none where any number may be begun.
    pub fn room(&self) -> Option<usize> {
        self.0.pacer.room()
    }

    /// Waits for the call's turn, sends it and reads the answer. A 429 that opens soon is waited out, at most 30 s in
    /// all; every other failure is returned at once with what may be done about it. `before_send` is awaited once,
    /// before the first byte goes out. Dropping the future closes the connection.
    pub async fn complete(
        &self,
        call: &Call,
        before_send: impl Future<Output = ()> + Send,
    ) -> Result<Outcome, Failed> {
        let mut patience = PATIENCE;
        let mut least = LEAST_WAIT;
        let mut before_send = Some(before_send);
        loop {
            let turn = self.0.pacer.turn(call, &mut patience).await;
            let mut turn = turn.map_err(held_back)?;
            if let Some(before_send) = before_send.take() {
                before_send.await;
                if turn.is_stale() {
                    drop(turn);
                    let again = self.0.pacer.turn(call, &mut patience).await;
                    turn = again.map_err(held_back)?;
                }
            }
            let failed = match self.send(call, turn).await {
                Ok(outcome) => return Ok(outcome),
                Err(failed) => failed,
            };
            let Some(told) = throttled(&failed) else {
                return Err(failed);
            };
            if told > NEAR || least > patience {
                return Err(failed);
            }
            wait(least.mul_f64(rand::random_range(0.5..1.0)), &mut patience).await;
            least = (least * 2).min(NEAR);
        }
    }

    /// One send.
    async fn send(&self, call: &Call, mut turn: Turn) -> Result<Outcome, Failed> {
        let Some(headers) = headers(call, self.0.authorization.as_ref()) else {
            return Err(not_sendable());
        };
        let sent = Sent::default();
        let url = self.0.endpoint.join(&call.path);
        let body = sent.body(call.body.clone());
        let exchange = exchange(&self.0.http, url, headers, body);
        let lost = |phase| if sent.is_set() { phase } else { Phase::NotSent };
        turn.go();
        match timeout(call.timeout, exchange).await {
            Err(_) => Err(judge(transport(lost(Phase::TimedOut)))),
            Ok(Err(_)) => Err(judge(transport(lost(Phase::Lost)))),
            Ok(Ok(answer)) => {
                let told = rate_headers::read(&answer.headers, SystemClock.now());
                let mut slow_down = false;
                let result = self.read(answer, &call.model, &mut slow_down);
                turn.heard(told, heard(&result, slow_down));
                turn.tell().await;
                result
            }
        }
    }

    fn read(&self, answer: Answer, model: &str, slow_down: &mut bool) -> Result<Outcome, Failed> {
        let is_success = answer.is_success();
        let Answer {
            status,
            headers,
            body,
        } = answer;
        let mut phase = match body {
            Some(body) if !is_success => Phase::Status(status, ErrorBody::parse(&body)),
            None if !is_success => Phase::Status(status, ErrorBody::default()),
            body => match read_success(body, model) {
                Ok(outcome) => return Ok(outcome),
                Err(NoAnswer::Error(error)) => Phase::Status(status, error),
                Err(NoAnswer::Unreadable) => Phase::BadReply(status),
            },
        };
        *slow_down =
            matches!(&phase, Phase::Status(_, error) if error.code.as_deref() == Some(SLOW_DOWN));
        let key = self.0.key.as_ref().map(ExposeSecret::expose_secret);
        if let (Phase::Status(_, error), Some(key)) = (&mut phase, key) {
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

fn a_second(a_minute: NonZeroU64) -> f64 {
    float(a_minute.get()) / 60.0
}

fn read_success(body: Option<Bytes>, model: &str) -> Result<Outcome, NoAnswer> {
    let body = body.ok_or(NoAnswer::Unreadable)?;
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

/// What a reply means for the schedule.
fn heard(result: &Result<Outcome, Failed>, slow_down: bool) -> Heard {
    match result {
        Ok(outcome) => Heard::Used(outcome.usage.input_tokens, outcome.usage.output_tokens),
        Err(failed) => match (throttled(failed), failed.failure.code) {
            (Some(told), _) => Heard::Throttled {
                told: told.as_secs_f64(),
                slow_down,
            },
            (None, ErrorCode::UpstreamOverloaded) => Heard::Overloaded,
            (None, _) => Heard::Other,
        },
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
