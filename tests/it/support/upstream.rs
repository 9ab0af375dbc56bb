//! A simulated upstream on a free port, a client for it, and a raw server for what the simulation would never say.

use std::{
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use tidings::{
    model::Kind,
    simulator::{Config, Fault, Faults, Running, Simulator},
    upstream::{self, Call, Client, Endpoint, Models, Style},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{Instant, sleep},
};

/// Any free port of this machine.
pub(crate) const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// How long anything may take to come true.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts a simulation.
pub(crate) async fn simulate(config: Config) -> Running {
    Simulator::start(config, ANY_PORT).await.unwrap()
}

/// Starts a simulation whose first calls fail like this.
pub(crate) async fn simulate_faults(faults: impl IntoIterator<Item = Fault>) -> Running {
    simulate(Config {
        faults: Faults::in_order(faults),
        ..Config::default()
    })
    .await
}

/// A client without a key.
pub(crate) fn client_of(base_url: String) -> Client {
    Client::new(upstream::Config::new(base_url)).unwrap()
}

/// An endpoint without a key that serves every model at the price of all others.
pub(crate) fn endpoint(name: &str, base_url: String) -> Endpoint {
    Endpoint {
        name: name.to_owned(),
        base_url,
        keys: Vec::new(),
        requests_per_minute: None,
        tokens_per_minute: None,
        adaptive_concurrency: false,
        style: Style::OpenAi,
        price: 1.0,
        models: Models::Any,
    }
}

/// A call with this prompt.
pub(crate) fn call(prompt: &str) -> Call {
    Call {
        kind: Kind::Chat,
        body: Call::prompt_body("test-model", prompt),
        timeout: Duration::from_secs(20),
        idempotency_key: format!("key of {}", prompt.len()),
        request_id: "request-1".to_owned(),
        model: "test-model".to_owned(),
        listener: None,
    }
}

/// Waits until `is_true`, or panics.
pub(crate) async fn eventually(what: &str, is_true: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "in vain waited until {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Collects what is written, for a look at it later.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// All that was written.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Answers every connection with these bytes, after its first packet, then closes it. Returns the base URL.
pub(crate) async fn raw_server(reply: &'static [u8]) -> String {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 16 * 1024];
            if stream.read(&mut request).await.is_ok() {
                // The caller may be gone already, which is its affair.
                let _ = stream.write_all(reply).await;
            }
        }
    });
    format!("http://{addr}/v1")
}
