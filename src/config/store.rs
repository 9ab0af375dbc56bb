//! Where tasks live.

use std::{fmt, path::PathBuf};

use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};

use super::{fault::Faults, key, layers::Layers, value};
use crate::model::id::MAX_PARTITIONS;

/// What a store URL may look like.
const FORMS: &str = "write embedded:PATH, redis://HOST:PORT/DB or rediss://HOST:PORT/DB";

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
    /// A Redis server.
    Redis {
        /// `redis://` or `rediss://`; may hold a password.
        url: SecretString,
        /// Over how many partitions new ids are spread, 1 to 4,096.
        partitions: u16,
        /// Serve although the server's eviction policy may drop tasks.
        allow_eviction: bool,
    },
}

/// The form a person may see: without user, password or query.
impl fmt::Display for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreConfig::Embedded { path, .. } => write!(f, "embedded:{}", path.display()),
            StoreConfig::Redis { url, .. } => f.write_str(&without_secrets(url.expose_secret())),
        }
    }
}

/// Which store a URL names, before the rest is known.
enum Place {
    Embedded(PathBuf),
    Redis(SecretString),
}

pub(super) fn read(layers: &Layers, faults: &mut Faults) -> Option<StoreConfig> {
    let place = layers.read(&key::STORE, faults, place);
    let partitions = layers.read(&key::REDIS_PARTITIONS, faults, |text| {
        value::number(text, 1, u64::from(MAX_PARTITIONS))
    });
    let allow_eviction = layers.read(&key::REDIS_ALLOW_EVICTION, faults, value::switch);
    let accept_data_loss = layers.read(&key::EMBEDDED_ACCEPT_DATA_LOSS, faults, value::switch);
    let (partitions, allow_eviction) = (partitions?, allow_eviction?);
    let accept_data_loss = accept_data_loss?;
    Some(match place? {
        Place::Embedded(path) => StoreConfig::Embedded {
            path,
            accept_data_loss,
        },
        Place::Redis(url) => StoreConfig::Redis {
            url,
            partitions,
            allow_eviction,
        },
    })
}

/// Never quotes the value: it may hold a password wherever a slip put it.
fn place(text: &str) -> Result<Place, String> {
    match text.split_once(':') {
        Some(("embedded", "")) => Err("names no directory; write embedded:PATH".to_owned()),
        Some(("embedded", path)) => Ok(Place::Embedded(PathBuf::from(path))),
        Some(("redis" | "rediss", _)) => redis(text),
        Some((scheme @ ("redis+cluster" | "redis+sentinel"), _)) => {
            Err(format!("{scheme}:// is not served yet; {FORMS}"))
        }
        _ => Err(format!("is not a store; {FORMS}")),
    }
}

fn redis(text: &str) -> Result<Place, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL ({error}); {FORMS}"))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(format!("names no host; {FORMS}"));
    }
    let database = url.path().trim_start_matches('/');
    if !database.is_empty() && database.parse::<u32>().is_err() {
        return Err(format!(
            "ends in something that is not a database number; {FORMS}"
        ));
    }
    Ok(Place::Redis(SecretString::from(text.to_owned())))
}

fn without_secrets(text: &str) -> String {
    let Ok(url) = Url::parse(text) else {
        return "redis://…".to_owned();
    };
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    let host = url.host_str().unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}
