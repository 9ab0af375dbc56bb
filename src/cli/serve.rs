//! `tidings serve`: the server with its workers, until a signal.

use super::{Ending, error::Error, logging, output::Output, signal};
use crate::{
    config::{Config, Flags, Variables, key},
    server::Server,
};

pub(super) async fn run(
    flags: &Flags,
    variables: &Variables,
    output: &Output,
) -> Result<Ending, Error> {
    let config = Config::load(flags, variables)?;
    logging::install(&config.log);
    // Before the ports are taken: a signal must never find the default handler on an open store.
    let stop = signal::stop_token()?;
    warn_without_key(&config);
    let server = Server::bind(config).await?;
    output.line(&server.banner())?;
    server.serve(stop).await?;
    Ok(Ending::Done)
}

/// Every task would be parked: better said now than found out then.
fn warn_without_key(config: &Config) {
    if config.upstream.api_key.is_none()
        && Some(config.upstream.base_url.as_str()) == key::UPSTREAM_URL.default
    {
        tracing::warn!(
            "no API key is set and the upstream wants one: \
             set OPENAI_API_KEY, or name another upstream with --upstream-url"
        );
    }
}
