//! What the gRPC server bears: connections, streams, calls, and for how long.

use std::time::Duration;

use super::{MAX_PAUSE, fault::Faults, key, layers::Layers, value};
use crate::service::Limits;

/// The most of anything counted here; more is a slip of the keyboard.
const MAX_COUNT: u64 = 100_000_000;
/// The most streams a connection: HTTP/2 numbers them with 31 bits, every second one is the client's.
const MAX_STREAMS: u64 = 1 << 30;
/// The most request bytes in flight.
const MAX_BYTES: u64 = 1 << 40;
/// The shortest of the durations: below it honest clients would be cut off.
const MIN_TIME: Duration = Duration::from_secs(1);

/// What the gRPC server bears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportConfig {
    /// Connections open at once.
    pub connections: usize,
    /// Connections open at once from one address; of IPv6 from one /64 network.
    pub connections_per_address: usize,
    /// Streams open at once on one connection; a call is one, and so is a watch.
    pub streams_per_connection: u32,
    /// Calls answered at once, watches apart.
    pub unary_calls: usize,
    /// Bytes of requests held at once.
    pub request_bytes: usize,
    /// Watches open at once.
    pub watches: usize,
    /// How long a connection may take to begin with HTTP/2.
    pub preface_timeout: Duration,
    /// How long a request may take to arrive whole.
    pub request_timeout: Duration,
    /// After this, a tenth more or less, a connection is told to go.
    pub max_age: Duration,
    /// And this long after that it is closed.
    pub age_grace: Duration,
}

pub(super) fn read(
    layers: &Layers,
    faults: &mut Faults,
    limits: Option<&Limits>,
) -> Option<TransportConfig> {
    let mut count =
        |key, most| layers.read(key, faults, |text| value::number::<usize>(text, 1, most));
    let connections = count(&key::LIMITS_CONNECTIONS, MAX_COUNT);
    let connections_per_address = count(&key::LIMITS_CONNECTIONS_PER_ADDRESS, MAX_COUNT);
    let unary_calls = count(&key::LIMITS_UNARY_CALLS, MAX_COUNT);
    let request_bytes = count(&key::LIMITS_REQUEST_BYTES, MAX_BYTES);
    let watches = count(&key::LIMITS_WATCHES, MAX_COUNT);
    let streams_per_connection = layers.read(&key::LIMITS_STREAMS_PER_CONNECTION, faults, |text| {
        value::number(text, 1, MAX_STREAMS)
    });
    let mut time = |key| {
        layers.read(key, faults, |text| {
            value::duration(text, MIN_TIME, MAX_PAUSE)
        })
    };
    let preface_timeout = time(&key::CONNECTION_PREFACE_TIMEOUT);
    let request_timeout = time(&key::CONNECTION_REQUEST_TIMEOUT);
    let max_age = time(&key::CONNECTION_MAX_AGE);
    let age_grace = time(&key::CONNECTION_AGE_GRACE);
    let config = TransportConfig {
        connections: connections?,
        connections_per_address: connections_per_address?,
        streams_per_connection: streams_per_connection?,
        unary_calls: unary_calls?,
        request_bytes: request_bytes?,
        watches: watches?,
        preface_timeout: preface_timeout?,
        request_timeout: request_timeout?,
        max_age: max_age?,
        age_grace: age_grace?,
    };
    holds_a_call(layers, faults, &config, limits?).then_some(config)
}

/// Whether the largest call that is read at all has room; otherwise it would be refused on an idle server.
fn holds_a_call(
    layers: &Layers,
    faults: &mut Faults,
    config: &TransportConfig,
    limits: &Limits,
) -> bool {
    let largest = limits.max_submit_bytes();
    if config.request_bytes >= largest {
        return true;
    }
    faults.add(
        layers.origin(&key::LIMITS_REQUEST_BYTES),
        format!(
            "{} is less than {largest}, twice the bytes a call may hold ({})",
            config.request_bytes,
            layers.origin(&key::LIMITS_BATCH_BYTES),
        ),
    );
    false
}
