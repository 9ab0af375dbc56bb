//! The log of calls: what tests and people judge by. It holds hashes of keys and prompts, never themselves.

use std::{
    collections::VecDeque,
    fmt,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use serde::{Serialize, Serializer};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, SystemClock, Timestamp};

/// One finished call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallRecord {
    /// When its head had come.
    #[serde(serialize_with = "as_text")]
    pub time_in: Timestamp,
    /// When its reply was handed over, or the caller hung up.
    #[serde(serialize_with = "as_text")]
    pub time_out: Timestamp,
    /// How it ended.
    pub ended: Ended,
    /// The fault that was injected, by its name.
    pub fault: Option<String>,
    /// The status it was answered with; none when it was not.
    pub status: Option<u16>,
    /// Hash of the bearer key it carried.
    pub key: Option<String>,
    /// Where it went, below the API's version.
    pub path: &'static str,
    /// Hash of its prompt: [`hash16`](super::hash16) of the last user message, or of its text where there are no
    /// messages; empty when that could not be read.
    pub prompt: String,
    /// How many calls with this prompt there were, with this one.
    pub attempt: u32,
    /// The model it asked for.
    pub model: String,
    /// Its `idempotency-key`.
    pub idempotency_key: Option<String>,
    /// Its `x-client-request-id`.
    pub client_request_id: Option<String>,
    /// It asked for a stream.
    pub streamed: bool,
    /// Tokens of its prompt, by the simulation's count.
    pub input_tokens: u64,
    /// Tokens it was answered with.
    pub output_tokens: u64,
    /// Tokens that the limits charged it.
    pub charged_tokens: u64,
    /// Tokens to be paid for: those of the prompt and of the whole answer once the simulated model has begun, whether
    /// or not the answer arrived; 0 for refusals and errors.
    pub billed_tokens: u64,
}

impl CallRecord {
    /// Whether the caller hung up before it was answered.
    pub fn hung_up(&self) -> bool {
        self.ended == Ended::HungUp
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// With what it asked for.
    Answered,
    /// Its key or its content was refused.
    Refused,
    /// A limit refused it.
    Throttled,
    /// The simulation was told to be unwell.
    Unhealthy,
    /// By an injected fault.
    Faulted,
    /// The caller was gone before the whole answer.
    HungUp,
    /// The simulation was stopped.
    Stopped,
}

/// Where calls are written, one line of JSON each.
#[derive(Clone)]
pub struct LogWriter(Arc<Mutex<dyn Write + Send>>);

impl LogWriter {
    /// Writes to `writer`, with one write a call.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        LogWriter(Arc::new(Mutex::new(writer)))
    }

    fn write(&self, record: &CallRecord) {
        let Ok(mut line) = serde_json::to_vec(record) else {
            return;
        };
        line.push(b'\n');
        // A full disk must not stop the simulation; the calls in memory still tell.
        if let Err(error) = self.0.lock().write_all(&line) {
            tracing::warn!(%error, "a simulated call could not be logged");
        }
    }
}

impl fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogWriter")
    }
}

/// The finished calls, and how many are open.
#[derive(Debug)]
pub(super) struct Log {
    keep: usize,
    calls: Mutex<VecDeque<CallRecord>>,
    finished: AtomicU64,
    open: AtomicUsize,
    writer: Option<LogWriter>,
    stop: CancellationToken,
}

impl Log {
    pub(super) fn new(keep: usize, writer: Option<LogWriter>, stop: CancellationToken) -> Self {
        Log {
            keep,
            calls: Mutex::default(),
            finished: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            writer,
            stop,
        }
    }

    pub(super) fn calls(&self) -> Vec<CallRecord> {
        self.calls.lock().iter().cloned().collect()
    }

    pub(super) fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// A call to this path has come.
    pub(super) fn begin(self: &Arc<Self>, path: &'static str) -> OpenCall {
        self.open.fetch_add(1, Ordering::Relaxed);
        let now = SystemClock.now();
        OpenCall {
            log: self.clone(),
            record: CallRecord {
                time_in: now,
                time_out: now,
                ended: Ended::HungUp,
                fault: None,
                status: None,
                key: None,
                path,
                prompt: String::new(),
                attempt: 0,
                model: String::new(),
                idempotency_key: None,
                client_request_id: None,
                streamed: false,
                input_tokens: 0,
                output_tokens: 0,
                charged_tokens: 0,
                billed_tokens: 0,
            },
        }
    }

    fn push(&self, record: CallRecord) {
        if let Some(writer) = &self.writer {
            writer.write(&record);
        }
        let mut calls = self.calls.lock();
        if self.keep > 0 {
            if calls.len() >= self.keep {
                calls.pop_front();
            }
            calls.push_back(record);
        }
        // Under the lock, so that a call counted as finished is seen among the calls.
        self.finished.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A call that waits for its answer. Dropped before [`OpenCall::end`], its caller has hung up.
#[derive(Debug)]
pub(super) struct OpenCall {
    log: Arc<Log>,
    pub(super) record: CallRecord,
}

impl OpenCall {
    /// The call ended.
    pub(super) fn end(mut self, ended: Ended, status: Option<u16>) {
        self.record.ended = ended;
        self.record.status = status;
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if self.record.ended == Ended::HungUp && self.log.stop.is_cancelled() {
            self.record.ended = Ended::Stopped;
        }
        self.record.time_out = SystemClock.now();
        self.log.push(self.record.clone());
    }
}

fn as_text<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}
