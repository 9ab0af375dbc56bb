//! The whole configuration as a person may see it: one `key = value` line each, secrets left out.

use std::fmt;

use humantime::format_duration;

use super::{Config, Limits, StoreConfig, key, upstream::shown_key};

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
        entries.extend([
            (key::UPSTREAM_URL.path, self.upstream.shown_url()),
            ("upstream.api_key", shown_key(&self.upstream).to_owned()),
            (key::MODEL.path, self.model.clone()),
            (key::CONCURRENCY.path, self.concurrency.to_string()),
            (key::LEASE.path, length(self.lease)),
            (key::STATUS_RETENTION.path, length(self.status_retention)),
            (key::RESULT_RETENTION.path, length(self.result_retention)),
            (key::SHUTDOWN_GRACE.path, length(self.shutdown_grace)),
            (key::REFLECTION.path, self.reflection.to_string()),
        ]);
        entries.extend(limits(&self.limits));
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
            StoreConfig::Embedded { .. } => Vec::new(),
            StoreConfig::Redis {
                partitions,
                allow_eviction,
                ..
            } => vec![
                (key::REDIS_PARTITIONS.path, partitions.to_string()),
                (key::REDIS_ALLOW_EVICTION.path, allow_eviction.to_string()),
            ],
        }
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
