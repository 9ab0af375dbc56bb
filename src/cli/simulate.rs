//! `tidings simulate-upstream`: the simulated OpenAI-compatible server by itself, until a signal.

use std::{fs::File, net::SocketAddr, path::PathBuf, str::FromStr as _, time::Duration};

use secrecy::SecretString;

use super::{Ending, error::Error, logging, output::Output, signal};
use crate::{
    config::{LogConfig, LogFormat},
    simulator::{
        AnswerTokens, Config, Fault, Faults, Headers, Latency, Limits, LogWriter, QuotaChange,
        RetryAfter, Rule, Simulator, TokenCharge,
    },
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
    /// How many tokens answers have: 200, or 50..800
    #[arg(long, value_name = "TOKENS")]
    answer_tokens: Option<AnswerTokens>,
    /// The same seed gives the same latencies, lengths and faults
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    limits: LimitArgs,
    /// A fault and how likely it is, for example 500=0.05 or reset=0.01; may be given more than once
    #[arg(long, value_name = "FAULT=RATE", value_parser = fault)]
    fault: Vec<(Fault, f64)>,
    /// Only this many calls with the same prompt may fail by --fault
    #[arg(long, value_name = "COUNT", requires = "fault")]
    fault_attempts: Option<u32>,
    /// A fault of certain admitted calls, by number or time: 429:89s,every=10 or insufficient-quota,from=500 or
    /// 503,during=30s..90s; may be given more than once
    #[arg(long, value_name = "FAULT,WHEN")]
    fault_rule: Vec<Rule>,
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

/// What is let through. Each key has these limits for each model.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("limit").multiple(true))]
struct LimitArgs {
    /// Requests let through a minute
    #[arg(long, value_name = "COUNT", group = "limit")]
    requests_per_minute: Option<u64>,
    /// Tokens let through a minute
    #[arg(long, value_name = "COUNT", group = "limit")]
    tokens_per_minute: Option<u64>,
    /// Enforce the limits by buckets that hold what comes in so much time
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    burst: Duration,
    /// Enforce the limits by fixed windows of this length instead
    #[arg(long, value_name = "TIME", requires = "limit", conflicts_with = "burst", value_parser = humantime::parse_duration)]
    window: Option<Duration>,
    /// Tokens charged: sum or larger (of the prompt's and the answer's most, on admission), or actual (afterwards)
    #[arg(
        long,
        value_name = "RULE",
        requires = "tokens_per_minute",
        default_value_t
    )]
    token_charge: TokenCharge,
    /// Let refused calls use up the limits too
    #[arg(long, requires = "limit")]
    charge_refused: bool,
    /// x-ratelimit headers: openai, seconds, none, or lies: minus-one, zero, too-high
    #[arg(long, value_name = "KIND", default_value_t)]
    rate_headers: Headers,
    /// How a 429 says when to come back: both, ms, seconds, date or none
    #[arg(long, value_name = "KIND", default_value_t)]
    retry_after: RetryAfter,
    /// The limits become so many times what they are, so long after the first call: 200s=0.5; may be given more than
    /// once, in the order of time
    #[arg(long, value_name = "TIME=FACTOR", requires = "limit")]
    quota_change: Vec<QuotaChange>,
}

impl LimitArgs {
    fn limits(&self) -> Limits {
        Limits {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            burst: self.burst,
            window: self.window,
            token_charge: self.token_charge,
            charge_refused: self.charge_refused,
            headers: self.rate_headers,
            retry_after: self.retry_after,
            changes: self.quota_change.clone(),
        }
    }
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
        answer_tokens: args.answer_tokens,
        seed: args.seed,
        limits: args.limits.limits(),
        faults: Faults {
            rates: args.fault.clone(),
            rules: args.fault_rule.clone(),
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
