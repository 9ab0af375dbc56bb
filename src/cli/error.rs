//! Why a command could not do its work, said so that a person knows what to do next.

use std::{error::Error as _, fmt::Write as _, io, io::Write as _};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{config::Faults, server, simulator};

/// Exit code when a task failed or was cancelled.
pub(super) const TASK_FAILED: u8 = 1;
/// Exit code when the command was used wrongly.
pub(super) const WRONG_USAGE: u8 = 2;
/// Exit code when the server is unreachable or cannot serve.
const UNREACHABLE: u8 = 3;
/// Exit code after SIGINT, as shells count it.
const INTERRUPTED: u8 = 130;
/// Exit code when `--timeout` ran out.
const TIMED_OUT: u8 = 4;

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The command line or the input is wrong.
    #[error("{0}")]
    Usage(String),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Faults),
    /// No server answers.
    #[error("no server answers at {endpoint} ({reason})")]
    Unreachable {
        /// Where it was looked for.
        endpoint: String,
        /// What the network said.
        reason: String,
    },
    /// The server refused or failed a call.
    #[error("failed to {action}")]
    Call {
        /// What was tried.
        action: String,
        /// What the server said.
        status: Box<Status>,
        /// Hints of the command itself.
        notes: Vec<String>,
    },
    /// `--timeout` ran out.
    #[error("{0}")]
    TimedOut(String),
    /// The server did not start, or stopped.
    #[error("failed to {0}")]
    Serve(#[from] server::Error),
    /// The simulated upstream did not start.
    #[error("failed to {0}")]
    Simulate(#[from] simulator::Error),
    /// A signal came before the end.
    #[error("stopped before the end")]
    Interrupted,
    /// Reading or writing failed on this machine.
    #[error("failed to read or write: {0}")]
    Io(#[from] io::Error),
}

impl Error {
    /// A call that the server, or the way to it, failed.
    pub(super) fn call(action: impl Into<String>, endpoint: &str, status: Status) -> Self {
        if is_transport(&status) {
            return Error::Unreachable {
                endpoint: endpoint.to_owned(),
                reason: innermost(&status),
            };
        }
        Error::Call {
            action: action.into(),
            status: Box::new(status),
            notes: Vec::new(),
        }
    }

    /// Whether the server said that there is no such thing.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Error::Call { status, .. } if status.code() == Code::NotFound)
    }

    /// What the process ends with.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) | Error::Config(_) => WRONG_USAGE,
            Error::Unreachable { .. } => UNREACHABLE,
            Error::Call { status, .. } => match status.code() {
                Code::InvalidArgument
                | Code::NotFound
                | Code::AlreadyExists
                | Code::FailedPrecondition
                | Code::OutOfRange
                | Code::Unimplemented
                | Code::PermissionDenied
                | Code::Unauthenticated => WRONG_USAGE,
                _ => UNREACHABLE,
            },
            Error::TimedOut(_) => TIMED_OUT,
            Error::Interrupted => INTERRUPTED,
            // A port, a directory or a Redis server that cannot be used: the caller has to mend it.
            Error::Serve(_) | Error::Simulate(_) => WRONG_USAGE,
            // A reader such as `head` has seen all it wanted.
            Error::Io(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Error::Io(_) => WRONG_USAGE,
        }
    }

    /// Says it on stderr.
    pub(super) fn report(&self) {
        if matches!(self, Error::Io(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            return;
        }
        let mark = console::style("error:").red().bold().for_stderr();
        // When stderr is closed too there is nobody left to tell.
        let _ = writeln!(io::stderr(), "{mark} {}", self.text().trim_end());
    }

    fn text(&self) -> String {
        let mut text = self.to_string();
        match self {
            Error::Unreachable { .. } => text.push_str(
                "\n  start one with `tidings serve`, or name another with --endpoint or TIDINGS_ENDPOINT",
            ),
            Error::Call { status, notes, .. } => {
                let _ = write!(text, ": {}", message(status));
                for line in details(status).iter().chain(notes) {
                    let _ = write!(text, "\n  {line}");
                }
            }
            _ => {}
        }
        text
    }
}

/// Whether the network rather than the server made this status.
pub(super) fn is_transport(status: &Status) -> bool {
    status.source().is_some()
}

/// What a status says, in words.
pub(super) fn message(status: &Status) -> String {
    match status.message() {
        _ if is_transport(status) => innermost(status),
        "" => status.code().description().to_owned(),
        text => text.to_owned(),
    }
}

/// The last error of a chain: `connection refused` rather than `transport error`.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// The details that help a person, one line each.
fn details(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let violations = details.bad_request().map(|bad| &bad.field_violations);
    let mut lines: Vec<String> = violations
        .into_iter()
        .flatten()
        .map(|violation| format!("{}: {}", violation.field, violation.description))
        // A single one mostly is the message.
        .filter(|line| line != status.message())
        .collect();
    let resource = details.resource_info();
    lines.extend(
        resource
            .filter(|info| !status.message().contains(&info.resource_name))
            .map(|info| format!("{}: {}", info.resource_type, info.resource_name)),
    );
    let delay = details.retry_info().and_then(|info| info.retry_delay);
    lines.extend(delay.map(|delay| format!("try again in {}", humantime::format_duration(delay))));
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic_types::ErrorDetails;

    use super::*;

    fn call(code: Code, details: ErrorDetails) -> Error {
        Error::call(
            "submit",
            "http://h",
            Status::with_error_details(code, "no", details),
        )
    }

    #[test]
    fn a_refusal_shows_its_message_the_fields_and_when_to_come_back() {
        let mut details = ErrorDetails::new();
        details
            .add_bad_request_violation("tasks[3].prompt", "must not be empty")
            .set_retry_info(Some(Duration::from_secs(2)));
        let text = call(Code::InvalidArgument, details).text();
        assert_eq!(
            text,
            "failed to submit: no\n  tasks[3].prompt: must not be empty\n  try again in 2s"
        );
    }

    #[test]
    fn a_refusal_of_one_field_is_said_once() {
        let details = ErrorDetails::with_bad_request_violation("ids", "is empty");
        let status = Status::with_error_details(Code::InvalidArgument, "ids: is empty", details);
        let text = Error::call("cancel", "http://h", status).text();
        assert_eq!(text, "failed to cancel: ids: is empty");
    }

    #[test]
    fn codes_end_in_the_exit_code_of_their_kind() {
        let code = |code| call(code, ErrorDetails::new()).exit_code();
        assert_eq!(code(Code::InvalidArgument), WRONG_USAGE);
        assert_eq!(code(Code::NotFound), WRONG_USAGE);
        assert_eq!(code(Code::Unavailable), UNREACHABLE);
        assert_eq!(code(Code::Internal), UNREACHABLE);
        assert_eq!(
            Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).exit_code(),
            0
        );
    }
}
