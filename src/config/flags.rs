//! The flags of `tidings serve` and `tidings config check`.

use std::path::PathBuf;

use super::key::{self, Key};

/// What the command line says. Values stay text until [`Config::load`](super::Config::load) reads them, so that a
/// faulty flag is reported together with every other fault.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// TOML file to read first
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// gRPC address; port 0 takes a free one [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Address for /metrics, /livez and /readyz [default: 127.0.0.1:9464]
    #[arg(long, value_name = "ADDR")]
    pub admin_listen: Option<String>,
    /// embedded:PATH, redis://… or rediss://… [default: embedded:./tidings-data]
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
    /// Open an embedded store although acknowledged commits are missing from it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub accept_data_loss: Option<String>,
    /// Base URL of an OpenAI-compatible server [default: https://api.openai.com/v1]
    #[arg(long, value_name = "URL")]
    pub upstream_url: Option<String>,
    /// File that holds the upstream's bearer key
    #[arg(long, value_name = "FILE")]
    pub upstream_api_key_file: Option<String>,
    /// Model of a task that names none [default: gpt-4o-mini]
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Ceiling of upstream calls in flight [default: 256]
    #[arg(long, value_name = "COUNT")]
    pub concurrency: Option<String>,
    /// How long a silent worker keeps a task, at least 1s [default: 15s]
    #[arg(long, value_name = "DURATION")]
    pub lease: Option<String>,
    /// How long a finished task keeps its history [default: 24h]
    #[arg(long, value_name = "DURATION")]
    pub status_retention: Option<String>,
    /// How long a finished task and its result are kept [default: 7d]
    #[arg(long, value_name = "DURATION")]
    pub result_retention: Option<String>,
    /// How long SIGTERM waits for running tasks [default: 30s]
    #[arg(long, value_name = "DURATION")]
    pub shutdown_grace: Option<String>,
    /// Log filter [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// json or pretty [default: pretty]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

impl Flags {
    /// What was said for this key, if anything.
    pub(super) fn said(&self, key: &Key) -> Option<&str> {
        let pairs: [(&Key, &Option<String>); 14] = [
            (&key::LISTEN, &self.listen),
            (&key::ADMIN_LISTEN, &self.admin_listen),
            (&key::STORE, &self.store),
            (&key::EMBEDDED_ACCEPT_DATA_LOSS, &self.accept_data_loss),
            (&key::UPSTREAM_URL, &self.upstream_url),
            (&key::UPSTREAM_API_KEY_FILE, &self.upstream_api_key_file),
            (&key::MODEL, &self.model),
            (&key::CONCURRENCY, &self.concurrency),
            (&key::LEASE, &self.lease),
            (&key::STATUS_RETENTION, &self.status_retention),
            (&key::RESULT_RETENTION, &self.result_retention),
            (&key::SHUTDOWN_GRACE, &self.shutdown_grace),
            (&key::LOG_FILTER, &self.log),
            (&key::LOG_FORMAT, &self.log_format),
        ];
        let (_, value) = pairs.into_iter().find(|(known, _)| *known == key)?;
        value.as_deref()
    }
}
