//! The way to the server.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use super::error::{Error, innermost};
use crate::{
    config::{ENDPOINT, Variables},
    proto::v1::task_service_client::TaskServiceClient,
};

/// Where the server is when nobody says.
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:50051";
/// A server that has not taken the connection by then is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an idle connection is asked for a sign of life, and how long the answer may take: a dead peer is
/// noticed well before the 30 s within which the server itself must speak.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A connection to a server that has answered once; it reconnects by itself.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// The calls.
    pub(super) client: TaskServiceClient<Channel>,
    /// Where the server is, for messages.
    pub(super) endpoint: String,
}

impl Session {
    /// Connects.
    pub(super) async fn open(endpoint: String) -> Result<Session, Error> {
        let channel = checked(&endpoint)?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .connect()
            .await
            .map_err(|error| Error::Unreachable {
                endpoint: endpoint.clone(),
                reason: innermost(&error),
            })?;
        Ok(Session {
            client: TaskServiceClient::new(channel),
            endpoint,
        })
    }

    /// Reads the outcome of a call.
    pub(super) fn check<T>(
        &self,
        action: &str,
        outcome: Result<tonic::Response<T>, tonic::Status>,
    ) -> Result<T, Error> {
        outcome
            .map(tonic::Response::into_inner)
            .map_err(|status| Error::call(action, &self.endpoint, status))
    }
}

/// Where the server is: the flag, else the variable, else the default.
pub(super) fn endpoint(flag: Option<String>, variables: &Variables) -> String {
    flag.or_else(|| variables.get(ENDPOINT).cloned())
        .unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned())
}

/// A command that asks no server takes no `--endpoint`.
pub(super) fn refuse(endpoint: Option<&str>) -> Result<(), Error> {
    match endpoint {
        None => Ok(()),
        Some(_) => Err(Error::Usage(
            "this command asks no server: leave --endpoint out".to_owned(),
        )),
    }
}

fn checked(endpoint: &str) -> Result<Endpoint, Error> {
    let usage = |problem: &str| {
        Error::Usage(format!(
            "the endpoint `{endpoint}` {problem}; write http://HOST:PORT"
        ))
    };
    if endpoint.starts_with("https://") {
        return Err(usage("asks for TLS, which is not served yet"));
    }
    if !endpoint.starts_with("http://") {
        return Err(usage("does not begin with http://"));
    }
    Endpoint::from_shared(endpoint.to_owned()).map_err(|_| usage("is not a URL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_plain_http_url() {
        assert!(checked(DEFAULT_ENDPOINT).is_ok());
        for (text, problem) in [
            ("127.0.0.1:50051", "does not begin with http://"),
            ("https://h:1", "TLS"),
            ("http://a b", "is not a URL"),
        ] {
            let error = checked(text).err().map(|error| error.to_string());
            assert!(
                error.as_ref().is_some_and(|e| e.contains(problem)),
                "{error:?}"
            );
        }
    }

    #[test]
    fn the_flag_wins_over_the_variable() {
        let variables = Variables::from([(ENDPOINT.to_owned(), "http://v".to_owned())]);
        assert_eq!(
            endpoint(Some("http://f".to_owned()), &variables),
            "http://f"
        );
        assert_eq!(endpoint(None, &variables), "http://v");
        assert_eq!(endpoint(None, &Variables::new()), DEFAULT_ENDPOINT);
    }
}
