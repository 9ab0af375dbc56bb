//! `tidings config check`: says every fault of the configuration at once, or what it comes to.

use clap::Subcommand;
use serde_json::{Map, Value};

use super::{Ending, error::Error, output::Output};
use crate::config::{Config, Flags, Variables};

/// Arguments of `tidings config`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read file, environment and flags as `tidings serve` would, and say what they come to; shows no secret
    Check(Box<Flags>),
}

pub(super) fn run(args: &Args, variables: &Variables, output: &Output) -> Result<Ending, Error> {
    let Command::Check(flags) = &args.command;
    let config = Config::load(flags, variables)?;
    output.either(
        || config.to_string().trim_end().to_owned(),
        || {
            let entries = config.entries().into_iter();
            let members: Map<String, Value> = entries
                .map(|(key, value)| (key.to_owned(), value.into()))
                .collect();
            members.into()
        },
    )?;
    Ok(Ending::Done)
}
