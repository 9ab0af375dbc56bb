//! `tidings demo`: the main job on a fresh machine, by itself: a simulated upstream that sometimes fails, a server with
//! an embedded store, and a client that submits real prompts and is told every transition.

mod stage;
mod tally;

use std::path::PathBuf;

use tokio::time::Instant;

use super::{
    Ending,
    connection::Session,
    error::Error,
    follow::Follow,
    logging,
    output::Output,
    prompt::{self, Prompt},
    signal,
    submitter::{Submitter, fresh_key},
    target::Target,
};
use crate::{
    config::{LogConfig, LogFormat},
    proto::v1,
};
use stage::Stage;
use tally::Tally;

/// Real questions, from the GSM8K test set (MIT licence).
const QUESTIONS: &str = include_str!("../../../examples/data/gsm8k-test.jsonl");
/// How many of them are asked: enough to see the faults healed, few enough to end in seconds.
const ASKED: usize = 200;
/// The member that holds the question.
const FIELD: &str = "question";

/// Arguments of `tidings demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File of prompts, as `tidings submit` takes them, or with a member `question` [default: 200 GSM8K questions]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) async fn run(args: Args, output: Output) -> Result<Ending, Error> {
    let prompts = prompts(&args)?;
    logging::install(&LogConfig {
        filter: "error".to_owned(),
        format: LogFormat::Pretty,
    });
    let stop = signal::stop_token()?;
    let stage = Stage::set().await?;
    output.note(&stage.describe());
    let played = tokio::select! {
        played = play(prompts, &stage, output.with_bar()) => played,
        () = stop.cancelled() => Err(Error::Interrupted),
    };
    stage.strike().await?;
    played
}

/// What any client does: submit, then be told.
async fn play(prompts: Vec<Prompt>, stage: &Stage, output: Output) -> Result<Ending, Error> {
    let session = Session::open(stage.endpoint()).await?;
    let start = Instant::now();
    let submitter = Submitter {
        session: session.clone(),
        output: output.clone(),
    };
    let submitted = submitter
        .all(prompts, &v1::TaskOptions::default(), &fresh_key(), None)
        .await?;
    output.note(&format!(
        "submitted {} prompts as batch {}; watching every transition",
        submitted.task_ids.len(),
        submitted.batch_id
    ));
    let follow = Follow {
        session,
        output: output.clone(),
        results: true,
        deadline: None,
    };
    let mut tally = Tally::new(output.clone());
    let outcome = follow
        .run(Target::batch(&submitted.batch_id), &mut |event| {
            tally.hear(event)
        })
        .await;
    output.finish();
    outcome?;
    let summary = tally.summary(start.elapsed(), stage.injected());
    output.either(|| summary.text(), || summary.json())?;
    Ok(summary.ending())
}

fn prompts(args: &Args) -> Result<Vec<Prompt>, Error> {
    let faulty = |name: &str, faults: prompt::FaultyLines| {
        Error::Usage(format!("{name} cannot be submitted:\n  {faults}"))
    };
    let Some(path) = &args.file else {
        let questions = prompt::read(QUESTIONS.as_bytes(), Some(FIELD));
        let mut questions = questions.map_err(|faults| faulty("the bundled file", faults))?;
        questions.truncate(ASKED);
        return Ok(questions);
    };
    let name = path.display().to_string();
    let input = std::fs::read(path)
        .map_err(|error| Error::Usage(format!("cannot read {name}: {error}")))?;
    // The faults of the usual reading are told: a data set without faults is none.
    let prompts = prompt::read(&input, None)
        .or_else(|faults| prompt::read(&input, Some(FIELD)).map_err(|_| faulty(&name, faults)))?;
    if prompts.is_empty() {
        return Err(Error::Usage(format!("{name} holds no prompts")));
    }
    Ok(prompts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_questions_are_asked_as_they_are() {
        let asked = prompts(&Args { file: None }).unwrap();
        assert_eq!(asked.len(), ASKED);
        let Some(v1::task_spec::Work::Prompt(first)) = &asked[0].spec.work else {
            panic!("not a prompt");
        };
        assert!(first.starts_with("Janet\u{2019}s ducks lay 16 eggs per day."));
    }
}
