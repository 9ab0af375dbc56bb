//! How much of everything is in flight, over all connections: calls, watches, bytes of requests.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tonic::Status;

use crate::{
    config::{TransportConfig, key},
    service::{self, Method},
};

/// A count with a ceiling.
#[derive(Debug)]
struct Gauge {
    used: AtomicUsize,
    most: usize,
    /// The key that sets the ceiling.
    key: &'static str,
}

impl Gauge {
    fn new(most: usize, key: &'static str) -> Self {
        Gauge {
            used: AtomicUsize::new(0),
            most,
            key,
        }
    }

    fn take(&self, count: usize) -> Result<(), Status> {
        let before = self.used.fetch_add(count, Ordering::Relaxed);
        if before + count > self.most {
            self.give_back(count);
            return Err(service::overloaded(self.key, self.most));
        }
        Ok(())
    }

    fn give_back(&self, count: usize) {
        self.used.fetch_sub(count, Ordering::Relaxed);
    }
}

/// What all calls share.
#[derive(Debug)]
pub(super) struct Admission {
    calls: Gauge,
    watches: Gauge,
    bytes: Gauge,
}

impl Admission {
    pub(super) fn new(config: &TransportConfig) -> Self {
        Admission {
            calls: Gauge::new(config.unary_calls, key::LIMITS_UNARY_CALLS.path),
            watches: Gauge::new(config.watches, key::LIMITS_WATCHES.path),
            bytes: Gauge::new(config.request_bytes, key::LIMITS_REQUEST_BYTES.path),
        }
    }

    fn gauge(&self, method: Method) -> Option<&Gauge> {
        match method {
            Method::Submit | Method::Unary => Some(&self.calls),
            Method::Watch => Some(&self.watches),
            Method::Other => None,
        }
    }
}

/// What one call takes; given back when the last who holds it has gone.
#[derive(Debug)]
pub(super) struct Pass {
    admission: Arc<Admission>,
    method: Method,
    bytes: AtomicUsize,
    arrived: AtomicBool,
    counted: AtomicBool,
}

impl Pass {
    pub(super) fn new(admission: Arc<Admission>, method: Method) -> Self {
        Pass {
            admission,
            method,
            bytes: AtomicUsize::new(0),
            arrived: AtomicBool::new(false),
            counted: AtomicBool::new(false),
        }
    }

    /// More of the request has come. Counted as it comes and not as announced: a few bytes must not reserve many.
    pub(super) fn receive(&self, count: usize) -> Result<(), Status> {
        if self.method != Method::Other {
            self.admission.bytes.take(count)?;
            self.bytes.fetch_add(count, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The request is whole: from here on it is a call. Requests that never end must not use up the calls.
    pub(super) fn enter(&self) -> Result<(), Status> {
        if self.arrived.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        if let Some(gauge) = self.admission.gauge(self.method) {
            gauge.take(1)?;
            self.counted.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether the server waits for nothing more from the client.
    pub(super) fn has_arrived(&self) -> bool {
        // Streams of requests, as reflection has, may stay open.
        self.method == Method::Other || self.arrived.load(Ordering::Relaxed)
    }

    /// The request has been dealt with and its bytes are gone.
    pub(super) fn release_bytes(&self) {
        let count = self.bytes.swap(0, Ordering::Relaxed);
        self.admission.bytes.give_back(count);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.release_bytes();
        if *self.counted.get_mut()
            && let Some(gauge) = self.admission.gauge(self.method)
        {
            gauge.give_back(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::config::Config;

    fn admission() -> Arc<Admission> {
        let config = TransportConfig {
            unary_calls: 1,
            watches: 1,
            request_bytes: 10,
            ..Config::default().transport
        };
        Arc::new(Admission::new(&config))
    }

    #[test]
    fn what_a_call_took_comes_back_when_it_goes_and_a_refusal_takes_nothing() {
        let admission = admission();
        let pass = |method| Pass::new(admission.clone(), method);
        for _ in 0..3 {
            let (call, watch, second) = (
                pass(Method::Unary),
                pass(Method::Watch),
                pass(Method::Submit),
            );
            call.receive(7).unwrap();
            call.enter().unwrap();
            call.enter().unwrap();
            watch.enter().unwrap();
            assert!(second.receive(4).is_err());
            second.receive(3).unwrap();
            assert_eq!(second.enter().unwrap_err().code(), Code::ResourceExhausted);
        }
        for gauge in [&admission.calls, &admission.watches, &admission.bytes] {
            assert_eq!(gauge.used.load(Ordering::Relaxed), 0, "{gauge:?}");
        }
    }

    #[test]
    fn health_and_reflection_are_counted_nowhere() {
        let admission = admission();
        let passes: Vec<Pass> = (0..5)
            .map(|_| Pass::new(admission.clone(), Method::Other))
            .collect();
        for pass in &passes {
            pass.receive(100).unwrap();
            pass.enter().unwrap();
            assert!(pass.has_arrived());
        }
    }
}
