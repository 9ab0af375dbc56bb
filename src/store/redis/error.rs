//! Redis' errors, told apart once.

use redis::{ErrorKind, RedisError, ServerError, ServerErrorKind, Value};

use crate::store::Error;

/// Answers of a server that is there but cannot serve now.
const TEMPORARY: [&str; 9] = [
    "LOADING",
    "READONLY",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "NOREPLICAS",
    "TRYAGAIN",
    "BUSY",
    "MISCONF",
    "UNKILLABLE",
];

/// Answers of a cluster's node about keys that it does not serve now.
const ASTRAY: [&str; 5] = ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY"];

/// What to do about a server that wants a password and got another or none.
const REFUSED: &str = "it refuses the user or password; put the right ones into the URL, redis://USER:PASSWORD@HOST:PORT";
const LOCKED: &str = "it wants a password; put it into the URL, redis://:PASSWORD@HOST:PORT";

/// The error for a command that got no answer: connection trouble. Holds no argument of the command.
pub(super) fn of_transport(error: &RedisError) -> Error {
    let cause = match error.kind() {
        ErrorKind::Io if error.is_timeout() => "no answer in time".into(),
        ErrorKind::Io => error.to_string(),
        ErrorKind::AuthenticationFailed => REFUSED.into(),
        ErrorKind::Parse => "what answers there is not Redis".into(),
        ErrorKind::Server(_) | ErrorKind::Extension => match error.code() {
            Some("NOAUTH") => LOCKED.into(),
            code => format!("the server says {}", code.unwrap_or("an error")),
        },
        _ => error.category().to_owned(),
    };
    Error::Unavailable(cause)
}

/// The error for a command that was answered with one.
pub(super) fn of_server(error: &ServerError) -> Error {
    if mentions(error, "OOM") {
        return full();
    }
    if let Some(code) = TEMPORARY.into_iter().find(|code| mentions(error, code)) {
        return Error::Unavailable(format!("the server says {code}"));
    }
    let (code, details) = (error.code(), error.details().unwrap_or_default());
    Error::Unavailable(format!("the server says {code} {details}"))
}

/// The server has no room.
pub(super) fn full() -> Error {
    Error::Full("Redis is at its maxmemory".into())
}

/// An answer, or the error that stands in its place.
pub(super) fn answered(value: Value) -> Result<Value, Error> {
    match value {
        Value::ServerError(failure) => Err(of_server(&failure)),
        value => Ok(value),
    }
}

/// The node that was asked does not serve the partition now: another does, or the partition is on its way.
pub(super) fn is_astray(value: &Value) -> bool {
    match value {
        Value::ServerError(failure) => {
            ASTRAY.iter().any(|code| mentions(failure, code)) || {
                // What a script is told that meets a key on its way; it has written nothing yet, see the guard in script.rs.
                failure
                    .details()
                    .is_some_and(|details| details.contains("non local key"))
            }
        }
        _ => false,
    }
}

/// What a server that is no node of a cluster says when it is asked about one.
pub(super) fn is_no_cluster(value: &Value) -> bool {
    let told = match value {
        Value::ServerError(failure) => failure.details(),
        _ => None,
    };
    told.is_some_and(|told| told.contains("cluster support disabled"))
}

/// The connection leads to a server that is no longer the primary.
pub(super) fn is_demoted(error: &ServerError) -> bool {
    mentions(error, "READONLY")
}

/// The script is not in the server's cache.
pub(super) fn is_no_script(error: &ServerError) -> bool {
    error.kind() == Some(ServerErrorKind::NoScript)
}

/// Before Redis 7 the code of an error inside a script stands in the middle of its text.
fn mentions(error: &ServerError, code: &str) -> bool {
    error.code() == code
        || error.details().is_some_and(|details| {
            details
                .split(|c: char| !c.is_ascii_alphanumeric())
                .any(|word| word == code)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_error(line: &str) -> ServerError {
        match redis::parse_redis_value(format!("-{line}\r\n").as_bytes()) {
            Ok(Value::ServerError(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_full_server_is_full_before_and_since_redis_7() {
        for line in [
            "OOM command not allowed when used memory > 'maxmemory'. script: 1f, on @user_script:9.",
            "ERR Error running script (call to f_1f): @user_script:9: -OOM command not allowed",
        ] {
            let error = of_server(&server_error(line));
            assert!(matches!(error, Error::Full(_)), "{error:?}");
        }
    }

    #[test]
    fn a_server_that_cannot_serve_now_is_unavailable() {
        for code in TEMPORARY {
            let error = of_server(&server_error(&format!("{code} whatever")));
            let Error::Unavailable(cause) = error else {
                panic!("{error:?}");
            };
            assert_eq!(cause, format!("the server says {code}"));
        }
    }

    #[test]
    fn a_demoted_server_and_a_lost_script_are_recognised() {
        assert!(is_demoted(&server_error(
            "READONLY You can't write against a read only replica."
        )));
        assert!(is_no_script(&server_error("NOSCRIPT No matching script.")));
        assert!(!is_no_script(&server_error("ERR else")));
    }
}
