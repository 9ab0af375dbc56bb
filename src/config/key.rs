//! Every key there is: its name in the file, in the environment and on the command line, and its default.

/// One thing that can be said, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// Dotted path in the TOML file: `upstream.url`.
    pub path: &'static str,
    /// Environment variable, if it has one.
    pub variable: Option<&'static str>,
    /// Command line flag, if it has one.
    pub flag: Option<&'static str>,
    /// What holds when nothing is said; None when that is nothing at all.
    pub default: Option<&'static str>,
}

/// A key that can be said in all three places.
const fn everywhere(
    path: &'static str,
    variable: &'static str,
    flag: &'static str,
    default: &'static str,
) -> Key {
    Key {
        path,
        variable: Some(variable),
        flag: Some(flag),
        default: Some(default),
    }
}

/// A key that lives in the file alone.
const fn file_only(path: &'static str, default: &'static str) -> Key {
    Key {
        path,
        variable: None,
        flag: None,
        default: Some(default),
    }
}

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident = $key:expr;)*) => {
        $($(#[$doc])* pub const $name: Key = $key;)*
        /// Every key, in the order in which `config check` shows them.
        pub const ALL: &[Key] = &[$($name),*];
    };
}

keys! {
    /// gRPC address.
    LISTEN = everywhere("listen", "TIDINGS_LISTEN", "--listen", "127.0.0.1:50051");
    /// Address of the admin HTTP server.
    ADMIN_LISTEN = everywhere("admin_listen", "TIDINGS_ADMIN_LISTEN", "--admin-listen", "127.0.0.1:9464");
    /// Where tasks live.
    STORE = everywhere("store", "TIDINGS_STORE", "--store", "embedded:./tidings-data");
    /// Open an embedded store although acknowledged commits are missing. No variable: it is said once, by a person.
    EMBEDDED_ACCEPT_DATA_LOSS = Key {
        path: "embedded.accept_data_loss",
        variable: None,
        flag: Some("--accept-data-loss"),
        default: Some("false"),
    };
    /// Over how many partitions ids are spread in Redis.
    REDIS_PARTITIONS = file_only("redis.partitions", "auto");
    /// Serve although Redis may evict keys.
    REDIS_ALLOW_EVICTION = file_only("redis.allow_eviction", "false");
    /// So many replicas of Redis have a submit before it is answered.
    REDIS_WAIT_REPLICAS = file_only("redis.wait_replicas", "0");
    /// A submit is on the disk of Redis, and of the replicas waited for, before it is answered.
    REDIS_WAIT_FSYNC = file_only("redis.wait_fsync", "false");
    /// How long a submit waits for that; what was reached is told.
    REDIS_WAIT_TIMEOUT = file_only("redis.wait_timeout", "1s");
    /// Base URL of the OpenAI-compatible server.
    UPSTREAM_URL = everywhere("upstream.url", "TIDINGS_UPSTREAM_URL", "--upstream-url", "https://api.openai.com/v1");
    /// File that holds the bearer key. The key itself is never a key of the file or a flag.
    UPSTREAM_API_KEY_FILE = Key {
        path: "upstream.api_key_file",
        variable: None,
        flag: Some("--upstream-api-key-file"),
        default: None,
    };
    /// Calls of one model a minute that the key may make.
    UPSTREAM_REQUESTS_PER_MINUTE = file_only("upstream.requests_per_minute", "auto");
    /// Tokens of one model a minute that the key may use.
    UPSTREAM_TOKENS_PER_MINUTE = file_only("upstream.tokens_per_minute", "auto");
    /// Calls at once follow how long answers take.
    UPSTREAM_ADAPTIVE_CONCURRENCY = file_only("upstream.adaptive_concurrency", "false");
    /// Model of a task that names none.
    MODEL = everywhere("model", "TIDINGS_MODEL", "--model", "gpt-4o-mini");
    /// Ceiling of upstream calls in flight.
    CONCURRENCY = everywhere("concurrency", "TIDINGS_CONCURRENCY", "--concurrency", "256");
    /// How long a silent worker keeps a task.
    LEASE = everywhere("lease", "TIDINGS_LEASE", "--lease", "15s");
    /// How long a finished task keeps its history.
    STATUS_RETENTION = everywhere("status_retention", "TIDINGS_STATUS_RETENTION", "--status-retention", "24h");
    /// How long a finished task and its result are kept.
    RESULT_RETENTION = everywhere("result_retention", "TIDINGS_RESULT_RETENTION", "--result-retention", "7d");
    /// How old an answer may be that another task takes from the cache.
    CACHE_TTL = file_only("cache.ttl", "24h");
    /// By whose values costs are told apart in the metrics.
    COST_LABEL = file_only("cost_label", "none");
    /// How long a shutdown waits for running tasks.
    SHUTDOWN_GRACE = everywhere("shutdown_grace", "TIDINGS_SHUTDOWN_GRACE", "--shutdown-grace", "30s");
    /// Whether gRPC reflection is served.
    REFLECTION = file_only("reflection", "true");
    /// Tasks a SubmitBatch call.
    LIMITS_TASKS_PER_BATCH = file_only("limits.tasks_per_batch", "1000");
    /// Encoded bytes a SubmitBatch call.
    LIMITS_BATCH_BYTES = file_only("limits.batch_bytes", "4194304");
    /// Bytes of one task's input.
    LIMITS_TASK_BYTES = file_only("limits.task_bytes", "1048576");
    /// Ids a GetStatus, CancelTasks or RetryTasks call.
    LIMITS_IDS_PER_CALL = file_only("limits.ids_per_call", "1000");
    /// Bytes of a key, label or custom id.
    LIMITS_NAME_BYTES = file_only("limits.name_bytes", "512");
    /// Tasks that may be unfinished.
    LIMITS_QUEUE_TASKS = file_only("limits.queue_tasks", "2000000");
    /// Bytes of their inputs.
    LIMITS_QUEUE_BYTES = file_only("limits.queue_bytes", "4294967296");
    /// Connections open at once.
    LIMITS_CONNECTIONS = file_only("limits.connections", "16384");
    /// Connections open at once from one address.
    LIMITS_CONNECTIONS_PER_ADDRESS = file_only("limits.connections_per_address", "4096");
    /// Streams open at once on one connection.
    LIMITS_STREAMS_PER_CONNECTION = file_only("limits.streams_per_connection", "16384");
    /// Calls answered at once, watches apart.
    LIMITS_UNARY_CALLS = file_only("limits.unary_calls", "4096");
    /// Bytes of requests held at once.
    LIMITS_REQUEST_BYTES = file_only("limits.request_bytes", "268435456");
    /// Watches open at once.
    LIMITS_WATCHES = file_only("limits.watches", "200000");
    /// How long a connection may take to begin with HTTP/2.
    CONNECTION_PREFACE_TIMEOUT = file_only("connection.preface_timeout", "5s");
    /// How long a request may take to arrive whole.
    CONNECTION_REQUEST_TIMEOUT = file_only("connection.request_timeout", "1m");
    /// How old a connection becomes before it is told to go.
    CONNECTION_MAX_AGE = file_only("connection.max_age", "30m");
    /// How long it may stay after that: a watch opened just before lives to its own end.
    CONNECTION_AGE_GRACE = file_only("connection.age_grace", "12m");
    /// How long a watch's stream lives.
    LIMITS_WATCH_AGE = file_only("limits.watch_age", "10m");
    /// Log filter.
    LOG_FILTER = everywhere("log.filter", "TIDINGS_LOG", "--log", "info");
    /// How a log line looks.
    LOG_FORMAT = everywhere("log.format", "TIDINGS_LOG_FORMAT", "--log-format", "pretty");
}
