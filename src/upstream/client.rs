//! The client: sends a call, waits out short rate limits, and judges what comes back.

use std::{fmt, num::NonZeroU64, sync::Arc, time::Duration};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{sleep, timeout};

use super::{
    Call, Config, Error, Style, ask,
    assemble::Broken,
    error_body::{ErrorBody, is_token, reveals},
    pace::{Answer as Heard, Cost, Settings, float},
    pacer::{Pacer, Turn},
    patience::Once,
    queue::NEAR,
    rate_headers,
    reply::{self, NoAnswer},
    request::{Endpoint, Sent, credential, headers},
    retry_after::retry_after,
    shared::Shared,
    taxonomy::{Observed, Phase, held_back, is_held_back, judge},
    transport::{Answer, Content, Http, exchange, http_client},
};
use crate::{
    clock::{Clock, SystemClock},
    model::{Budget, ErrorCode, Failed, Failure, Outcome, Recourse, Wait, Waiting},
};

/// All waits of one call for its turns together.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// The least wait after a call's first 429, doubled with each further one: a server that names waits too short to
/// help must not be asked again and again.
pub(super) const LEAST_WAIT: Duration = Duration::from_millis(20);
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
    http: Http,
    endpoint: Endpoint,
    key: Option<SecretString>,
    credential: Option<(HeaderName, HeaderValue)>,
    pacer: Arc<Pacer>,
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
        Client::styled(config, Style::OpenAi)
    }

    /// As [`Client::new`], for a server that wants the key in its own way.
    pub(super) fn styled(config: Config, style: Style) -> Result<Client, Error> {
        // Fails when there is a provider already, which then serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let endpoint = Endpoint::parse(&config.base_url)?;
        let key = config.api_key.as_ref();
        let credential = key.map(|key| credential(key, style)).transpose()?;
        let settings = Settings {
            requests: config.requests_per_minute.map(a_second),
            tokens: config.tokens_per_minute.map(a_second),
        };
        let key = key.map(ExposeSecret::expose_secret).unwrap_or_default();
        let mut scope = blake3::Hasher::new();
        for part in [&endpoint.name(), key] {
            scope.update(part.as_bytes()).update(b"\0");
        }
        Ok(Client(Arc::new(Inner {
            http: http_client(endpoint.is_plain())?,
            endpoint,
            key: config.api_key,
            credential,
            pacer: Arc::new(Pacer::new(settings, config.adaptive_concurrency, scope)),
            plain: ask::Plain::default(),
        })))
    }

    /// From now on all processes that share this keep to one schedule, as far as they use the same server and key. The
    /// first call counts.
    pub(super) fn share(&self, shared: Arc<dyn Shared>) {
        self.0.pacer.share(shared);
    }

    /// How long such a call would wait for its turn, as far as is known now.
    pub(super) fn opens_in(&self, model: &str, cost: Cost) -> Duration {
        self.0.pacer.opens_in(model, cost)
    }

    /// Whether calls of the model have to wait for their turns, for how long nothing goes out at all where that was told.
    pub(super) fn waiting(&self, model: &str) -> Option<Waiting> {
        self.0.pacer.waiting(model)
    }

    /// How many calls may wait for their turns, of those models that some asked for lately and that count; none where
    /// any number may be begun.
    pub(super) fn room(&self, counts: impl Fn(&str) -> bool) -> Option<usize> {
        self.0.pacer.room(counts)
    }

    /// How many calls may wait before any has asked for a model.
    pub(super) fn first_room(&self) -> usize {
        self.0.pacer.first_room()
    }

    /// Waits for the call's turn, sends it and reads the answer. A 429 that opens soon is waited out, at most 30 s in
    /// all; every other failure is returned at once with what may be done about it. `before_send` is awaited once,
    /// before the first byte goes out. Dropping the future closes the connection.
    pub async fn complete(
        &self,
        call: &Call,
        before_send: impl Future<Output = ()> + Send,
    ) -> Result<Outcome, Failed> {
        let (mut patience, mut least) = (PATIENCE, LEAST_WAIT);
        let mut before_send = Once::new(before_send);
        loop {
            let before_send = async {
                before_send.run().await;
                Ok(())
            };
            let failed = match self.attempt(call, before_send, &mut patience).await {
                Ok(outcome) => return Ok(outcome),
                Err(failed) => failed,
            };
            let told = throttled(&failed).filter(|_| !is_held_back(&failed));
            if told.is_none_or(|told| told > NEAR || least > patience) {
                return Err(failed);
            }
            wait(least.mul_f64(rand::random_range(0.5..1.0)), &mut patience).await;
            least = (least * 2).min(NEAR);
        }
    }

    /// One call on its turn, for which it waits as long as `patience` lasts. `before_send` is awaited right before the
    /// first byte goes out, and may still stop the call.
    pub(super) async fn attempt(
        &self,
        call: &Call,
        before_send: impl Future<Output = Result<(), Failed>> + Send,
        patience: &mut Duration,
    ) -> Result<Outcome, Failed> {
        let (body, plain) = self.0.plain.bodies(call);
        let turn = self.0.pacer.turn(call, patience).await;
        let mut turn = turn.map_err(held_back)?;
        before_send.await?;
        if turn.is_stale() {
            drop(turn);
            let again = self.0.pacer.next_turn(call, patience).await;
            turn = again.map_err(held_back)?;
        }
        let (ended, refuses_options) = self.send(call, body, turn).await;
        let Some(plain) = plain.filter(|_| refuses_options) else {
            return ended;
        };
        // Another request, for which the upstream counts another turn.
        let turn = self.0.pacer.next_turn(call, patience).await;
        let turn = turn.map_err(held_back)?;
        let ended = self.send(call, plain, turn).await.0;
        if ended.is_ok() {
            self.0.plain.note(&call.model);
        }
        ended
    }

    /// One request on its turn, whose schedule hears what came back, and whether it may have been refused for what it
    /// says of how to stream.
    async fn send(
        &self,
        call: &Call,
        body: Bytes,
        mut turn: Turn,
    ) -> (Result<Outcome, Failed>, bool) {
        let answer = match self.exchange(call, body, &mut turn).await {
            Ok(answer) => answer,
            Err(failed) => {
                turn.lost(&failed);
                return (Err(failed), false);
            }
        };
        let told = rate_headers::read(&answer.headers, SystemClock.now());
        let refuses_options = matches!(
            &answer.body,
            Content::Whole(body) if ask::refuses_options(answer.status, body)
        );
        let told_wait = retry_after(&answer.headers, SystemClock.now());
        let mut slow_down = false;
        let ended = self.read(answer, call, &mut slow_down);
        turn.heard(told, heard(&ended, told_wait, slow_down));
        turn.tell().await;
        (ended, refuses_options)
    }

    async fn exchange(&self, call: &Call, body: Bytes, turn: &mut Turn) -> Result<Answer, Failed> {
        let Some(headers) = headers(call, self.0.credential.as_ref()) else {
            return Err(not_sendable());
        };
        if let Some(listener) = &call.listener {
            listener.begin();
        }
        let sent = Sent::default();
        let uri = self.0.endpoint.uri(call.kind);
        let body = sent.body(body);
        let exchange = exchange(&self.0.http, uri, headers, body, call);
        let lost = |phase| if sent.is_set() { phase } else { Phase::NotSent };
        turn.go();
        match timeout(call.timeout, exchange).await {
            Err(_) => Err(judge(transport(lost(Phase::TimedOut)))),
            Ok(Err(_)) => Err(judge(transport(lost(Phase::Lost)))),
            Ok(Ok(answer)) => Ok(answer),
        }
    }

    fn read(&self, answer: Answer, call: &Call, slow_down: &mut bool) -> Result<Outcome, Failed> {
        let is_success = answer.is_success();
        let Answer {
            status,
            headers,
            body,
        } = answer;
        let mut phase = match body {
            Content::Whole(body) if !is_success => Phase::Status(status, ErrorBody::parse(&body)),
            Content::TooLarge if !is_success => Phase::Status(status, ErrorBody::default()),
            Content::Whole(body) => match read_success(body, call) {
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
        *slow_down = matches!(
            &phase,
            Phase::Status(_, error) | Phase::Streamed(_, error, _)
                if [&error.code, &error.kind].into_iter().flatten().any(|token| token == SLOW_DOWN)
        );
        let key = self.0.key.as_ref().map(ExposeSecret::expose_secret);
        if let (Phase::Status(_, error) | Phase::Streamed(_, error, _), Some(key)) =
            (&mut phase, key)
        {
            error.forget(key);
        }
        Err(judge(Observed {
            phase,
            should_retry: should_retry(&headers),
            retry_after: retry_after(&headers, SystemClock.now()),
            request_id: request_id(&headers).filter(|id| !key.is_some_and(|key| reveals(id, key))),
            chance: rand::random(),
        }))
    }
}

fn a_second(a_minute: NonZeroU64) -> f64 {
    float(a_minute.get()) / 60.0
}

fn read_success(body: Bytes, call: &Call) -> Result<Outcome, NoAnswer> {
    let body = String::from_utf8(body.into()).map_err(|_| NoAnswer::Unreadable)?;
    reply::read(call.kind, body, &call.model)
}

pub(super) async fn wait(duration: Duration, patience: &mut Duration) {
    *patience = patience.saturating_sub(duration);
    sleep(duration).await;
}

/// The wait told by a rate limit; none for any other failure.
pub(super) fn throttled(failed: &Failed) -> Option<Duration> {
    match failed.recourse {
        Recourse::Retry {
            budget: Budget::Time,
            wait: Wait::Told(told),
        } => Some(told),
        _ => None,
    }
}

/// What a reply means for the schedule.
fn heard(result: &Result<Outcome, Failed>, told_wait: Option<Duration>, slow_down: bool) -> Heard {
    match result {
        Ok(outcome) => Heard::Used(outcome.usage.input_tokens, outcome.usage.output_tokens),
        Err(failed) => match (throttled(failed), failed.failure.code) {
            (Some(told), _) => Heard::Throttled {
                told: told.as_secs_f64(),
                slow_down,
            },
            // One that the upstream forbids to repeat holds the others back all the same.
            (None, ErrorCode::DeadlineExceededThrottled) => Heard::Throttled {
                told: told_wait.unwrap_or(LEAST_WAIT).as_secs_f64(),
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
        should_retry: None,
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

fn should_retry(headers: &HeaderMap) -> Option<bool> {
    headers.get("x-should-retry")?.to_str().ok()?.parse().ok()
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    REQUEST_IDS
        .iter()
        .filter_map(|name| headers.get(*name)?.to_str().ok())
        .find(|id| is_token(id, REQUEST_ID_MAX))
        .map(str::to_owned)
}
