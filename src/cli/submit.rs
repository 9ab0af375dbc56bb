//! `tidings submit`: prompts of a file or of stdin as one batch, in as many calls as they need.

use std::{
    io::{self, Read as _},
    path::PathBuf,
    time::Duration,
};

use clap::ValueEnum;
use serde_json::json;

use super::{
    Ending,
    connection::Session,
    error::Error,
    output::Output,
    prompt::{self, Prompt},
    submitter::{Submitted, Submitter, fresh_key},
    text, watch,
};
use crate::{
    clock::{Clock as _, SystemClock},
    proto::v1,
};

/// Arguments of `tidings submit`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File of prompts, `-` for stdin: lines of {"prompt": …}, OpenAI Batch lines, or plain text
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Take this member of each JSON line as the prompt and ignore the others
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    /// Model of tasks that name none
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Which waiting task starts first
    #[arg(long, value_enum)]
    priority: Option<PriorityWord>,
    /// How long one upstream call may take
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Tasks that have not ended by then fail
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    deadline_in: Option<Duration>,
    /// Label of every task; may be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// How many upstream failures a task survives, counting the last
    #[arg(long, value_name = "COUNT")]
    max_attempts: Option<u32>,
    /// Check answers by the JSON schema of their requests, and make so many further calls for one that fits
    #[arg(long, value_name = "COUNT")]
    validation_retries: Option<u32>,
    /// Have answers streamed, so that `tidings watch --deltas` tells their text as it comes
    #[arg(long)]
    stream_output: bool,
    /// What the batch may spend at most, in the currency of the server's prices; then it is parked
    #[arg(long, value_name = "AMOUNT", value_parser = text::nanos)]
    budget: Option<u64>,
    /// Makes it safe to run this command again with the same input for 24 h
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Follow the batch to its end
    #[arg(long)]
    watch: bool,
    /// With --watch: print results too
    #[arg(long, requires = "watch")]
    results: bool,
    /// With --watch: give up after this long; the work itself goes on
    #[arg(long, requires = "watch", value_name = "DURATION", value_parser = humantime::parse_duration)]
    watch_timeout: Option<Duration>,
}

/// A priority as it is written on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PriorityWord {
    Low,
    Normal,
    High,
}

pub(super) async fn run(args: Args, endpoint: String, output: Output) -> Result<Ending, Error> {
    let prompts = read(&args)?;
    let defaults = defaults(&args)?;
    let key = args.idempotency_key.clone().unwrap_or_else(fresh_key);
    let session = Session::open(endpoint).await?;
    let submitter = Submitter {
        session: session.clone(),
        output: output.clone(),
    };
    let submitted = submitter.all(prompts, &defaults, &key, args.budget).await?;
    tell(&submitted, &output, args.watch)?;
    if !args.watch {
        return Ok(Ending::Done);
    }
    let options = watch::Options {
        timeout: args.watch_timeout,
        results: args.results,
    };
    watch::batch(&submitted.batch_id, &options, session, output).await
}

fn tell(submitted: &Submitted, output: &Output, watched: bool) -> Result<(), Error> {
    output.either(
        || submitted.batch_id.clone(),
        || {
            json!({
                "batch_id": submitted.batch_id,
                "task_ids": submitted.task_ids,
                "durability": submitted.durability.level().as_str_name(),
            })
        },
    )?;
    let tasks = text::tasks(submitted.task_ids.len() as u64);
    match (output.is_json(), watched) {
        (true, _) => {}
        (false, true) => output.note(&format!("{tasks} submitted")),
        (false, false) => output.note(&format!(
            "{tasks} submitted; follow with `tidings watch {}`",
            submitted.batch_id
        )),
    }
    Ok(())
}

fn read(args: &Args) -> Result<Vec<Prompt>, Error> {
    let stdin = args.file.as_os_str() == "-";
    let name = if stdin {
        "standard input".to_owned()
    } else {
        args.file.display().to_string()
    };
    let input = if stdin {
        let mut input = Vec::new();
        io::stdin().lock().read_to_end(&mut input)?;
        input
    } else {
        std::fs::read(&args.file)
            .map_err(|error| Error::Usage(format!("cannot read {name}: {error}")))?
    };
    let prompts = prompt::read(&input, args.field.as_deref())
        .map_err(|faults| Error::Usage(format!("{name} cannot be submitted:\n  {faults}")))?;
    if prompts.is_empty() {
        return Err(Error::Usage(format!("{name} holds no prompts")));
    }
    Ok(prompts)
}

fn defaults(args: &Args) -> Result<v1::TaskOptions, Error> {
    let too_long = |flag: &str| Error::Usage(format!("{flag} is too long"));
    let timeout = args
        .timeout
        .map(|timeout| prompt::stretch(timeout).ok_or_else(|| too_long("--timeout")));
    let deadline = args.deadline_in.map(|ahead| {
        let millis = (SystemClock.now() + ahead).0;
        prost_types::Timestamp {
            seconds: millis / 1_000,
            nanos: i32::try_from(millis % 1_000).unwrap_or(0) * 1_000_000,
        }
    });
    let priority = args
        .priority
        .map_or(v1::Priority::Unspecified, |word| match word {
            PriorityWord::Low => v1::Priority::Low,
            PriorityWord::Normal => v1::Priority::Normal,
            PriorityWord::High => v1::Priority::High,
        });
    Ok(v1::TaskOptions {
        model: args.model.clone().unwrap_or_default(),
        priority: priority.into(),
        timeout: timeout.transpose()?,
        deadline,
        max_attempts: args.max_attempts.unwrap_or_default(),
        validation_retries: args.validation_retries,
        labels: args.label.iter().cloned().collect(),
        stream_output: args.stream_output.then_some(true),
        ..v1::TaskOptions::default()
    })
}

/// Reads `KEY=VALUE`.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}
