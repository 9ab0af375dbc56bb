//! Which request goes where.

use std::sync::Arc;

use axum::body::Body;
use hyper::{Method, Request, Response, body::Incoming};

use super::{
    chat::chat,
    reply::{Refusal, models},
    request::check_key,
    server::Break,
    state::State,
};

/// Answers one request, or breaks the connection.
pub(super) async fn route(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Break> {
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/v1/chat/completions") => chat(state, request).await,
        (&Method::GET, "/v1/models") => {
            let number = state.next_reply();
            Ok(match check_key(&state, request.headers()) {
                Ok(()) => models(&state.models, number),
                Err(refusal) => refusal.response(number),
            })
        }
        (_, "/v1/chat/completions" | "/v1/models") => Ok(refused(
            &state,
            405,
            "the simulation has no such method here",
        )),
        _ => Ok(refused(&state, 404, "the simulation has no such path")),
    }
}

fn refused(state: &State, status: u16, message: &'static str) -> Response<Body> {
    Refusal::of(status, "invalid_request_error", None, message).response(state.next_reply())
}
