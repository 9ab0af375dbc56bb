//! Reads TaskOptions: what a task asks for, what the call's defaults say, and the server's own defaults last.

use std::{collections::BTreeMap, time::Duration};

use super::{Faults, Rules, work::Asked};
use crate::{
    clock::Timestamp,
    model::{Caching, Priority, Spec, Work, cache_key},
    proto::v1::{CacheMode, TaskOptions},
};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// A call that takes longer is stuck.
const MAX_TIMEOUT: Duration = DAY;
/// Further ahead is more likely a wrong unit than a wish.
const MAX_AHEAD: Duration = Duration::from_secs(366 * 24 * 3600);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
const DEFAULT_DEADLINE: Duration = DAY;
const DEFAULT_ATTEMPTS: u32 = 5;
const MAX_ATTEMPTS: u32 = 100;
/// A model that misses a schema so often does not know how to follow it, and each call is paid for.
const MAX_VALIDATION_RETRIES: u32 = 10;
const MAX_LABELS: usize = 64;

/// The options that were stated, read and within their ranges.
#[derive(Clone, Debug, Default)]
pub(in crate::service) struct Terms {
    pub(super) model: Option<String>,
    priority: Option<Priority>,
    timeout: Option<Duration>,
    deadline: Option<Timestamp>,
    not_before: Option<Timestamp>,
    status_retention: Option<Duration>,
    result_retention: Option<Duration>,
    max_attempts: Option<u32>,
    labels: BTreeMap<String, String>,
    pub(super) stream: Option<bool>,
    cache: Option<CacheMode>,
    cache_max_age: Option<Duration>,
    pub(super) validation_retries: Option<u32>,
}

impl Terms {
    /// Reads the options in `field`, noting every fault.
    pub(super) fn read(
        field: &str,
        options: &TaskOptions,
        rules: &Rules<'_>,
        faults: &mut Faults,
    ) -> Terms {
        let mut reader = Reader {
            field,
            rules,
            faults,
        };
        Terms {
            model: reader.model(&options.model),
            priority: reader.priority(options.priority),
            timeout: reader.duration("timeout", options.timeout.as_ref(), MAX_TIMEOUT),
            deadline: reader.instant("deadline", options.deadline.as_ref()),
            not_before: reader.instant("not_before", options.not_before.as_ref()),
            status_retention: reader.duration(
                "status_retention",
                options.status_retention.as_ref(),
                MAX_AHEAD,
            ),
            result_retention: reader.duration(
                "result_retention",
                options.result_retention.as_ref(),
                MAX_AHEAD,
            ),
            max_attempts: reader.max_attempts(options.max_attempts),
            labels: reader.labels(&options.labels),
            stream: options.stream_output,
            cache: reader.cache(options.cache),
            cache_max_age: reader.duration(
                "cache_max_age",
                options.cache_max_age.as_ref(),
                MAX_AHEAD,
            ),
            validation_retries: reader.validation_retries(options.validation_retries),
        }
    }

    /// These terms, with what they leave open taken from `defaults`. Labels are joined.
    pub(super) fn or(&self, defaults: &Terms) -> Terms {
        let mut labels = defaults.labels.clone();
        labels.extend(self.labels.clone());
        Terms {
            model: self.model.clone().or_else(|| defaults.model.clone()),
            priority: self.priority.or(defaults.priority),
            timeout: self.timeout.or(defaults.timeout),
            deadline: self.deadline.or(defaults.deadline),
            not_before: self.not_before.or(defaults.not_before),
            status_retention: self.status_retention.or(defaults.status_retention),
            result_retention: self.result_retention.or(defaults.result_retention),
            max_attempts: self.max_attempts.or(defaults.max_attempts),
            labels,
            stream: self.stream.or(defaults.stream),
            cache: self.cache.or(defaults.cache),
            validation_retries: self.validation_retries.or(defaults.validation_retries),
            cache_max_age: match self.cache {
                // A default of the call is for the tasks that take what the cache has.
                Some(CacheMode::Bypass | CacheMode::Refresh) => self.cache_max_age,
                _ => self.cache_max_age.or(defaults.cache_max_age),
            },
        }
    }

    /// Notes terms that contradict each other.
    pub(super) fn check(&self, field: &str, faults: &mut Faults) {
        if let (Some(start), Some(end)) = (self.not_before, self.deadline)
            && start >= end
        {
            faults.add(
                format!("{field}.not_before"),
                "is not before the deadline, so the task could never run",
            );
        }
        if let (Some(status), Some(result)) = (self.status_retention, self.result_retention)
            && status > result
        {
            faults.add(
                format!("{field}.status_retention"),
                "is longer than result_retention; the history cannot outlive its task",
            );
        }
        if let (Some(CacheMode::Bypass | CacheMode::Refresh), Some(_)) =
            (self.cache, self.cache_max_age)
        {
            faults.add(
                format!("{field}.cache_max_age"),
                "is stated for a task that takes no answer from the cache; leave it out",
            );
        }
        if self.labels.len() > MAX_LABELS {
            let count = self.labels.len();
            faults.add(
                format!("{field}.labels"),
                format!("has {count} labels with the call's defaults, at most {MAX_LABELS}"),
            );
        }
    }

    /// Whether the cache was asked to take part.
    pub(super) fn caches(&self) -> bool {
        matches!(self.cache, Some(mode) if mode != CacheMode::Bypass)
            || self.cache_max_age.is_some()
    }

    /// How the cache takes part in this work.
    fn caching(&self, work: &Work) -> Option<Caching> {
        let is_repeatable = || match (work, work.kind()) {
            (Work::Request { body, .. }, Some(kind)) => {
                cache_key::is_repeatable(kind, body.as_bytes())
            }
            _ => false,
        };
        let takes_part = match self.cache {
            _ if !work.is_upstream() => false,
            Some(CacheMode::Bypass) => false,
            Some(CacheMode::Enabled | CacheMode::Refresh) => true,
            // Who says how old an answer may be wants one that is there.
            Some(CacheMode::Unspecified) | None => self.cache_max_age.is_some() || is_repeatable(),
        };
        takes_part.then(|| Caching {
            refresh: self.cache == Some(CacheMode::Refresh),
            max_age_ms: self.cache_max_age.map(millis),
        })
    }

    /// The spec of a task under these terms.
    pub(super) fn spec(
        self,
        Asked {
            work,
            model,
            stream,
        }: Asked,
        custom_id: String,
        rules: &Rules<'_>,
    ) -> Spec {
        let config = rules.config;
        let begin = self.not_before.unwrap_or(rules.now).max(rules.now);
        // A retention that is only half stated pulls the other half along.
        let status = self.status_retention.unwrap_or_else(|| {
            let most = self.result_retention.unwrap_or(config.status_retention);
            config.status_retention.min(most)
        });
        let result = self
            .result_retention
            .unwrap_or(config.result_retention)
            .max(status);
        Spec {
            caching: self.caching(&work),
            work,
            custom_id,
            model,
            priority: self.priority.unwrap_or_default(),
            timeout_ms: millis(self.timeout.unwrap_or(DEFAULT_TIMEOUT)),
            deadline: self.deadline.unwrap_or(begin + DEFAULT_DEADLINE),
            not_before: self.not_before.filter(|start| *start > rules.now),
            status_retention_ms: millis(status),
            result_retention_ms: millis(result),
            max_attempts: self.max_attempts.unwrap_or(DEFAULT_ATTEMPTS),
            labels: self.labels,
            retry_of: None,
            create_time: rules.now,
            stream,
            max_cost_micros: 0,
            validation_retries: None,
        }
    }
}

/// Reads TaskOptions.cache.
fn cache_mode(code: i32) -> Result<Option<CacheMode>, String> {
    match CacheMode::try_from(code) {
        Ok(CacheMode::Unspecified) => Ok(None),
        Ok(mode) => Ok(Some(mode)),
        Err(_) => Err(format!(
            "{code} is no cache mode; ENABLED is 1, BYPASS 2, REFRESH 3"
        )),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

struct Reader<'a> {
    field: &'a str,
    rules: &'a Rules<'a>,
    faults: &'a mut Faults,
}

impl Reader<'_> {
    fn fault(&mut self, name: &str, description: impl Into<String>) {
        self.faults
            .add(format!("{}.{name}", self.field), description);
    }

    fn model(&mut self, model: &str) -> Option<String> {
        let field = format!("{}.model", self.field);
        self.faults.name(&field, model, &self.rules.config.limits);
        (!model.is_empty()).then(|| model.to_owned())
    }

    fn priority(&mut self, code: i32) -> Option<Priority> {
        if code == 0 {
            return None;
        }
        let priority = u8::try_from(code).ok().and_then(Priority::from_code);
        if priority.is_none() {
            self.fault(
                "priority",
                format!("{code} is no priority; LOW is 1, NORMAL 2, HIGH 3"),
            );
        }
        priority
    }

    fn cache(&mut self, code: i32) -> Option<CacheMode> {
        match cache_mode(code) {
            Ok(mode) => mode,
            Err(description) => {
                self.fault("cache", description);
                None
            }
        }
    }

    fn duration(
        &mut self,
        name: &str,
        duration: Option<&prost_types::Duration>,
        most: Duration,
    ) -> Option<Duration> {
        let duration = duration?;
        let in_form = (0..1_000_000_000).contains(&duration.nanos);
        let read = u64::try_from(duration.seconds)
            .ok()
            .filter(|_| in_form)
            .map(|seconds| Duration::new(seconds, duration.nanos.unsigned_abs()));
        let read = read.filter(|read| (Duration::from_millis(1)..=most).contains(read));
        if read.is_none() {
            let most = match most.as_secs() / DAY.as_secs() {
                1 => "24 h".to_owned(),
                days => format!("{days} days"),
            };
            self.fault(name, format!("must be from 1 ms to {most}"));
        }
        read
    }

    fn instant(&mut self, name: &str, time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
        let time = time?;
        let read = (0..1_000_000_000)
            .contains(&time.nanos)
            .then(|| time.seconds.checked_mul(1_000))
            .flatten()
            .and_then(|millis| millis.checked_add(i64::from(time.nanos / 1_000_000)))
            .map(Timestamp);
        let now = self.rules.now;
        let Some(read) = read.filter(|read| read.0 >= 0 && *read <= now + MAX_AHEAD) else {
            let days = MAX_AHEAD.as_secs() / DAY.as_secs();
            self.fault(name, format!("must lie between 1970 and {days} days ahead"));
            return None;
        };
        if name == "deadline" && read <= now {
            self.fault(name, format!("has passed: it is {now} now"));
            return None;
        }
        Some(read)
    }

    fn max_attempts(&mut self, attempts: u32) -> Option<u32> {
        if attempts > MAX_ATTEMPTS {
            self.fault(
                "max_attempts",
                format!("is {attempts}, at most {MAX_ATTEMPTS}"),
            );
        }
        (attempts > 0).then_some(attempts)
    }

    fn validation_retries(&mut self, retries: Option<u32>) -> Option<u32> {
        if let Some(retries) = retries.filter(|retries| *retries > MAX_VALIDATION_RETRIES) {
            self.fault(
                "validation_retries",
                format!("is {retries}, at most {MAX_VALIDATION_RETRIES}"),
            );
        }
        retries
    }

    fn labels(&mut self, labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let limits = &self.rules.config.limits;
        for (key, value) in labels {
            if key.is_empty() {
                self.faults
                    .add(format!("{}.labels", self.field), "has an empty key");
            }
            let field = format!("{}.labels", self.field);
            self.faults.name(&field, key, limits);
            self.faults.name(&field, value, limits);
        }
        labels.clone()
    }
}
