//! Ports for servers that are killed and come back.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// Below the range that the system gives to outgoing connections: such a connection could take the port of a server
/// while it is down, and the server would not come back.
const FIRST: u16 = 10_000;
/// As many as there are: up to where the ports for the cluster bus begin.
const COUNT: u16 = BUS_OFFSET;
/// A cluster node talks to the others on its port and this.
const BUS_OFFSET: u16 = 10_000;

/// A port that is free, as is the one for the cluster bus that belongs to it; no two calls of a process give the same.
pub(crate) fn free() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test runs at the same time begin at different places.
    let start = std::process::id().wrapping_mul(997) % u32::from(COUNT);
    (0..COUNT)
        .map(|_| u32::from(NEXT.fetch_add(1, Ordering::Relaxed)))
        .map(|step| FIRST + u16::try_from((start + step) % u32::from(COUNT)).unwrap())
        .find(|port| is_free(*port) && is_free(port + BUS_OFFSET))
        .expect("there is a free port")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
