//! What becomes of a call: its answer, or a refusal when time is up; and the answer's body, which ends in time too.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tonic::{Status, body::Body, service::Routes};
use tower_service::Service;

use super::{admission::Pass, inbound::Inbound};
use crate::service;

/// tonic's own side of a call.
type Routed = <Routes as Service<Request<Inbound>>>::Future;
type Timer = Option<Pin<Box<Sleep>>>;

fn is_over(timer: &mut Timer, cx: &mut Context<'_>) -> bool {
    timer
        .as_mut()
        .is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
}

/// A call under way.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every call is the large one, and a box for it would be one more allocation a call"
)]
pub(super) enum Answer {
    /// Refused before it began.
    Refused(Option<Status>),
    /// With tonic.
    Running(Running),
}

pub(super) struct Running {
    routed: Routed,
    pass: Arc<Pass>,
    deadline: Timer,
    /// Bounds how long the request may take to arrive; armed only if it is not there at once.
    arrival: Timer,
    request_timeout: Duration,
}

impl Answer {
    pub(super) fn new(
        routed: Routed,
        pass: Arc<Pass>,
        deadline: Option<Instant>,
        request_timeout: Duration,
    ) -> Self {
        Answer::Running(Running {
            routed,
            pass,
            deadline: deadline.map(|instant| Box::pin(sleep_until(instant))),
            arrival: None,
            request_timeout,
        })
    }
}

impl Future for Answer {
    type Output = Result<Response<Outbound>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Answer::Refused(status) => {
                Poll::Ready(Ok(refusal(status.take().unwrap_or_else(|| {
                    Status::internal("the call was polled after its end")
                }))))
            }
            Answer::Running(running) => running.poll(cx).map(Ok),
        }
    }
}

impl Running {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Response<Outbound>> {
        if let Poll::Ready(Ok(response)) = Pin::new(&mut self.routed).poll(cx) {
            self.pass.release_bytes();
            return Poll::Ready(response.map(|body| Outbound {
                body,
                deadline: self.deadline.take(),
                _pass: Some(self.pass.clone()),
            }));
        }
        // The handler goes with this future. What it has handed to the store is done all the same.
        if is_over(&mut self.deadline, cx) {
            return Poll::Ready(refusal(service::deadline_passed()));
        }
        if !self.pass.has_arrived() {
            self.arrival
                .get_or_insert_with(|| Box::pin(sleep(self.request_timeout)));
            if is_over(&mut self.arrival, cx) {
                return Poll::Ready(refusal(service::request_late()));
            }
        }
        Poll::Pending
    }
}

fn refusal(status: Status) -> Response<Outbound> {
    status.into_http::<Body>().map(|body| Outbound {
        body,
        deadline: None,
        _pass: None,
    })
}

/// An answer's body. Holds the call's place until it is sent or dropped.
pub(super) struct Outbound {
    body: Body,
    deadline: Timer,
    /// Held, not looked at.
    _pass: Option<Arc<Pass>>,
}

impl HttpBody for Outbound {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if is_over(&mut this.deadline, cx) {
            *this = Outbound {
                body: Body::empty(),
                deadline: None,
                _pass: None,
            };
            return Poll::Ready(Some(trailers(&service::deadline_passed())));
        }
        Pin::new(&mut this.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

fn trailers(status: &Status) -> Result<Frame<Bytes>, Status> {
    let mut headers = HeaderMap::new();
    status.add_header(&mut headers)?;
    Ok(Frame::trailers(headers))
}
