//! Where a call comes in: its deadline is read and its request measured before tonic sees it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, service::Service as HyperService};
use tonic::service::Routes;
use tower_service::Service as _;

use super::{
    admission::{Admission, Pass},
    answer::{Answer, Outbound},
    deadline,
    inbound::Inbound,
};
use crate::service::{Deadline, Limits, Method};

/// The service of every connection.
#[derive(Clone)]
pub(super) struct Front {
    routes: Routes,
    limits: Limits,
    admission: Arc<Admission>,
    request_timeout: Duration,
}

impl Front {
    pub(super) fn new(
        routes: Routes,
        limits: Limits,
        admission: Arc<Admission>,
        request_timeout: Duration,
    ) -> Self {
        Front {
            routes: routes.prepare(),
            limits,
            admission,
            request_timeout,
        }
    }
}

impl HyperService<Request<Incoming>> for Front {
    type Response = Response<Outbound>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, mut request: Request<Incoming>) -> Answer {
        let deadline = match deadline::read(request.headers()) {
            Ok(deadline) => deadline,
            Err(refusal) => return Answer::Refused(Some(refusal)),
        };
        if let Some(instant) = deadline {
            request.extensions_mut().insert(Deadline(instant));
        }
        let method = Method::of(request.uri().path());
        let most = method.max_bytes(&self.limits);
        let pass = Arc::new(Pass::new(self.admission.clone(), method));
        let request = request.map(|body| Inbound::new(body, pass.clone(), most));
        // The routes are always ready: they hold no permits.
        let routed = self.routes.clone().call(request);
        Answer::new(routed, pass, deadline, self.request_timeout)
    }
}
