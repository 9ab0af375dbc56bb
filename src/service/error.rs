//! The one table from errors to gRPC statuses, with google.rpc details.

use std::{collections::HashMap, ops::Range, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use super::validate::money;
use crate::{
    model::Funds,
    store,
    watch::{self, Resume},
};

/// The compiled descriptors of the google.rpc messages that errors carry, for reflection.
pub const DETAIL_DESCRIPTORS: &[u8] = tonic_types::pb::FILE_DESCRIPTOR_SET;

const DOMAIN: &str = "tidings.dev";
/// A store that is away is mostly back within seconds.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// A server at a limit has room again as soon as calls end.
const LOAD_RETRY: Duration = Duration::from_secs(1);
/// A draining server is about to be replaced. Its clients are told different times, so as not to come back at once.
const DRAIN_RETRY: Range<Duration> = Duration::from_millis(250)..Duration::from_millis(1_250);
/// The server of a stream that has lived its time is there.
const AGE_RETRY: Range<Duration> = Duration::from_millis(10)..Duration::from_millis(500);
/// The trailer that says where to resume a watch.
const RESUME_TRAILER: &str = "tidings-resume";
/// A full store needs time to drain.
const FULL_RETRY: Duration = Duration::from_secs(10);
/// Details travel in a header, which proxies bound at a few KiB.
const MAX_VIOLATIONS: usize = 16;

/// Bad input: every fault found, by field.
pub(super) fn invalid(mut violations: Vec<FieldViolation>) -> Status {
    let first = violations.first().map_or_else(String::new, |violation| {
        format!("{}: {}", violation.field, violation.description)
    });
    let message = match violations.len() {
        0 | 1 => first,
        count => format!("{first} (and {} more)", count - 1),
    };
    violations.truncate(MAX_VIOLATIONS);
    let mut details = reason("INVALID_ARGUMENT");
    details.set_bad_request(violations);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// Bad input in one field.
pub(super) fn invalid_field(field: &str, description: impl Into<String>) -> Status {
    invalid(vec![FieldViolation::new(field, description)])
}

/// A field whose feature this server does not have.
pub(super) fn unimplemented(field: &str, description: &str) -> Status {
    let mut details = reason("NOT_SERVED_YET");
    details.add_bad_request_violation(field, description);
    Status::with_error_details(
        Code::Unimplemented,
        format!("{field}: {description}"),
        details,
    )
}

/// A budget that a batch cannot have.
pub(super) fn budget_refused(funds: Option<Funds>) -> Status {
    let message = match funds {
        Some(funds) => format!(
            "set budget_nanos above {}: {} is spent and {} reserved for calls under way",
            funds.committed(),
            money(funds.spent),
            money(funds.reserved)
        ),
        None => "the batch was submitted without a budget and cannot be given one; leave budget_nanos out"
            .to_owned(),
    };
    Status::with_error_details(Code::FailedPrecondition, message, reason("BUDGET_REFUSED"))
}

/// This server shuts down.
pub(super) fn draining() -> Status {
    unavailable(
        "this server is shutting down; try again, on another replica if there is one",
        "DRAINING",
        rand::random_range(DRAIN_RETRY),
    )
}

/// There is no such thing.
pub(super) fn not_found(kind: &str, id: impl ToString) -> Status {
    let id = id.to_string();
    let message = format!("there is no {kind} {id}; check the id, and which server it came from");
    let mut details = reason("NOT_FOUND");
    details.set_resource_info(kind, id, "", "");
    Status::with_error_details(Code::NotFound, message, details)
}

/// More than this server bears at once; nothing of the call was done. `limit` is the key that says how much.
pub fn overloaded(limit: &str, most: usize) -> Status {
    let mut details = reason("OVERLOADED");
    details.set_retry_info(Some(LOAD_RETRY));
    let message = format!(
        "this server is at its limit of {most} ({limit}) and did nothing; try again, on another replica if there is one"
    );
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// A request that is not even read.
pub fn request_too_large(bytes: usize, most: usize) -> Status {
    let description = format!("has {bytes} bytes, at most {most} are read; split the call");
    invalid_field("request", description)
}

/// A request that did not arrive whole in time; nothing of the call was done.
pub fn request_late() -> Status {
    Status::with_error_details(
        Code::DeadlineExceeded,
        "the request did not arrive whole in time (connection.request_timeout) and nothing was done; send it again",
        reason("REQUEST_LATE"),
    )
}

/// The client's deadline came before the call's end. What was accepted stays accepted.
pub fn deadline_passed() -> Status {
    Status::with_error_details(
        Code::DeadlineExceeded,
        "the call's deadline has passed; a change may have been made: repeat it with the same idempotency_key, \
         or resume the watch from what was received last",
        reason("DEADLINE_PASSED"),
    )
}

/// A `grpc-timeout` that says nothing.
pub fn bad_timeout() -> Status {
    invalid_field(
        "grpc-timeout",
        "is not 1 to 8 digits and a unit of H, M, S, m, u or n; write 5S for five seconds",
    )
}

/// A store's error.
pub(super) fn from_store(error: store::Error) -> Status {
    match error {
        store::Error::Unavailable(cause) => unavailable(
            &format!("the store is away: {cause}"),
            "STORE_AWAY",
            STORE_RETRY,
        ),
        store::Error::Full(cause) => {
            metrics::counter!("tidings_store_full_total").increment(1);
            let mut details = reason("STORE_FULL");
            details.set_retry_info(Some(FULL_RETRY));
            let message = format!("the store is full and nothing was accepted: {cause}");
            Status::with_error_details(Code::ResourceExhausted, message, details)
        }
        store::Error::KeyReused => Status::with_error_details(
            Code::AlreadyExists,
            "idempotency_key: it was used within 24 h for a call with other content; \
             use a new key for new content",
            reason("IDEMPOTENCY_KEY_REUSED"),
        ),
        store::Error::NoSuchBatch(id) => not_found("batch", id),
        store::Error::BatchClosed(id) => Status::with_error_details(
            Code::FailedPrecondition,
            format!("batch {id} is closed; submit a new batch, or keep it open with keep_open"),
            reason("BATCH_CLOSED"),
        ),
        store::Error::Corrupt(fault) => {
            tracing::error!(fault, "a stored record cannot be read");
            Status::with_error_details(
                Code::DataLoss,
                "a stored record cannot be read; the server's log says more",
                reason("RECORD_UNREADABLE"),
            )
        }
    }
}

/// A watch's error; `place` says how its clients write down where to resume.
pub(super) fn from_watch(error: watch::Error, place: impl Fn(Resume) -> String) -> Status {
    match error {
        watch::Error::NoSuchTask(id) => not_found("task", id),
        watch::Error::Expired(id) => {
            let mut details = reason("EXPIRED");
            details.set_resource_info("task", id.to_string(), "", "past its retention");
            let message = format!("task {id} is past its retention and no longer kept");
            Status::with_error_details(Code::NotFound, message, details)
        }
        watch::Error::TaskLost(id) => lost("task", id),
        watch::Error::BatchLost(id) => lost("batch", id),
        watch::Error::Beyond { asked, last } => Status::with_error_details(
            Code::OutOfRange,
            format!("cannot resume after {asked}: the last one is {last}"),
            reason("BEYOND_THE_LAST"),
        ),
        watch::Error::EpochBeyond { asked, present } => Status::with_error_details(
            Code::OutOfRange,
            format!(
                "cannot resume from store epoch {asked}: the store is in epoch {present};                  check which server it came from"
            ),
            reason("BEYOND_THE_LAST"),
        ),
        watch::Error::Draining(resume) => with_resume(draining(), &place(resume)),
        watch::Error::Aged(resume) => {
            let ended = unavailable(
                "the stream has lived its time; watch again from where it ended",
                "STREAM_AGE",
                rand::random_range(AGE_RETRY),
            );
            with_resume(ended, &place(resume))
        }
        watch::Error::Store(error) => from_store(error),
    }
}

/// There was such a thing, and the store lost it.
fn lost(kind: &str, id: impl ToString) -> Status {
    let id = id.to_string();
    let message = format!(
        "the store lost {kind} {id} in a failover; submit it again with the same idempotency key"
    );
    let mut details = reason("DATA_LOSS");
    details.set_resource_info(kind, id, "", "lost in a failover");
    Status::with_error_details(Code::NotFound, message, details)
}

fn with_resume(mut status: Status, place: &str) -> Status {
    if let Ok(place) = place.parse() {
        status.metadata_mut().insert(RESUME_TRAILER, place);
    }
    status
}

fn unavailable(message: &str, why: &str, retry: Duration) -> Status {
    let mut details = reason(why);
    details.set_retry_info(Some(retry));
    Status::with_error_details(Code::Unavailable, message, details)
}

fn reason(reason: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, HashMap::<String, String>::new())
}
