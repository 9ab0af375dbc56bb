//! What is aimed at: which figures stand how to which others.

use super::report::Name;

/// A figure, or how one stands to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    /// What it says.
    pub(crate) text: &'static str,
    /// The figure, above the line if there is one.
    pub(crate) of: Name,
    /// What stands below the line.
    pub(crate) to: Option<Name>,
    /// What is aimed at; empty where it is only told.
    pub(crate) goal: &'static str,
}

/// All of them, in the order of the table.
pub(crate) const ALL: &[Goal] = &[
    ratio(
        "W1 on Redis ÷ bare scripts, 1,000 a call",
        "≥ 0.6",
        ("W1", "redis", "tasks/s"),
        ("limit", "scripts bare, 1,000 a call", "tasks/s"),
    ),
    ratio(
        "W1 on Redis ÷ bare scripts, 256 a call",
        "≥ 0.6",
        ("W1", "redis", "tasks/s"),
        ("limit", "scripts bare, 256 a call", "tasks/s"),
    ),
    ratio(
        "Redis CPU a task, W1 ÷ bare scripts, 256 a call",
        "",
        ("W1", "redis", "Redis CPU µs a task"),
        ("limit", "scripts bare, 256 a call", "Redis CPU µs a task"),
    ),
    ratio(
        "W1 on Redis ÷ BullMQ",
        "≥ 3",
        ("W1", "redis", "tasks/s"),
        ("W1", "bullmq", "tasks/s"),
    ),
    ratio(
        "W1 on Redis ÷ BullMQ, both AOF everysec",
        "≥ 3",
        ("W1", "redis, AOF everysec", "tasks/s"),
        ("W1", "bullmq, AOF everysec", "tasks/s"),
    ),
    ratio(
        "W1 on Redis ÷ Celery",
        "≥ 30",
        ("W1", "redis", "tasks/s"),
        ("W1", "celery", "tasks/s"),
    ),
    ratio(
        "W1 on Redis ÷ apalis with its locks off",
        "1 if possible",
        ("W1", "redis", "tasks/s"),
        ("W1", "apalis-unlocked", "tasks/s"),
    ),
    ratio(
        "W1 embedded ÷ W1 on Redis",
        "≥ 1.5",
        ("W1", "embedded", "tasks/s"),
        ("W1", "redis", "tasks/s"),
    ),
    ratio(
        "W1 on Redis, AOF everysec ÷ none",
        "",
        ("W1", "redis, AOF everysec", "tasks/s"),
        ("W1", "redis", "tasks/s"),
    ),
    ratio(
        "W2 p50 on Redis ÷ BullMQ",
        "≤ 0.33",
        ("W2", "redis", "p50 ms"),
        ("W2", "bullmq", "p50 ms"),
    ),
    ratio(
        "W2 p99 on Redis ÷ BullMQ",
        "≤ 0.33",
        ("W2", "redis", "p99 ms"),
        ("W2", "bullmq", "p99 ms"),
    ),
    ratio(
        "W2 p50 on Redis ÷ bare scripts, one task at a time",
        "",
        ("W2", "redis", "p50 ms"),
        ("limit", "scripts bare, one task at a time", "p50 ms"),
    ),
    ratio(
        "W3 wall on Redis ÷ the bare load generator",
        "≤ 1.05",
        ("W3", "redis", "wall ÷ ideal"),
        ("W3", "load-generator", "wall ÷ ideal"),
    ),
    ratio(
        "W3 wall embedded ÷ the bare load generator",
        "≤ 1.05",
        ("W3", "embedded", "wall ÷ ideal"),
        ("W3", "load-generator", "wall ÷ ideal"),
    ),
    ratio(
        "W3 CPU a task on Redis ÷ BullMQ",
        "≤ 1",
        ("W3", "redis", "CPU ms a task"),
        ("W3", "bullmq", "CPU ms a task"),
    ),
    ratio(
        "W3 CPU a task on Redis ÷ apalis",
        "1 if possible",
        ("W3", "redis", "CPU ms a task"),
        ("W3", "apalis", "CPU ms a task"),
    ),
    figure(
        "W4 bytes a watch, embedded",
        "≤ 8,192",
        ("W4", "embedded", "bytes a watch"),
    ),
    figure(
        "W4 bytes a watch, Redis",
        "≤ 8,192",
        ("W4", "redis", "bytes a watch"),
    ),
    figure(
        "W4 p99 ms, transition to client, 20,000/s to 100,000 watches, embedded",
        "< 50",
        ("W4", "embedded", "p99 ms, transition to client"),
    ),
    figure(
        "W4 p99 ms of all rounds together, embedded",
        "< 50",
        ("W4", "embedded", "p99 ms of all rounds together"),
    ),
    figure(
        "W4 p99 ms, transition to client, 20,000/s to 100,000 watches, Redis",
        "< 50",
        ("W4", "redis", "p99 ms, transition to client"),
    ),
    figure(
        "W4 p99 ms of all rounds together, Redis",
        "< 50",
        ("W4", "redis", "p99 ms of all rounds together"),
    ),
    figure(
        "W4 p99 ms, transition to client, 20,000/s to 10,000 watches of 3 replicas",
        "< 50",
        ("W4", "redis, 3 replicas", "p99 ms, transition to client"),
    ),
    ratio(
        "W1 embedded beside open watches ÷ before",
        "",
        ("W4", "embedded", "tasks/s of W1 beside them"),
        ("W4", "embedded", "tasks/s of W1 before"),
    ),
    ratio(
        "W1 on Redis beside open watches ÷ before",
        "",
        ("W4", "redis", "tasks/s of W1 beside them"),
        ("W4", "redis", "tasks/s of W1 before"),
    ),
    figure(
        "W1 embedded beside 100 unread streams ÷ without",
        "> 0.95",
        (
            "W4",
            "embedded, unread",
            "tasks/s beside ÷ without, by pairs",
        ),
    ),
    figure(
        "W1 on Redis beside 100 unread streams ÷ without",
        "> 0.95",
        ("W4", "redis, unread", "tasks/s beside ÷ without, by pairs"),
    ),
    ratio(
        "W5 server CPU a task, embedded, 1,000,000 waiting ÷ 1,000",
        "≤ 1.2",
        ("W5", "embedded, 1,000,000 waiting", "server CPU µs a task"),
        ("W5", "embedded, 1,000 waiting", "server CPU µs a task"),
    ),
    ratio(
        "W5 server CPU a task on Redis, 1,000,000 waiting ÷ 1,000",
        "≤ 1.2",
        ("W5", "redis, 1,000,000 waiting", "server CPU µs a task"),
        ("W5", "redis, 1,000 waiting", "server CPU µs a task"),
    ),
    ratio(
        "W5 Redis CPU a task, 1,000,000 waiting ÷ 1,000",
        "≤ 1.2",
        ("W5", "redis, 1,000,000 waiting", "Redis CPU µs a task"),
        ("W5", "redis, 1,000 waiting", "Redis CPU µs a task"),
    ),
    ratio(
        "W5 server CPU a task, embedded, 1,000,000 in one go ÷ 10,000",
        "≤ 1.2",
        (
            "W5",
            "embedded, 1,000,000 in one go",
            "server CPU µs a task",
        ),
        ("W5", "embedded, 10,000 in one go", "server CPU µs a task"),
    ),
    ratio(
        "W5 time a task, embedded, 1,000,000 in one go ÷ 10,000",
        "≤ 1.2",
        ("W5", "embedded, 10,000 in one go", "tasks/s"),
        ("W5", "embedded, 1,000,000 in one go", "tasks/s"),
    ),
    ratio(
        "W5 server CPU a task on Redis, 1,000,000 in one go ÷ 10,000",
        "≤ 1.2",
        ("W5", "redis, 1,000,000 in one go", "server CPU µs a task"),
        ("W5", "redis, 10,000 in one go", "server CPU µs a task"),
    ),
    ratio(
        "W5 time a task on Redis, 1,000,000 in one go ÷ 10,000",
        "≤ 1.2",
        ("W5", "redis, 10,000 in one go", "tasks/s"),
        ("W5", "redis, 1,000,000 in one go", "tasks/s"),
    ),
    ratio(
        "W5 tasks/s on Redis, 4 replicas ÷ 1",
        "",
        ("W5", "redis, 4 replicas", "tasks/s"),
        ("W5", "redis, 1 replica", "tasks/s"),
    ),
    figure(
        "W5 ms until ready, embedded, empty",
        "< 100",
        ("W5", "embedded, empty", "ms until ready"),
    ),
    figure(
        "W5 ms until ready, Redis, empty",
        "< 100",
        ("W5", "redis, empty", "ms until ready"),
    ),
    figure(
        "W5 ms until ready, embedded, 1,000,000 waiting",
        "< 5,000",
        ("W5", "embedded, 1,000,000 waiting", "ms until ready"),
    ),
    figure(
        "W5 ms until ready, Redis, 1,000,000 waiting",
        "< 5,000",
        ("W5", "redis, 1,000,000 waiting", "ms until ready"),
    ),
    figure(
        "W5 MiB of the binary",
        "≤ 28.6 (30 MB)",
        ("W5", "binary", "MiB"),
    ),
];

const fn ratio(text: &'static str, goal: &'static str, of: Name, to: Name) -> Goal {
    Goal {
        text,
        of,
        to: Some(to),
        goal,
    }
}

const fn figure(text: &'static str, goal: &'static str, of: Name) -> Goal {
    Goal {
        text,
        of,
        to: None,
        goal,
    }
}
