//! Commands for people and scripts: a gRPC client like any other, plus the server itself.
//!
//! One file per command. Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 a task failed,
//! 2 wrong usage, 3 server unreachable, 4 gave up waiting.

mod cancel;
mod config_check;
mod connection;
mod demo;
mod error;
mod follow;
mod json;
mod list;
mod logging;
mod output;
mod pause;
mod prompt;
mod resume;
mod retry;
mod serve;
mod signal;
mod simulate;
mod status;
mod submit;
mod submitter;
mod target;
mod text;
mod told;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime;

use crate::config::{self, Variables};
use connection::Session;
use error::Error;
use output::{Format, Output};

/// A gRPC task service that tells you every transition instead of being asked.
#[derive(Debug, Parser)]
#[command(name = "tidings", version, about, after_help = AFTER_HELP)]
struct Cli {
    /// Where client commands find the server [env: TIDINGS_ENDPOINT] [default: http://127.0.0.1:50051]
    #[arg(long, global = true, value_name = "URL")]
    endpoint: Option<String>,
    /// What stdout holds: text for people, json for one object a line
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 a task failed, 2 wrong usage, 3 server unreachable, 4 gave up waiting.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server with its workers
    Serve(Box<config::Flags>),
    /// Show the main job by itself: simulated upstream, real prompts, live status
    Demo(demo::Args),
    /// Run a simulated OpenAI-compatible server
    SimulateUpstream(simulate::Args),
    /// Submit prompts
    Submit(submit::Args),
    /// Follow a batch or a task and print every transition
    Watch(watch::Args),
    /// Show tasks as they now are
    Status(status::Args),
    /// Cancel tasks, queued or running
    Cancel(cancel::Args),
    /// Submit failed tasks anew
    Retry(retry::Args),
    /// List tasks
    List(list::Args),
    /// Let a parked batch go on
    Resume(resume::Args),
    /// Look at the configuration
    Config(config_check::Args),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// All is well.
    Done,
    /// The command did its work, and a task it asked for has failed or was cancelled.
    TaskFailed,
    /// The command did its work, and some of the ids it was given name nothing.
    NotFound,
}

/// Runs the program that the command line names.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::from)
        .and_then(|runtime| {
            let ended = runtime.block_on(run(cli, &config::environment()));
            // Dropping it would wait for whatever blocks one of its threads.
            runtime.shutdown_background();
            ended
        });
    match ended {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::TaskFailed) => ExitCode::from(error::TASK_FAILED),
        Ok(Ending::NotFound) => ExitCode::from(error::WRONG_USAGE),
        Err(error) => {
            error.report();
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run(cli: Cli, variables: &Variables) -> Result<Ending, Error> {
    let output = Output::new(cli.output);
    if !cli.command.asks_a_server() {
        connection::refuse(cli.endpoint.as_deref())?;
    }
    // Commands that read the whole configuration say these together with its other faults.
    let unknown = config::unknown_variables(variables);
    if !cli.command.reads_the_configuration() && !unknown.is_empty() {
        return Err(unknown.into());
    }
    let endpoint = connection::endpoint(cli.endpoint, variables);
    match cli.command {
        Command::Serve(flags) => serve::run(&flags, variables, &output).await,
        Command::Demo(args) => demo::run(args, output).await,
        Command::SimulateUpstream(args) => simulate::run(args, &output).await,
        Command::Config(args) => config_check::run(&args, variables, &output),
        // Faulty lines are found before the server is asked for.
        Command::Submit(args) => submit::run(args, endpoint, output).await,
        Command::Watch(args) => watch::run(args, Session::open(endpoint).await?, output).await,
        Command::Status(args) => status::run(args, Session::open(endpoint).await?, &output).await,
        Command::Cancel(args) => cancel::run(args, Session::open(endpoint).await?, &output).await,
        Command::Retry(args) => retry::run(args, Session::open(endpoint).await?, &output).await,
        Command::List(args) => list::run(args, Session::open(endpoint).await?, &output).await,
        Command::Resume(args) => resume::run(args, Session::open(endpoint).await?, &output).await,
    }
}

impl Command {
    fn asks_a_server(&self) -> bool {
        !self.reads_the_configuration()
            && !matches!(self, Command::Demo(_) | Command::SimulateUpstream(_))
    }

    fn reads_the_configuration(&self) -> bool {
        matches!(self, Command::Serve(_) | Command::Config(_))
    }
}
