//! Which request goes where.

use std::sync::Arc;

use axum::body::Body;
use hyper::{Method, Request, Response, body::Incoming};

use super::{
    call::call,
    reply::{Refusal, models},
    request::check_key,
    server::Break,
    state::State,
};
use crate::model::Kind;

/// Answers one request, or breaks the connection.
pub(super) async fn route(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Break> {
    let path = request.uri().path();
    let kind = Kind::of_path(path).filter(|_| path.starts_with("/v1/"));
    match (request.method(), path, kind) {
        (&Method::POST, _, Some(kind)) => call(state, kind, request).await,
        (&Method::GET, "/v1/models", _) => {
            let number = state.next_reply();
            Ok(match check_key(&state, request.headers()) {
                Ok(()) => models(&state.models, number),
                Err(refusal) => refusal.response(number),
            })
        }
        (_, "/v1/models", _) | (_, _, Some(_)) => Ok(refused(
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
