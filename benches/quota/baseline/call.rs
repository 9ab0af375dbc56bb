//! What the baselines have in common: one call, and what came of it. No judgement, no waiting.

use std::{
    collections::HashSet,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use reqwest::{Client, StatusCode, header::HeaderMap};
use serde_json::json;

use crate::{report::Stop, stage::MODEL};

/// What came of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    /// An answer.
    Answer,
    /// A failure that is worth another try; 429 or not, and the wait asked for.
    Again {
        /// It was a 429.
        throttled: bool,
        /// `retry-after`, in whatever form.
        retry_after: Option<Duration>,
    },
    /// A failure that another try does not mend.
    Never,
}

/// Sends calls, and counts the answers.
#[derive(Debug)]
pub(crate) struct Caller {
    http: Client,
    url: String,
    key: String,
    answered: Mutex<HashSet<usize>>,
}

impl Caller {
    /// For one upstream.
    pub(crate) fn new(base_url: &str, key: &str) -> Result<Self, Stop> {
        // Fails when there is a provider already, which then serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Caller {
            // The SDK's own: 600 s in all, 5 s to connect.
            http: Client::builder()
                .timeout(Duration::from_secs(600))
                .connect_timeout(Duration::from_secs(5))
                .build()?,
            url: format!("{base_url}/chat/completions"),
            key: key.to_owned(),
            answered: Mutex::default(),
        })
    }

    /// Sends the `attempt`th call of a task.
    pub(crate) async fn call(&self, task: usize, attempt: u32) -> Reply {
        let prompt = format!("what is said of number {task}?");
        let body = json!({"model": MODEL, "messages": [{"role": "user", "content": prompt}]});
        let sent = self
            .http
            .post(&self.url)
            .bearer_auth(&self.key)
            .header("content-type", "application/json")
            .header("x-client-request-id", format!("{task}-{attempt}"))
            .body(body.to_string())
            .send()
            .await;
        let Ok(response) = sent else {
            return Reply::again();
        };
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_success() {
            if response.bytes().await.is_err() {
                return Reply::again();
            }
            self.answered
                .lock()
                .expect("nobody panics with it")
                .insert(task);
            return Reply::Answer;
        }
        let worth_it = matches!(status.as_u16(), 408 | 409 | 429) || status.is_server_error();
        if !worth_it {
            return Reply::Never;
        }
        Reply::Again {
            throttled: status == StatusCode::TOO_MANY_REQUESTS,
            retry_after: retry_after(&headers),
        }
    }

    /// How many tasks were answered.
    pub(crate) fn answered(&self) -> usize {
        self.answered.lock().expect("nobody panics with it").len()
    }
}

impl Reply {
    fn again() -> Self {
        Reply::Again {
            throttled: false,
            retry_after: None,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a date is compared with the machine's clock"
)]
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let number = |name: &str| text(name)?.parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|ms| ms / 1000.0);
    if let Some(seconds) = seconds.or_else(|| number("retry-after")) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = httpdate::parse_http_date(text("retry-after")?).ok()?;
    until.duration_since(SystemTime::now()).ok()
}
