//! The whole configuration as a person may see it: one `key = value` line each, secrets left out.

use std::fmt;

use humantime::format_duration;

use super::{Config, Limits, StoreConfig, TransportConfig, key, price};
use crate::store::redis::Config as RedisConfig;

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.entries() {
            writeln!(f, "{name} = {value}")?;
        }
        Ok(())
    }
}

impl Config {
    /// Dotted keys with their values as text, in order. No value is a secret; the bearer key is `set` or `not set`.
    pub fn entries(&self) -> Vec<(&'static str, String)> {
        let mut entries = vec![
            (key::LISTEN.path, self.listen.to_string()),
            (key::ADMIN_LISTEN.path, self.admin_listen.to_string()),
            (key::STORE.path, self.store.to_string()),
        ];
        entries.extend(self.store.entries());
        let length = |length| format_duration(length).to_string();
        entries.extend(self.upstreams());
        entries.extend([
            (key::MODEL.path, self.model.clone()),
            (key::CONCURRENCY.path, self.concurrency.to_string()),
            (key::LEASE.path, length(self.lease)),
            (key::STATUS_RETENTION.path, length(self.status_retention)),
            (key::RESULT_RETENTION.path, length(self.result_retention)),
            (key::CACHE_TTL.path, length(self.cache_ttl)),
            (price::TABLE, price::shown(&self.prices)),
            (
                key::COST_LABEL.path,
                self.cost_label.as_deref().unwrap_or("none").to_owned(),
            ),
            (key::SHUTDOWN_GRACE.path, length(self.shutdown_grace)),
            (key::REFLECTION.path, self.reflection.to_string()),
        ]);
        entries.extend(limits(&self.limits));
        entries.extend([
            (
                key::LIMITS_QUEUE_TASKS.path,
                self.capacity.tasks.to_string(),
            ),
            (
                key::LIMITS_QUEUE_BYTES.path,
                self.capacity.bytes.to_string(),
            ),
        ]);
        entries.extend(self.transport.entries());
        entries.extend([
            (key::LIMITS_WATCH_AGE.path, length(self.watch_age)),
            (key::LOG_FILTER.path, self.log.filter.clone()),
            (key::LOG_FORMAT.path, self.log.format.word().to_owned()),
        ]);
        entries
    }
}

impl StoreConfig {
    fn entries(&self) -> Vec<(&'static str, String)> {
        match self {
            StoreConfig::Embedded {
                accept_data_loss, ..
            } => vec![(
                key::EMBEDDED_ACCEPT_DATA_LOSS.path,
                accept_data_loss.to_string(),
            )],
            StoreConfig::Redis(config) => redis(config),
        }
    }
}

fn redis(config: &RedisConfig) -> Vec<(&'static str, String)> {
    let partitions = config.partitions.map(|count| count.to_string());
    let mut entries = vec![
        (
            key::REDIS_PARTITIONS.path,
            partitions.unwrap_or_else(|| "auto".to_owned()),
        ),
        (
            key::REDIS_ALLOW_EVICTION.path,
            config.allow_eviction.to_string(),
        ),
    ];
    if let Some(wait) = config.wait {
        let timeout = humantime::format_duration(wait.timeout).to_string();
        entries.extend([
            (key::REDIS_WAIT_REPLICAS.path, wait.replicas.to_string()),
            (key::REDIS_WAIT_FSYNC.path, wait.fsync.to_string()),
            (key::REDIS_WAIT_TIMEOUT.path, timeout),
        ]);
    }
    entries
}

impl TransportConfig {
    fn entries(&self) -> Vec<(&'static str, String)> {
        let length = |length| format_duration(length).to_string();
        vec![
            (key::LIMITS_CONNECTIONS.path, self.connections.to_string()),
            (
                key::LIMITS_CONNECTIONS_PER_ADDRESS.path,
                self.connections_per_address.to_string(),
            ),
            (
                key::LIMITS_STREAMS_PER_CONNECTION.path,
                self.streams_per_connection.to_string(),
            ),
            (key::LIMITS_UNARY_CALLS.path, self.unary_calls.to_string()),
            (
                key::LIMITS_REQUEST_BYTES.path,
                self.request_bytes.to_string(),
            ),
            (key::LIMITS_WATCHES.path, self.watches.to_string()),
            (
                key::CONNECTION_PREFACE_TIMEOUT.path,
                length(self.preface_timeout),
            ),
            (
                key::CONNECTION_REQUEST_TIMEOUT.path,
                length(self.request_timeout),
            ),
            (key::CONNECTION_MAX_AGE.path, length(self.max_age)),
            (key::CONNECTION_AGE_GRACE.path, length(self.age_grace)),
        ]
    }
}

fn limits(limits: &Limits) -> [(&'static str, String); 5] {
    [
        (key::LIMITS_TASKS_PER_BATCH, limits.tasks_per_batch),
        (key::LIMITS_BATCH_BYTES, limits.batch_bytes),
        (key::LIMITS_TASK_BYTES, limits.task_bytes),
        (key::LIMITS_IDS_PER_CALL, limits.ids_per_call),
        (key::LIMITS_NAME_BYTES, limits.name_bytes),
    ]
    .map(|(key, limit)| (key.path, limit.to_string()))
}
