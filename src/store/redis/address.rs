//! Where a Redis is: one server, a primary that sentinels know, or a cluster.

use std::fmt;

use redis::{ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, io::tcp::TcpSettings};

/// What an address may look like.
pub const FORMS: &str = "redis://HOST:PORT/DB, redis+sentinel://HOST:PORT,HOST:PORT/MASTER or \
                         redis+cluster://HOST:PORT,HOST:PORT (rediss… for TLS)";
/// Unacknowledged bytes older than this end a connection.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// A parsed address. Its `Debug` and `Display` show no user and no password.
#[derive(Clone)]
pub struct Address {
    scheme: String,
    shown: String,
    pub(super) topology: Topology,
}

/// What stands behind an address.
#[derive(Clone)]
pub(super) enum Topology {
    Single(Box<ConnectionInfo>),
    /// Sentinels that know the primary called `master`. The primary takes the same user and password; the sentinels
    /// are asked without any.
    Sentinel {
        sentinels: Vec<ConnectionInfo>,
        master: String,
        login: RedisConnectionInfo,
    },
    Cluster {
        seeds: Vec<ConnectionInfo>,
    },
}

impl Address {
    /// Reads an address; the error says what is wrong and quotes nothing, since a password may stand anywhere.
    ///
    /// # Errors
    /// It is not of one of the [`FORMS`].
    pub fn parse(text: &str) -> Result<Address, String> {
        let (scheme, rest) = text.split_once("://").ok_or_else(malformed)?;
        let (userinfo, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (path, _query) = path.split_once('?').unwrap_or((path, ""));
        let topology = match scheme {
            "redis" | "rediss" => single(text, hosts, path)?,
            "redis+sentinel" | "rediss+sentinel" => sentinel(scheme, userinfo, hosts, path)?,
            "redis+cluster" | "rediss+cluster" => {
                if !path.is_empty() {
                    return Err(format!("a cluster has no databases; write {FORMS}"));
                }
                let seeds = nodes(scheme, userinfo, hosts, "")?;
                Topology::Cluster { seeds }
            }
            _ => return Err(malformed()),
        };
        let path = if path.is_empty() {
            String::new()
        } else {
            format!("/{path}")
        };
        Ok(Address {
            scheme: scheme.to_owned(),
            shown: format!("{hosts}{path}"),
            topology,
        })
    }

    /// Whether this is a cluster.
    pub fn is_cluster(&self) -> bool {
        matches!(self.topology, Topology::Cluster { .. })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn malformed() -> String {
    format!("is not the address of a Redis; write {FORMS}")
}

fn single(text: &str, host: &str, database: &str) -> Result<Topology, String> {
    if host.is_empty() {
        return Err(format!("names no host; write {FORMS}"));
    }
    if !database.is_empty() && database.parse::<u32>().is_err() {
        return Err(format!(
            "ends in something that is not a database number; write {FORMS}"
        ));
    }
    Ok(Topology::Single(Box::new(info(text)?)))
}

fn sentinel(scheme: &str, userinfo: &str, hosts: &str, path: &str) -> Result<Topology, String> {
    let (master, database) = path.split_once('/').unwrap_or((path, ""));
    if master.is_empty() {
        return Err(format!("names no master; write {FORMS}"));
    }
    let nodes = nodes(scheme, userinfo, hosts, database)?;
    let login = nodes.first().map(ConnectionInfo::redis_settings).cloned();
    let anonymous = |node: ConnectionInfo| node.set_redis_settings(RedisConnectionInfo::default());
    Ok(Topology::Sentinel {
        sentinels: nodes.into_iter().map(anonymous).collect(),
        master: master.to_owned(),
        login: login.unwrap_or_default(),
    })
}

/// Every host with what holds for all of them.
fn nodes(
    scheme: &str,
    userinfo: &str,
    hosts: &str,
    database: &str,
) -> Result<Vec<ConnectionInfo>, String> {
    let plain = scheme.split('+').next().unwrap_or(scheme);
    let at = if userinfo.is_empty() { "" } else { "@" };
    hosts
        .split(',')
        .map(|host| match host {
            "" => Err(format!("names an empty host; write {FORMS}")),
            host => info(&format!("{plain}://{userinfo}{at}{host}/{database}")),
        })
        .collect()
}

fn info(url: &str) -> Result<ConnectionInfo, String> {
    let info = url.into_connection_info().map_err(|_| malformed())?;
    let tcp = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(TCP_USER_TIMEOUT);
    Ok(info.set_tcp_settings(tcp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_what_it_is() {
        let single = Address::parse("redis://h:1/2").unwrap();
        assert!(
            matches!(single.topology, Topology::Single(info) if info.redis_settings().db() == 2)
        );
        let cluster = Address::parse("redis+cluster://u:p@h1:1,h2:2").unwrap();
        let Topology::Cluster { seeds } = cluster.topology else {
            panic!("not a cluster");
        };
        assert_eq!(seeds.len(), 2);
        assert_eq!(seeds[1].redis_settings().password(), Some("p"));
        let sentinel = Address::parse("redis+sentinel://:p@h1:1,h2:2,h3/main/4").unwrap();
        let Topology::Sentinel {
            sentinels,
            master,
            login,
        } = sentinel.topology
        else {
            panic!("not sentinels");
        };
        assert_eq!(
            (sentinels.len(), master.as_str(), login.db()),
            (3, "main", 4)
        );
        assert_eq!(login.password(), Some("p"));
        assert_eq!(sentinels[0].redis_settings().password(), None);
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_forms() {
        for text in [
            "redis//h",
            "redis://",
            "redis://h/x",
            "redis+cluster://h1,,h2",
            "redis+cluster://h1/3",
            "redis+sentinel://h1:1",
            "redis+sentinel://h1:1/",
            "http://h",
        ] {
            let fault = Address::parse(text).unwrap_err();
            assert!(fault.contains(FORMS), "{text}: {fault}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for url in [
            "redis://user:s3cret@localhost:6379/1",
            "rediss://:s3cret@localhost",
            "redis//:s3cret@localhost",
            "redis+cluster://:s3cret@h1:1,h2:2",
            "redis+sentinel://user:s3cret@h1:1/main?s3cret",
        ] {
            let shown = match Address::parse(url) {
                Ok(address) => format!("{address} {address:?}"),
                Err(fault) => fault,
            };
            assert!(!shown.contains("s3cret"), "{url}: {shown}");
        }
    }
}
