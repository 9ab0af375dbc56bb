//! What the demo plays on: a simulated upstream and a server on free ports, and a store in a temporary directory.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::error::Error;
use crate::{
    config::{Config, Flags, Variables},
    server::{self, Server},
    simulator::{self, Fault, Faults, Latency, Simulator},
};

/// Any free port of this machine.
const ANY: &str = "127.0.0.1:0";
/// Calls in flight: few enough that the counters can be watched while they move.
const CONCURRENCY: &str = "24";
/// How long simulated answers take on average: as quick as a small model on a short question.
const LATENCY: Duration = Duration::from_millis(250);
/// The spread of the latencies, as of real models.
const SPREAD: f64 = 0.6;

/// A server that runs, and all it stands on.
pub(super) struct Stage {
    upstream: simulator::Running,
    serving: JoinHandle<Result<(), server::Error>>,
    stop: CancellationToken,
    grpc: SocketAddr,
    store: TempDir,
}

impl Stage {
    /// Starts everything.
    pub(super) async fn set() -> Result<Stage, Error> {
        let upstream = Simulator::start(
            simulator::Config {
                latency: Latency::LogNormal {
                    mean: LATENCY,
                    sigma: SPREAD,
                },
                faults: faults(),
                ..simulator::Config::default()
            },
            SocketAddr::from(([127, 0, 0, 1], 0)),
        )
        .await?;
        let store = TempDir::with_prefix("tidings-demo-")?;
        let flags = Flags {
            listen: Some(ANY.to_owned()),
            admin_listen: Some(ANY.to_owned()),
            store: Some(format!("embedded:{}", store.path().display())),
            upstream_url: Some(upstream.base_url()),
            concurrency: Some(CONCURRENCY.to_owned()),
            shutdown_grace: Some("5s".to_owned()),
            ..Flags::default()
        };
        // No variable of the user's takes part: least of all a real key.
        let config = Config::load(&flags, &Variables::new())?;
        let server = Server::bind(config).await?;
        let grpc = server.grpc_addr();
        let stop = CancellationToken::new();
        Ok(Stage {
            upstream,
            serving: tokio::spawn(server.serve(stop.clone())),
            stop,
            grpc,
            store,
        })
    }

    /// Where the server is.
    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// What was started, for people.
    pub(super) fn describe(&self) -> String {
        format!(
            "server on {} (store: embedded, in {}; upstream: simulated, on {})",
            self.grpc,
            self.store.path().display(),
            self.upstream.base_url(),
        )
    }

    /// The faults that calls have met so far, by kind.
    pub(super) fn injected(&self) -> BTreeMap<String, u64> {
        let mut kinds = BTreeMap::new();
        for fault in self
            .upstream
            .calls()
            .into_iter()
            .filter_map(|call| call.fault)
        {
            *kinds.entry(fault).or_default() += 1;
        }
        kinds
    }

    /// Stops everything and removes the store.
    pub(super) async fn strike(self) -> Result<(), Error> {
        self.stop.cancel();
        let ended = self.serving.await;
        self.upstream.shutdown().await;
        self.store.close()?;
        match ended {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(Error::Usage(
                "the demo's server panicked; see above".to_owned(),
            )),
        }
    }
}

/// A few failures of every kind that heals: the calls by the order of their arrival.
fn faults() -> Faults {
    let limited = Fault::reply(
        429,
        &[("retry-after", "1"), ("content-type", "application/json")],
        r#"{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}"#,
    );
    Faults {
        schedule: BTreeMap::from([
            (7, Fault::Status(500)),
            (19, Fault::Reset),
            (41, Fault::Status(500)),
            (66, limited),
            (90, Fault::Malformed),
            (115, Fault::Status(503)),
        ]),
        ..Faults::default()
    }
}
