//! The figures, from the upstream's log alone. Pure: calls come in, numbers come out. Times are in seconds after the
//! first call.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Add as _,
};

use tidings::{
    clock::Timestamp,
    simulator::{CallRecord, Ended},
};

/// The start of a run is not measured: buckets are full, and nobody knows the quota yet. Of a short run, a third.
pub(crate) const SETTLING: f64 = 30.0;
/// Over so long a time the rate must have reached the quota to count as converged.
pub(crate) const TRAILING: f64 = 10.0;
/// From this share of the quota on.
pub(crate) const CONVERGED: f64 = 0.95;

/// What the upstream lets through, and when that changes.
#[derive(Clone, Debug)]
pub(crate) struct Quota {
    /// Units a second, before any change.
    pub(crate) per_second: f64,
    /// From so long after the first call on, so many times as many.
    pub(crate) changes: Vec<(f64, f64)>,
}

impl Quota {
    /// A quota that stays as it is.
    pub(crate) fn steady(per_minute: u64) -> Self {
        Quota {
            per_second: per_minute as f64 / 60.0,
            changes: Vec::new(),
        }
    }

    /// Units a second at an instant.
    pub(crate) fn at(&self, time: f64) -> f64 {
        let changes = self.changes.iter().take_while(|(at, _)| *at <= time);
        self.per_second * changes.last().map_or(1.0, |(_, factor)| *factor)
    }

    /// Units between two instants.
    pub(crate) fn between(&self, from: f64, to: f64) -> f64 {
        let inner = self.changes.iter().map(|(at, _)| *at);
        let inner = inner.filter(|at| from < *at && *at < to);
        let mut edges = vec![from];
        edges.extend(inner);
        edges.push(to);
        let spans = edges
            .windows(2)
            .map(|span| self.at(span[0]) * (span[1] - span[0]));
        spans.sum()
    }
}

/// A call as the judge sees it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// When it came.
    pub(crate) at: f64,
    /// When it was answered, or its caller hung up.
    pub(crate) end: f64,
    /// Whose it was.
    pub(crate) task: String,
    /// The limits let it through.
    pub(crate) admitted: bool,
    /// It was answered with 429.
    pub(crate) throttled: bool,
    /// What it took of the quota that is judged.
    pub(crate) units: f64,
    /// Tokens to be paid.
    pub(crate) billed: u64,
    /// How it ended.
    pub(crate) ended: Ended,
    /// What was done to it on purpose.
    pub(crate) fault: Option<String>,
}

/// Which dimension of the quota is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// One a call.
    Requests,
    /// What the limits charged.
    Tokens,
}

/// The log of a run, in the order in which calls came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    /// The calls.
    pub(crate) calls: Vec<Call>,
    /// When the first one came.
    pub(crate) start: Timestamp,
}

impl Log {
    /// Reads what an upstream has recorded.
    pub(crate) fn read(records: &[CallRecord], unit: Unit) -> Self {
        let start = records.iter().map(|record| record.time_in).min();
        let start = start.unwrap_or_default();
        let mut calls: Vec<Call> = records
            .iter()
            .map(|record| Call::read(record, unit, start))
            .collect();
        calls.sort_by(|one, other| one.at.total_cmp(&other.at));
        Log { calls, start }
    }

    /// An instant of the machine's clock on this log's.
    pub(crate) fn time(&self, at: Timestamp) -> f64 {
        seconds(at, self.start)
    }

    /// The calls that the limits let through.
    pub(crate) fn admitted(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.admitted)
    }

    /// From when to when a run is measured: after the start, and while there was a second's work or more that had
    /// never been let through. `tasks` were submitted.
    pub(crate) fn window(&self, tasks: usize, quota: &Quota) -> (f64, f64) {
        let mut seen = BTreeMap::new();
        for call in self.admitted() {
            seen.entry(call.task.as_str())
                .or_insert((call.at, call.units));
        }
        let mut first: Vec<(f64, f64)> = seen.into_values().collect();
        first.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut left: f64 = 0.0;
        let last = self.calls.last().map_or(0.0, |call| call.at);
        let mut end = last;
        if first.len() == tasks {
            for (at, units) in first.iter().rev() {
                if left >= quota.at(*at) {
                    break;
                }
                end = *at;
                left += units;
            }
        }
        (SETTLING.min(end / 3.0), end)
    }

    /// Units let through, as a share of the quota.
    pub(crate) fn utilisation(&self, (from, to): (f64, f64), quota: &Quota) -> f64 {
        let within = self
            .admitted()
            .filter(|call| call.at >= from && call.at < to);
        within.map(|call| call.units).fold(0.0, f64::add) / quota.between(from, to)
    }

    /// 429s, as a share of the calls.
    pub(crate) fn throttled(&self, (from, to): (f64, f64)) -> f64 {
        let within = self
            .calls
            .iter()
            .filter(|call| call.at >= from && call.at < to);
        let (mut calls, mut throttled) = (0_u32, 0_u32);
        for call in within {
            calls += 1;
            throttled += u32::from(call.throttled);
        }
        f64::from(throttled) / f64::from(calls.max(1))
    }

    /// How long after `change` the rate over a trailing time first was at the quota; none if it never was. What was
    /// let through before the change does not count.
    pub(crate) fn convergence(&self, change: f64, trailing: f64, quota: &Quota) -> Option<f64> {
        let after: Vec<&Call> = self.admitted().filter(|call| call.at >= change).collect();
        let mut oldest = 0;
        let mut units = 0.0;
        for call in &after {
            units += call.units;
            while after[oldest].at <= call.at - trailing {
                units -= after[oldest].units;
                oldest += 1;
            }
            if units >= CONVERGED * quota.at(call.at) * trailing {
                return Some(call.at - change);
            }
        }
        None
    }

    /// Tasks billed more than once.
    pub(crate) fn billed_twice(&self) -> BTreeSet<&str> {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for call in self.calls.iter().filter(|call| call.billed > 0) {
            *counts.entry(&call.task).or_default() += 1;
        }
        let twice = counts.into_iter().filter(|(_, count)| *count > 1);
        twice.map(|(task, _)| task).collect()
    }

    /// All tokens to be paid.
    pub(crate) fn billed(&self) -> u64 {
        self.calls.iter().map(|call| call.billed).sum()
    }

    /// What was billed beyond the cheapest way to the same answers, as a share of that.
    pub(crate) fn overspend(&self) -> f64 {
        let mut cheapest: BTreeMap<&str, u64> = BTreeMap::new();
        for call in self.calls.iter().filter(|call| call.billed > 0) {
            let least = cheapest.entry(&call.task).or_insert(call.billed);
            *least = call.billed.min(*least);
        }
        let cheapest: u64 = cheapest.values().sum();
        if cheapest == 0 {
            return 0.0;
        }
        self.billed() as f64 / cheapest as f64 - 1.0
    }

    /// Calls whose callers hung up in a time.
    pub(crate) fn hung_up_within(&self, (from, to): (f64, f64)) -> usize {
        let hung_up = self.calls.iter().filter(|call| call.ended == Ended::HungUp);
        hung_up
            .filter(|call| call.end >= from && call.end <= to)
            .count()
    }

    /// Calls that were open at an instant.
    pub(crate) fn open_at(&self, at: f64) -> usize {
        let open = |call: &&Call| call.at <= at && call.end > at;
        self.calls.iter().filter(open).count()
    }
}

impl Call {
    fn read(record: &CallRecord, unit: Unit, start: Timestamp) -> Self {
        let stopped_at_the_door = [Ended::Throttled, Ended::Refused, Ended::Unhealthy];
        let id = record.client_request_id.as_deref().unwrap_or_default();
        Call {
            at: seconds(record.time_in, start),
            end: seconds(record.time_out, start),
            task: task_of(id).to_owned(),
            admitted: !stopped_at_the_door.contains(&record.ended),
            throttled: record.status == Some(429),
            units: match unit {
                Unit::Requests => 1.0,
                Unit::Tokens => record.charged_tokens as f64,
            },
            billed: record.billed_tokens,
            ended: record.ended,
            fault: record.fault.clone(),
        }
    }
}

/// Request ids are the task's, a dash, and the number of the attempt.
pub(crate) fn task_of(request_id: &str) -> &str {
    request_id
        .rsplit_once('-')
        .map_or(request_id, |(task, _)| task)
}

/// The value that this share of all values does not exceed.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    let value = values.get(rank.saturating_sub(1).min(values.len().saturating_sub(1)));
    value.copied().unwrap_or(f64::NAN)
}

fn seconds(at: Timestamp, start: Timestamp) -> f64 {
    (at.0 - start.0) as f64 / 1000.0
}
