//! What the programs of this crate have in common: the workload, its payloads, and what the environment says.

use std::{env, error::Error, fs, io};

use serde::de::DeserializeOwned;

pub type Failed = Box<dyn Error + Send + Sync>;

/// Bytes of a task's payload.
const PAYLOAD: usize = 200;

/// What a client is asked to do: `count` tasks, numbered from `first`.
pub struct Workload {
    pub name: String,
    pub count: usize,
    pub first: usize,
}

impl Workload {
    pub fn parse(name: &str, count: &str, first: &str) -> Result<Self, Failed> {
        Ok(Self {
            name: name.to_owned(),
            count: count.parse()?,
            first: first.parse()?,
        })
    }

    pub fn numbers(&self) -> std::ops::Range<usize> {
        self.first..self.first + self.count
    }
}

/// The payload of a task begins with its number, which is also the task's result.
pub fn payload(number: usize) -> String {
    format!("{number:08}{}", "x".repeat(PAYLOAD - 8))
}

/// The result of a task: the number that its payload begins with.
pub fn result_of(payload: &str) -> String {
    payload[..8].to_owned()
}

/// The body of the call that a task of W3 makes.
pub fn request_body(payload: &str) -> String {
    serde_json::json!({"model": "simulated", "messages": [{"role": "user", "content": payload}]})
        .to_string()
}

#[expect(
    clippy::disallowed_methods,
    reason = "Tidings's own rule; these programs have no configuration"
)]
pub fn variable(name: &str) -> Result<String, Failed> {
    env::var(name)
        .map_err(|_| format!("{name} is not set: start this by scripts/bench-peers").into())
}

pub fn settings<T: DeserializeOwned>() -> Result<T, Failed> {
    Ok(serde_json::from_str(&variable("SETTINGS")?)?)
}

/// Leaves the numbers of the tasks that this process ran, so that those run twice can be counted.
pub fn leave_executions(numbers: &[String]) -> io::Result<()> {
    let directory = variable("EXECUTIONS").map_err(io::Error::other)?;
    fs::write(
        format!("{directory}/{}", std::process::id()),
        numbers.join("\n"),
    )
}

pub fn report_seconds(seconds: f64, known: usize) {
    println!(
        "{}",
        serde_json::json!({"seconds": seconds, "known": known})
    );
}

pub fn report_latencies(milliseconds: &[f64], known: usize) {
    println!(
        "{}",
        serde_json::json!({"latencies_ms": milliseconds, "known": known})
    );
}
