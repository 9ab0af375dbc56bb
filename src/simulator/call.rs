//! One call of any kind: admitted or refused, then answered, or failed the way the plan says.

use std::{collections::VecDeque, future::pending, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use hyper::{
    HeaderMap, Request, Response,
    body::Incoming,
    header::{CONTENT_LENGTH, HeaderName, HeaderValue},
};
use tokio::time::{Instant, sleep};

use super::{
    Canned, Fault,
    limit::{Admission, Holder},
    log::{Ended, OpenCall},
    reply::{
        Answer, Refusal, add_headers, ask, hash16, headers_of_fault, json_reply, reply, tokens,
    },
    request::{Asked, bearer, read},
    server::Break,
    shape,
    state::State,
    stream,
};
use crate::{
    clock::{Clock, SystemClock},
    model::Kind,
};

/// What [`Fault::Huge`] answers with: far more than any caller should read.
const HUGE_PIECES: usize = 64;
const HUGE_PIECE: usize = 1024 * 1024;

/// Handles one call. An `Err` breaks the connection instead of replying.
pub(super) async fn call(
    state: Arc<State>,
    kind: Kind,
    request: Request<Incoming>,
) -> Result<Response<Body>, Break> {
    let (head, body) = request.into_parts();
    let number = state.next_reply();
    let mut call = state.log.begin(kind.path());
    note_headers(&mut call, &head.headers);
    let asked = match read(&state, kind, &head.headers, body).await {
        Ok(asked) => asked,
        Err(refusal) => return Ok(refuse(call, Ended::Refused, &refusal, number)),
    };
    note_request(&mut call, &asked);
    if !state.is_healthy() {
        return Ok(refuse(
            call,
            Ended::Unhealthy,
            &Refusal::injected(503),
            number,
        ));
    }
    let holder = (
        call.record.key.clone().unwrap_or_default(),
        asked.model.clone(),
    );
    let now = (Instant::now(), SystemClock.now());
    let decision = state.limiter.admit(holder.clone(), ask(&asked), now);
    call.record.charged_tokens = decision.charged;
    let mut response = match throttled(&decision.admission) {
        Some(refusal) => refuse(call, Ended::Throttled, &refusal, number),
        None => admitted(&state, call, asked, (number, &holder)).await?,
    };
    add_headers(&mut response, decision.headers);
    Ok(response)
}

async fn admitted(
    state: &State,
    mut call: OpenCall,
    asked: Asked,
    (number, holder): (u64, &Holder),
) -> Result<Response<Body>, Break> {
    let prompt = u64::from_str_radix(&call.record.prompt, 16).unwrap_or_default();
    let fate = state.fate(prompt, Instant::now());
    call.record.attempt = fate.attempt;
    call.record.fault = fate.fault.as_ref().map(Fault::to_string);
    let include_usage = asked.include_usage;
    let answer = Answer::of(asked, number, fate.answer_tokens);
    let is_billed = fate.fault.as_ref().is_none_or(Fault::is_billed);
    if is_billed {
        call.record.billed_tokens = answer.input_tokens + answer.output_tokens;
    }
    // A stream takes half of its time to the first event and half to the last.
    let first = if call.record.streamed {
        fate.latency / 2
    } else {
        fate.latency
    };
    if !first.is_zero() && !fate.fault.as_ref().is_some_and(Fault::is_refusal) {
        sleep(first).await;
    }
    if is_billed {
        let used = call.record.billed_tokens;
        call.record.charged_tokens += state.limiter.settle(holder, used, Instant::now());
    }
    match fate.fault {
        Some(fault) => failed(call, &fault, answer, number).await,
        None => {
            let rest = fate.latency - first;
            Ok(answered(call, &answer, include_usage, rest, number))
        }
    }
}

fn answered(
    mut call: OpenCall,
    answer: &Answer,
    include_usage: bool,
    rest: Duration,
    number: u64,
) -> Response<Body> {
    call.record.output_tokens = answer.output_tokens;
    if !call.record.streamed {
        call.end(Ended::Answered, Some(200));
        return json_reply(200, number, &shape::body(answer));
    }
    let events = stream::events(answer, include_usage);
    let pause = rest / u32::try_from(events.len()).unwrap_or(u32::MAX);
    reply(
        200,
        number,
        "text/event-stream",
        stream::paced(call, events, pause),
    )
}

/// Fails the call the way `fault` says.
async fn failed(
    call: OpenCall,
    fault: &Fault,
    answer: Answer,
    number: u64,
) -> Result<Response<Body>, Break> {
    if let Some(refusal) = Refusal::of_fault(fault) {
        let mut response = refuse(call, Ended::Faulted, &refusal, number);
        add_headers(&mut response, headers_of_fault(fault));
        return Ok(response);
    }
    match fault {
        Fault::Stall => pending().await,
        Fault::Reset => Err(broken(call, Break::Reset)),
        Fault::Close => Err(broken(call, Break::Close)),
        Fault::Truncated => Ok(truncated(call, &answer, number)),
        Fault::Huge => Ok(huge(call, number)),
        Fault::Reply(canned) => Ok(word_for_word(call, canned, number)),
        _ => {
            call.end(Ended::Faulted, Some(200));
            if *fault == Fault::EmptyChoices {
                return Ok(json_reply(200, number, &shape::hollow(&answer)));
            }
            let half = shape::body(&answer).to_string();
            let half = half[..half.len() / 2].to_owned();
            Ok(reply(200, number, "application/json", Body::from(half)))
        }
    }
}

fn broken(call: OpenCall, how: Break) -> Break {
    call.end(Ended::Faulted, None);
    how
}

fn truncated(call: OpenCall, answer: &Answer, number: u64) -> Response<Body> {
    if call.record.streamed {
        let mut events = stream::events(answer, false);
        events.truncate(events.len() / 2);
        return reply(200, number, "text/event-stream", stream::cut(call, events));
    }
    let whole = Bytes::from(shape::body(answer).to_string());
    let half = VecDeque::from([whole.slice(..whole.len() / 2)]);
    let mut response = reply(200, number, "application/json", stream::cut(call, half));
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from(whole.len()));
    response
}

fn huge(mut call: OpenCall, number: u64) -> Response<Body> {
    call.record.ended = Ended::Faulted;
    let piece = Bytes::from(vec![b'x'; HUGE_PIECE]);
    let mut pieces = VecDeque::from([Bytes::from_static(
        br#"{"choices":[{"message":{"content":""#,
    )]);
    pieces.extend(std::iter::repeat_n(piece, HUGE_PIECES));
    pieces.push_back(Bytes::from_static(br#""}}]}"#));
    reply(
        200,
        number,
        "application/json",
        stream::paced(call, pieces, Duration::ZERO),
    )
}

fn word_for_word(call: OpenCall, canned: &Canned, number: u64) -> Response<Body> {
    call.end(Ended::Faulted, Some(canned.status));
    let body = Body::from(canned.body.clone());
    let mut response = reply(canned.status, number, "application/json", body);
    for (name, value) in &canned.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn refuse(call: OpenCall, ended: Ended, refusal: &Refusal, number: u64) -> Response<Body> {
    call.end(ended, Some(refusal.status));
    refusal.response(number)
}

fn throttled(admission: &Admission) -> Option<Refusal> {
    let (kind, code, message) = match admission {
        Admission::Admitted => return None,
        Admission::Refused { what, .. } => (*what, "rate_limit_exceeded", "rate limit reached"),
        Admission::TooLarge => (
            "tokens",
            "request_too_large",
            "the request needs more tokens than the whole limit",
        ),
    };
    Some(Refusal::of(429, kind, Some(code), message))
}

fn note_headers(call: &mut OpenCall, headers: &HeaderMap) {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    call.record.key = bearer(headers).map(hash16);
    call.record.idempotency_key = text("idempotency-key");
    call.record.client_request_id = text("x-client-request-id");
}

fn note_request(call: &mut OpenCall, asked: &Asked) {
    call.record.prompt = hash16(&asked.input.prompt);
    call.record.model.clone_from(&asked.model);
    call.record.streamed = asked.stream;
    call.record.input_tokens = tokens(asked.input.bytes);
}
