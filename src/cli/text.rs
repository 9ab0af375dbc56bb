//! The wire's messages as lines for people.

use std::fmt::Write as _;

use console::{Style, style};
use prost_types::Timestamp;

use crate::{clock, proto::v1};

/// A task on one line, and below it the failure, if there is one.
pub(super) fn task(task: &v1::Task) -> String {
    let time = task.transition_time.or(task.create_time).map(instant);
    let time = time.map_or(String::new(), |time| time.to_string());
    let mut line = format!(
        "{}  {}  {}  rev {}  attempt {}",
        style(time).dim(),
        task.id,
        status(task.status()),
        task.revision,
        task.attempt,
    );
    if !task.custom_id.is_empty() {
        let _ = write!(line, "  {}", printable(&task.custom_id));
    }
    if let Some(wait) = wait(task.wait_reason(), task.wait_until) {
        let _ = write!(line, "  ({wait})");
    }
    if let Some(error) = task.error.as_ref().or_else(|| last_failure(task)) {
        let _ = write!(line, "\n    {}", failure(error));
    }
    line
}

/// The failure that sent a task back to the queue, so that a retry is seen with its reason.
fn last_failure(task: &v1::Task) -> Option<&v1::TaskError> {
    (task.status() == v1::TaskStatus::Queued)
        .then(|| task.attempts.last()?.error.as_ref())
        .flatten()
}

/// A task with all that is known of it.
pub(super) fn detail(task: &v1::Task) -> String {
    let mut text = self::task(task);
    for (name, value) in facts(task) {
        if !value.is_empty() {
            let _ = write!(text, "\n    {name:<10} {}", printable(&value));
        }
    }
    if let Some(result) = &task.result {
        // Vectors and calls of tools are no text; what came is all there is to show.
        let shown = match result.text.as_str() {
            "" => &result.body,
            text => text,
        };
        let _ = write!(text, "\n{}", printable(shown));
    }
    text
}

/// What a line has no room for, by name; an empty value is unknown.
fn facts(task: &v1::Task) -> Vec<(String, String)> {
    let time = |time: Option<Timestamp>| time.map_or(String::new(), |at| instant(at).to_string());
    let deadline = task.deadline.filter(|_| task.end_time.is_none());
    let mut facts: Vec<(String, String)> = [
        ("batch", task.batch_id.clone()),
        ("model", task.model.clone()),
        ("retry of", task.retry_of.clone()),
        ("created", time(task.create_time)),
        ("ended", time(task.end_time)),
        ("deadline", time(deadline)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let labels = task.labels.iter();
    facts.extend(labels.map(|(key, value)| ("label".to_owned(), format!("{key}={value}"))));
    facts.extend(task.attempts.iter().filter_map(|attempt| {
        let error = attempt.error.as_ref()?;
        Some((format!("attempt {}", attempt.number), failure(error)))
    }));
    let usage = task.result.as_ref().and_then(|result| result.usage);
    facts.extend(usage.map(|usage| {
        let tokens = format!("{} in, {} out", usage.input_tokens, usage.output_tokens);
        ("tokens".to_owned(), tokens)
    }));
    let cost = usage.map_or(0, |usage| usage.cost_nanos);
    facts.extend((cost > 0).then(|| ("cost".to_owned(), money(cost))));
    facts
}

/// Billionths of a currency as an amount: six decimals, which a single answer needs.
fn money(nanos: u64) -> String {
    let micros = nanos.div_ceil(1_000);
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// Reads an amount of a currency into billionths.
pub(super) fn nanos(text: &str) -> Result<u64, String> {
    let wrong = || "write an amount such as 12.50, with nine decimals at most".to_owned();
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number =
        |digits: &str| !digits.is_empty() && digits.bytes().all(|it| it.is_ascii_digit());
    if part.len() > 9 || !is_number(whole) || !is_number(part) {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let part: u64 = format!("{part:0<9}").parse().map_err(|_| wrong())?;
    let nanos = whole.checked_mul(1_000_000_000);
    nanos
        .and_then(|nanos| nanos.checked_add(part))
        .ok_or_else(wrong)
}

/// A failure in one line; its message says the HTTP status where there was one.
fn failure(error: &v1::TaskError) -> String {
    let code = word(error.code().as_str_name(), "ERROR_CODE_");
    format!("{code}: {}", printable(&error.message))
}

/// News of a task between transitions.
pub(super) fn notice(notice: &v1::TaskNotice) -> String {
    let news = wait(notice.wait_reason(), notice.wait_until).unwrap_or_else(|| {
        match notice.progress_percent {
            0 => "waits no longer".to_owned(),
            percent => format!("{percent} %"),
        }
    });
    format!("{}  {news}", notice.task_id)
}

fn wait(reason: v1::WaitReason, until: Option<Timestamp>) -> Option<String> {
    if reason == v1::WaitReason::Unspecified {
        return None;
    }
    let word = word(reason.as_str_name(), "WAIT_REASON_");
    Some(match until {
        Some(until) => format!("waits: {word}, until {}", instant(until)),
        None => format!("waits: {word}"),
    })
}

/// `1 task`, `2 tasks`.
pub(super) fn tasks(count: u64) -> String {
    format!("{count} {}", if count == 1 { "task" } else { "tasks" })
}

/// How a batch ended, or stands, in one line.
pub(super) fn summary(progress: &v1::BatchProgress) -> String {
    let mut text = format!(
        "{}: {} completed",
        tasks(progress.total),
        progress.completed
    );
    for (count, name) in [
        (progress.error, "error"),
        (progress.cancelled, "cancelled"),
        (progress.processing, "processing"),
        (progress.queued, "queued"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {count} {name}");
        }
    }
    if let Some(usage) = progress
        .usage
        .filter(|usage| *usage != v1::Usage::default())
    {
        let _ = write!(
            text,
            "; {} tokens in, {} out",
            usage.input_tokens, usage.output_tokens
        );
        if usage.cost_nanos > 0 {
            let _ = write!(text, ", cost {}", money(usage.cost_nanos));
        }
    }
    if let Some(budget) = progress.budget {
        let (spent, limit) = (money(budget.spent_nanos), money(budget.limit_nanos));
        let _ = write!(text, "; {spent} of the budget of {limit} spent");
    }
    text
}

/// The tail of a progress bar.
pub(super) fn in_flight(progress: &v1::BatchProgress) -> String {
    let mut text = format!("{} processing", progress.processing);
    if progress.error > 0 {
        let _ = write!(text, ", {} error", progress.error);
    }
    text
}

/// Why a batch is held back, and how it goes on.
pub(super) fn parked(batch_id: &str, parked: &v1::Parked) -> String {
    let reason = word(parked.reason().as_str_name(), "PARK_REASON_");
    let more = match parked.reason() {
        v1::ParkReason::Budget => " --budget AMOUNT",
        _ => "",
    };
    format!(
        "{} {reason}: {}\n  once it is mended: tidings resume {batch_id}{more}",
        style("parked").yellow().bold(),
        printable(&parked.message),
    )
}

/// A status as a coloured word of one width.
pub(super) fn status(status: v1::TaskStatus) -> String {
    let look = match status {
        v1::TaskStatus::Completed => Style::new().green(),
        v1::TaskStatus::Error => Style::new().red(),
        v1::TaskStatus::Cancelled => Style::new().yellow(),
        v1::TaskStatus::Processing => Style::new().cyan(),
        v1::TaskStatus::Queued | v1::TaskStatus::Unspecified => Style::new(),
    };
    let word = word(status.as_str_name(), "TASK_STATUS_");
    look.apply_to(format!("{word:<10}")).to_string()
}

/// `TASK_STATUS_QUEUED` as `queued`.
pub(super) fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}

/// The wire's instant as ours.
pub(super) fn instant(time: Timestamp) -> clock::Timestamp {
    clock::Timestamp(time.seconds.saturating_mul(1_000) + i64::from(time.nanos / 1_000_000))
}

/// Text from elsewhere, without what could command a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\t' => character,
            _ if character.is_control() => '\u{fffd}',
            _ => character,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_cannot_command_the_terminal() {
        assert_eq!(
            printable("a\u{1b}[31m\tb\r\n\u{9b}"),
            "a\u{fffd}[31m\tb\u{fffd}\n\u{fffd}"
        );
    }

    #[test]
    fn an_answer_without_text_is_shown_as_it_came() {
        let shown = |text: &str| {
            detail(&v1::Task {
                result: Some(v1::TaskResult {
                    text: text.to_owned(),
                    body: "{\"data\":[]}".to_owned(),
                    ..v1::TaskResult::default()
                }),
                ..v1::Task::default()
            })
        };
        assert!(shown("").ends_with("\n{\"data\":[]}"));
        assert!(shown("yes").ends_with("\nyes"));
    }

    #[test]
    fn a_summary_names_only_what_there_is() {
        let progress = v1::BatchProgress {
            total: 3,
            completed: 2,
            error: 1,
            ..v1::BatchProgress::default()
        };
        assert_eq!(summary(&progress), "3 tasks: 2 completed, 1 error");
        let progress = v1::BatchProgress {
            total: 1,
            ..v1::BatchProgress::default()
        };
        assert_eq!(summary(&progress), "1 task: 0 completed");
    }
}
