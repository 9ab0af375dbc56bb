//! The first talk with a server: whether it will do, how well it keeps things, and whose data it holds.

use std::collections::HashMap;

use redis::{Client, Pipeline, RedisError, aio::MultiplexedConnection};

use super::{error, keys, keys::Keys, link};
use crate::store::{Durability, Error};

/// The layout that `keys.rs` and `store::record` describe.
const SCHEMA: u32 = 1;
/// Changes only when a failover lost writes.
const FIRST_EPOCH: u32 = 1;
/// `LPOP` with a count and `GETRANGE` on what a script wrote are older; lists of several pops are from here on.
const OLDEST: (u32, u32) = (6, 2);

/// Why a Redis store does not start.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL makes no sense.
    #[error("read the Redis URL: {0}")]
    Url(String),
    /// The server is away or cannot answer now.
    #[error(transparent)]
    Store(#[from] Error),
    /// No use could be made of the server at that address.
    #[error("{source} (at {address}; set another with --store)")]
    At {
        /// Host and port, or a socket's path.
        address: String,
        /// What went wrong.
        source: Error,
    },
    /// The server lacks what the scripts need.
    #[error("use Redis {0}: version 6.2 or newer is needed")]
    TooOld(String),
    /// The server may throw accepted work away.
    #[error(
        "use this Redis: its maxmemory-policy is `{0}`, so it may evict accepted tasks; \
         set it with `CONFIG SET maxmemory-policy noeviction`, or allow eviction in the configuration"
    )]
    Evicts(String),
    /// The ids in the store were made for another number of partitions.
    #[error("use {wanted} partitions: this store was made with {stored}")]
    Partitions {
        /// What the configuration says.
        wanted: u16,
        /// What the store says.
        stored: String,
    },
    /// The data was written by another version of Tidings.
    #[error("read the stored data: its schema is {0}, this version knows {SCHEMA}")]
    Schema(String),
}

/// What the server said of itself.
#[derive(Debug)]
pub(super) struct Server {
    /// It knows script flags.
    pub(super) flags: bool,
    pub(super) durability: Durability,
}

impl From<RedisError> for ConnectError {
    fn from(failure: RedisError) -> Self {
        ConnectError::Store(error::of_transport(&failure))
    }
}

/// Connects and makes sure that the data is what this process expects; makes it so when there is none.
pub(super) async fn dial(
    client: &Client,
    partitions: u16,
) -> Result<MultiplexedConnection, ConnectError> {
    let settings = link::settings();
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&settings)
        .await?;
    claim(&mut connection, partitions).await?;
    epoch(&mut connection, partitions).await?;
    Ok(connection)
}

/// Asks the server what it is.
pub(super) async fn inspect(
    connection: &mut MultiplexedConnection,
    allow_eviction: bool,
) -> Result<Server, ConnectError> {
    let text: String = redis::cmd("INFO").query_async(connection).await?;
    let info: HashMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    let version = info.get("redis_version").copied().unwrap_or_default();
    let parsed = parse_version(version).filter(|version| *version >= OLDEST);
    let (major, _) = parsed.ok_or_else(|| ConnectError::TooOld(version.to_owned()))?;
    let policy = info
        .get("maxmemory_policy")
        .copied()
        .unwrap_or("noeviction");
    if policy != "noeviction" && !allow_eviction {
        return Err(ConnectError::Evicts(policy.to_owned()));
    }
    let appends = info.get("aof_enabled") == Some(&"1");
    Ok(Server {
        flags: major >= 7,
        durability: durability(connection, appends).await,
    })
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

async fn durability(connection: &mut MultiplexedConnection, appends: bool) -> Durability {
    if !appends {
        return Durability::Memory;
    }
    let mut ask = redis::cmd("CONFIG");
    ask.arg("GET").arg("appendfsync");
    // Managed servers forbid CONFIG; then the lesser promise is made.
    match ask.query_async::<HashMap<String, String>>(connection).await {
        Ok(answer)
            if answer
                .get("appendfsync")
                .is_some_and(|value| value == "always") =>
        {
            Durability::Fsync
        }
        _ => Durability::FsyncEverySecond,
    }
}

pub(super) async fn claim(
    connection: &mut MultiplexedConnection,
    partitions: u16,
) -> Result<(), ConnectError> {
    let mut pipeline = redis::pipe();
    set_once(&mut pipeline, keys::STORE.as_bytes(), "schema", SCHEMA);
    set_once(
        &mut pipeline,
        keys::STORE.as_bytes(),
        "partitions",
        u32::from(partitions),
    );
    pipeline
        .cmd("HMGET")
        .arg(keys::STORE)
        .arg("schema")
        .arg("partitions");
    let ((schema, stored),): ((String, String),) = pipeline.query_async(connection).await?;
    if schema != SCHEMA.to_string() {
        return Err(ConnectError::Schema(schema));
    }
    if stored != partitions.to_string() {
        return Err(ConnectError::Partitions {
            wanted: partitions,
            stored,
        });
    }
    Ok(())
}

fn set_once(pipeline: &mut Pipeline, key: &[u8], field: &str, value: u32) {
    pipeline
        .cmd("HSETNX")
        .arg(key)
        .arg(field)
        .arg(value)
        .ignore();
}

/// The present epoch: the highest of all partitions; begins the first where there is none.
pub(super) async fn epoch(
    connection: &mut MultiplexedConnection,
    partitions: u16,
) -> Result<u32, ConnectError> {
    let mut pipeline = redis::pipe();
    for partition in 0..partitions {
        let meta = Keys::of(partition).meta();
        set_once(&mut pipeline, &meta, "epoch", FIRST_EPOCH);
        pipeline.cmd("HGET").arg(meta).arg("epoch");
    }
    let epochs: Vec<u32> = pipeline.query_async(connection).await?;
    Ok(epochs.into_iter().max().unwrap_or(FIRST_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(parse_version("7.0.15"), Some((7, 0)));
        assert!(parse_version("6.0.16") < Some(OLDEST));
        assert!(parse_version("10.2.0") > Some(OLDEST));
        assert_eq!(parse_version(""), None);
    }
}
