//! The first talk with a server: whether it will do, and how well it keeps things.

use std::collections::HashMap;

use redis::{RedisError, aio::MultiplexedConnection};

use super::error;
use crate::store::{Durability, Error};

/// The layout that `keys.rs` and `store::record` describe.
pub(super) const SCHEMA: u32 = 6;
/// `LPOP` with a count and `GETRANGE` on what a script wrote are older; lists of several pops are from here on.
const OLDEST: (u32, u32) = (6, 2);

const IS_CLUSTER: &str = "it is a node of a cluster; name the cluster with redis+cluster://";
pub(super) const IS_NO_CLUSTER: &str = "it is not a node of a cluster; name it with redis://";

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
    /// The server follows another one.
    #[error(
        "use this Redis: it is a replica; name its primary, or its sentinels with redis+sentinel://"
    )]
    Replica,
    /// The server is a node of a cluster, or is not although it should be.
    #[error("use this Redis: {0}")]
    Topology(&'static str),
    /// Submits are to wait for disks, which the server cannot do.
    #[error(
        "wait for disks on this Redis: `redis.wait_fsync` needs version 7.2 and an append-only file; \
         set `appendonly yes` on a newer server, or turn it off"
    )]
    NoDiskWait,
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
    /// It knows script flags and sharded channels (7.0 and newer).
    pub(super) modern: bool,
    /// It knows `WAITAOF` (7.2 and newer), and has an append-only file to wait for.
    pub(super) waits_for_disks: bool,
    pub(super) durability: Durability,
}

impl From<RedisError> for ConnectError {
    fn from(failure: RedisError) -> Self {
        ConnectError::Store(error::of_transport(&failure))
    }
}

/// Asks the server what it is.
pub(super) async fn inspect(
    connection: &mut MultiplexedConnection,
    allow_eviction: bool,
    cluster: bool,
) -> Result<Server, ConnectError> {
    let text: String = redis::cmd("INFO").query_async(connection).await?;
    let info: HashMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    let version = info.get("redis_version").copied().unwrap_or_default();
    let parsed = parse_version(version).filter(|version| *version >= OLDEST);
    let (major, minor) = parsed.ok_or_else(|| ConnectError::TooOld(version.to_owned()))?;
    match (info.get("cluster_enabled") == Some(&"1"), cluster) {
        (true, false) => return Err(ConnectError::Topology(IS_CLUSTER)),
        (false, true) => return Err(ConnectError::Topology(IS_NO_CLUSTER)),
        _ => {}
    }
    if info.get("role") == Some(&"slave") {
        return Err(ConnectError::Replica);
    }
    let policy = info
        .get("maxmemory_policy")
        .copied()
        .unwrap_or("noeviction");
    if policy != "noeviction" && !allow_eviction {
        return Err(ConnectError::Evicts(policy.to_owned()));
    }
    let appends = info.get("aof_enabled") == Some(&"1");
    Ok(Server {
        modern: major >= 7,
        waits_for_disks: (major, minor) >= (7, 2) && appends,
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
