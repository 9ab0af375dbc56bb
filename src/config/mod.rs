//! What the program is told: a TOML file, then the environment, then flags; the later wins.
//!
//! [`Config::load`] is a pure function of the flags, the variables and the files they name. It collects every fault
//! before it gives up, so that one run shows all there is to mend. [`environment`] is the one reader of the
//! environment; [`key::ALL`] is the one list of what may be said.

mod api_key;
mod endpoint;
mod environment;
mod fault;
mod file;
mod flags;
pub mod key;
mod layers;
mod limits;
mod log;
mod price;
mod store;
mod summary;
mod transport;
mod upstream;
mod value;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

pub use environment::{ENDPOINT, Variables, environment, unknown_variables};
pub use fault::{Fault, Faults};
pub use flags::Flags;
pub use log::{LogConfig, LogFormat};
pub use store::StoreConfig;
pub use transport::TransportConfig;

use layers::Layers;

use crate::{
    model::Prices,
    service::Limits,
    store::Capacity,
    upstream::{Config as UpstreamConfig, Endpoint},
};

/// The shortest lease: below it the renewals would crowd out the work.
pub const MIN_LEASE: Duration = Duration::from_secs(1);
/// The longest lease and grace: a task held back longer than this by a dead worker is a mistake.
pub const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);
/// The shortest life of a watch's stream: below it coming back would crowd out the news.
pub const MIN_WATCH_AGE: Duration = Duration::from_secs(1);
/// The longest retention, the same that a task may ask for.
pub const MAX_RETENTION: Duration = Duration::from_secs(366 * 24 * 3600);
/// The highest ceiling of upstream calls in flight per process.
pub const MAX_CONCURRENCY: u64 = 100_000;

/// Everything the server is told. Its `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where gRPC is served.
    pub listen: SocketAddr,
    /// Where metrics and health are served over HTTP.
    pub admin_listen: SocketAddr,
    /// Where tasks live.
    pub store: StoreConfig,
    /// Whom to ask, where there are no endpoints.
    pub upstream: UpstreamConfig,
    /// Whom to ask, where there are several.
    pub endpoints: Vec<Endpoint>,
    /// The model of a task that names none.
    pub model: String,
    /// Ceiling of upstream calls in flight.
    pub concurrency: usize,
    /// How long a silent worker keeps a task.
    pub lease: Duration,
    /// How long a finished task keeps its history and attempts.
    pub status_retention: Duration,
    /// How long a finished task and its result are kept.
    pub result_retention: Duration,
    /// How old an answer may be that another task takes from the cache.
    pub cache_ttl: Duration,
    /// What the models' tokens cost.
    pub prices: Prices,
    /// The label by whose values the metrics tell costs apart.
    pub cost_label: Option<String>,
    /// How long a shutdown waits for running tasks.
    pub shutdown_grace: Duration,
    /// Whether gRPC reflection is served.
    pub reflection: bool,
    /// What one call may hold.
    pub limits: Limits,
    /// What may be unfinished before no more is accepted.
    pub capacity: Capacity,
    /// What the gRPC server bears.
    pub transport: TransportConfig,
    /// How long a watch's stream lives, a tenth more or less.
    pub watch_age: Duration,
    /// What is logged, and how.
    pub log: LogConfig,
}

impl Config {
    /// Puts the layers together. Pure given `flags`, `variables` and the files they name.
    ///
    /// # Errors
    ///
    /// Every fault of every layer at once.
    pub fn load(flags: &Flags, variables: &Variables) -> Result<Config, Faults> {
        let mut faults = Faults::default();
        let layers = Layers::gather(flags, variables, &mut faults);
        let config = assemble(&layers, &mut faults);
        match config {
            Some(config) if faults.is_empty() => Ok(config),
            _ => Err(faults),
        }
    }
}

impl Default for Config {
    /// What holds when nothing is said.
    #[expect(
        clippy::expect_used,
        reason = "a test holds that the defaults have no fault"
    )]
    fn default() -> Self {
        Config::load(&Flags::default(), &BTreeMap::new()).expect("the defaults have no fault")
    }
}

/// Reads every key before it looks at any outcome, so that no fault hides another.
fn assemble(layers: &Layers, faults: &mut Faults) -> Option<Config> {
    let listen = layers.read(&key::LISTEN, faults, value::address);
    let admin_listen = layers.read(&key::ADMIN_LISTEN, faults, value::address);
    let store = store::read(layers, faults);
    let upstream = upstream::read(layers, faults);
    let endpoints = endpoint::read(layers, faults);
    let model = layers.read(&key::MODEL, faults, value::name);
    let concurrency = layers.read(&key::CONCURRENCY, faults, |text| {
        value::number(text, 1, MAX_CONCURRENCY)
    });
    let lease = layers.read(&key::LEASE, faults, |text| {
        value::duration(text, MIN_LEASE, MAX_PAUSE)
    });
    let retentions = retentions(layers, faults);
    let cache_ttl = layers.read(&key::CACHE_TTL, faults, |text| {
        value::duration(text, Duration::from_secs(1), MAX_RETENTION)
    });
    let prices = price::read(layers, faults);
    let cost_label = layers.read(&key::COST_LABEL, faults, |text| {
        Ok(Some(text.to_owned()).filter(|text| text != "none"))
    });
    let shutdown_grace = layers.read(&key::SHUTDOWN_GRACE, faults, |text| {
        value::duration(text, Duration::ZERO, MAX_PAUSE)
    });
    let reflection = layers.read(&key::REFLECTION, faults, value::switch);
    let limits = limits::read(layers, faults);
    let capacity = limits::capacity(layers, faults, store.as_ref(), limits.as_ref());
    let transport = transport::read(layers, faults, limits.as_ref());
    let watch_age = layers.read(&key::LIMITS_WATCH_AGE, faults, |text| {
        value::duration(text, MIN_WATCH_AGE, MAX_PAUSE)
    });
    let log = log::read(layers, faults);
    let (status_retention, result_retention) = retentions?;
    Some(Config {
        listen: listen?,
        admin_listen: admin_listen?,
        store: store?,
        upstream: upstream?,
        endpoints: endpoints?,
        model: model?,
        concurrency: concurrency?,
        lease: lease?,
        status_retention,
        result_retention,
        cache_ttl: cache_ttl?,
        prices,
        cost_label: cost_label?,
        shutdown_grace: shutdown_grace?,
        reflection: reflection?,
        limits: limits?,
        capacity: capacity?,
        transport: transport?,
        watch_age: watch_age?,
        log: log?,
    })
}

/// A result must not be removed while the history that leads to it is kept.
fn retentions(layers: &Layers, faults: &mut Faults) -> Option<(Duration, Duration)> {
    let retention = |text: &str| value::duration(text, Duration::from_secs(1), MAX_RETENTION);
    let status = layers.read(&key::STATUS_RETENTION, faults, retention);
    let result = layers.read(&key::RESULT_RETENTION, faults, retention);
    let (status, result) = (status?, result?);
    if result < status {
        faults.add(
            layers.origin(&key::RESULT_RETENTION),
            format!(
                "{} is shorter than the status retention of {} ({}); a result is kept at least as long as its history",
                humantime::format_duration(result),
                humantime::format_duration(status),
                layers.origin(&key::STATUS_RETENTION),
            ),
        );
        return None;
    }
    Some((status, result))
}

#[cfg(test)]
mod tests;
