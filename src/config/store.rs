//! Where tasks live.

use std::{fmt, path::PathBuf, time::Duration};

use super::{fault::Faults, key, layers::Layers, value};
use crate::{
    model::id::MAX_PARTITIONS,
    store::{
        Capacity,
        redis::{
            Config as RedisConfig, Wait,
            address::{Address, FORMS},
        },
    },
};

/// More replicas than any primary has.
const MAX_REPLICAS: u64 = 64;
/// A wait is between these; a caller waits as long.
const MIN_WAIT: Duration = Duration::from_millis(1);
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Where tasks live.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// A directory of this machine, owned by one process.
    Embedded {
        /// The directory; made when it is not there.
        path: PathBuf,
        /// Open it although acknowledged commits are missing.
        accept_data_loss: bool,
    },
    /// Redis: one server, a primary with sentinels, or a cluster.
    Redis(RedisConfig),
}

impl StoreConfig {
    /// Over how many partitions ids will be spread.
    pub(super) fn partitions(&self) -> u16 {
        match self {
            StoreConfig::Embedded { .. } => 1,
            StoreConfig::Redis(config) => config.partitions(),
        }
    }
}

/// The form a person may see: without user, password or query.
impl fmt::Display for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreConfig::Embedded { path, .. } => write!(f, "embedded:{}", path.display()),
            StoreConfig::Redis(config) => config.address.fmt(f),
        }
    }
}

/// Which store a URL names, before the rest is known.
enum Place {
    Embedded(PathBuf),
    Redis(Address),
}

pub(super) fn read(layers: &Layers, faults: &mut Faults) -> Option<StoreConfig> {
    let place = layers.read(&key::STORE, faults, place);
    let partitions = layers.read(&key::REDIS_PARTITIONS, faults, |text| match text {
        "auto" => Ok(None),
        number => value::number(number, 1, u64::from(MAX_PARTITIONS)).map(Some),
    });
    let allow_eviction = layers.read(&key::REDIS_ALLOW_EVICTION, faults, value::switch);
    let wait = wait(layers, faults);
    let accept_data_loss = layers.read(&key::EMBEDDED_ACCEPT_DATA_LOSS, faults, value::switch);
    let (partitions, allow_eviction, wait) = (partitions?, allow_eviction?, wait?);
    let accept_data_loss = accept_data_loss?;
    Some(match place? {
        Place::Embedded(path) => StoreConfig::Embedded {
            path,
            accept_data_loss,
        },
        Place::Redis(address) => StoreConfig::Redis(RedisConfig {
            address,
            partitions,
            allow_eviction,
            wait,
            // The server puts in that of the whole configuration, which holds for either store.
            capacity: Capacity::default(),
        }),
    })
}

/// What submits wait for; some none when for nothing.
fn wait(layers: &Layers, faults: &mut Faults) -> Option<Option<Wait>> {
    let replicas = layers.read(&key::REDIS_WAIT_REPLICAS, faults, |text| {
        value::number(text, 0, MAX_REPLICAS)
    });
    let fsync = layers.read(&key::REDIS_WAIT_FSYNC, faults, value::switch);
    let timeout = layers.read(&key::REDIS_WAIT_TIMEOUT, faults, |text| {
        value::duration(text, MIN_WAIT, MAX_WAIT)
    });
    let wait = Wait {
        replicas: replicas?,
        fsync: fsync?,
        timeout: timeout?,
    };
    Some((wait.replicas > 0 || wait.fsync).then_some(wait))
}

/// Never quotes the value: it may hold a password wherever a slip put it.
fn place(text: &str) -> Result<Place, String> {
    match text.split_once(':') {
        Some(("embedded", "")) => Err("names no directory; write embedded:PATH".to_owned()),
        Some(("embedded", path)) => Ok(Place::Embedded(PathBuf::from(path))),
        Some((scheme, _)) if scheme.starts_with("redis") => Address::parse(text).map(Place::Redis),
        _ => Err(format!("is not a store; write embedded:PATH, {FORMS}")),
    }
}
