//! `tidings simulate-upstream`: the simulated OpenAI-compatible server by itself, until a signal.

use std::{fs::File, net::SocketAddr, path::PathBuf, str::FromStr as _};

use secrecy::SecretString;

use super::{Ending, error::Error, logging, output::Output, signal};
use crate::{
    config::{LogConfig, LogFormat},
    simulator::{Config, Fault, Faults, Latency, Limits, LogWriter, Simulator},
};

/// Arguments of `tidings simulate-upstream`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8089")]
    listen: SocketAddr,
    /// How long answers take: 20ms, 10ms..200ms, or lognormal:2s,0.6
    #[arg(long, value_name = "LATENCY", default_value = "20ms")]
    latency: Latency,
    /// The same seed gives the same latencies and faults
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    /// Requests let through a minute
    #[arg(long, value_name = "COUNT")]
    requests_per_minute: Option<u64>,
    /// Tokens let through a minute
    #[arg(long, value_name = "COUNT")]
    tokens_per_minute: Option<u64>,
    /// A fault and how likely it is, for example 500=0.05 or reset=0.01; may be given more than once
    #[arg(long, value_name = "FAULT=RATE", value_parser = fault)]
    fault: Vec<(Fault, f64)>,
    /// Only this many calls with the same prompt may fail
    #[arg(long, value_name = "COUNT", requires = "fault")]
    fault_attempts: Option<u32>,
    /// A model it knows; may be given more than once; without any it takes every model
    #[arg(long, value_name = "NAME")]
    model: Vec<String>,
    /// File that holds the bearer key which calls must carry
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// File to which every call is appended as one line of JSON
    #[arg(long, value_name = "FILE")]
    call_log: Option<PathBuf>,
}

pub(super) async fn run(args: Args, output: &Output) -> Result<Ending, Error> {
    logging::install(&LogConfig {
        filter: "warn".to_owned(),
        format: LogFormat::Pretty,
    });
    let stop = signal::stop_token()?;
    let running = Simulator::start(config(&args)?, args.listen).await?;
    let base_url = running.base_url();
    output.either(
        || format!("tidings simulates an upstream on {base_url}"),
        || serde_json::json!({"base_url": base_url}),
    )?;
    stop.cancelled().await;
    running.shutdown().await;
    Ok(Ending::Done)
}

fn config(args: &Args) -> Result<Config, Error> {
    let log = args.call_log.as_ref().map(|path| {
        let file = File::options().create(true).append(true).open(path);
        file.map(LogWriter::new)
            .map_err(|error| cannot("open", path, &error))
    });
    let api_key = args.api_key_file.as_ref().map(|path| {
        let text = std::fs::read_to_string(path).map_err(|error| cannot("read", path, &error))?;
        Ok::<_, Error>(SecretString::from(
            text.trim_end_matches(['\r', '\n']).to_owned(),
        ))
    });
    Ok(Config {
        latency: args.latency,
        seed: args.seed,
        limits: Limits {
            requests_per_minute: args.requests_per_minute,
            tokens_per_minute: args.tokens_per_minute,
            ..Limits::default()
        },
        faults: Faults {
            rates: args.fault.clone(),
            first_attempts: args.fault_attempts,
            ..Faults::default()
        },
        api_key: api_key.transpose()?,
        models: args.model.clone(),
        // Nobody reads them here; the log file tells.
        keep_calls: 0,
        log: log.transpose()?,
    })
}

fn cannot(what: &str, path: &std::path::Path, error: &std::io::Error) -> Error {
    Error::Usage(format!("cannot {what} {}: {error}", path.display()))
}

/// Reads `FAULT=RATE`.
fn fault(text: &str) -> Result<(Fault, f64), String> {
    let (name, rate) = text
        .split_once('=')
        .ok_or("write FAULT=RATE, for example 500=0.05")?;
    let fault = Fault::from_str(name).map_err(|error| error.to_string())?;
    let rate = rate
        .parse()
        .map_err(|_| "the rate is a number from 0 to 1".to_owned())?;
    Ok((fault, rate))
}
