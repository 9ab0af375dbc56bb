//! `tidings watch`: every transition of a batch or a task as it is pushed, and a summary at the end.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Ending,
    connection::Session,
    error::Error,
    follow::Follow,
    json,
    output::Output,
    target::{Event, Target},
    text,
};
use crate::proto::v1;

/// Arguments of `tidings watch`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A batch or a task
    #[arg(value_name = "ID")]
    id: String,
    /// Give up after this long, reconnecting included; the work itself goes on
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Print results too
    #[arg(long)]
    results: bool,
    /// Of a task: print its text as it comes; streamed ones tell it while they run
    #[arg(long)]
    deltas: bool,
}

/// How a target is watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// Give up after this long.
    pub(super) timeout: Option<Duration>,
    /// Print results too.
    pub(super) results: bool,
}

pub(super) async fn run(args: Args, session: Session, output: Output) -> Result<Ending, Error> {
    let options = Options {
        timeout: args.timeout,
        results: args.results,
    };
    if args.deltas {
        return match task(&args.id, &options, true, session, output).await {
            Err(error) if error.is_not_found() => Err(Error::Usage(format!(
                "no task has the id {}; --deltas follows one task",
                args.id
            ))),
            ended => ended,
        };
    }
    let batch = batch(&args.id, &options, session.clone(), output.clone()).await;
    match batch {
        Err(error) if error.is_not_found() => {}
        ended => return ended,
    }
    // Ids of batches and tasks look alike.
    match task(&args.id, &options, false, session, output).await {
        Err(error) if error.is_not_found() => Err(Error::Usage(format!(
            "no batch and no task has the id {}",
            args.id
        ))),
        ended => ended,
    }
}

/// Follows a batch to its end.
pub(super) async fn batch(
    id: &str,
    options: &Options,
    session: Session,
    output: Output,
) -> Result<Ending, Error> {
    let output = output.with_bar();
    let mut last = v1::BatchProgress::default();
    let mut was_parked = false;
    let follow = follow(session.clone(), &output, options);
    let outcome = follow
        .run(Target::batch(id), &mut |event| {
            if let Event::Progress(progress) = &event {
                last = progress.clone();
                output.progress(progress);
                let parked = progress.parked.as_ref().filter(|_| !was_parked);
                if let Some(parked) = parked {
                    output.note(&text::parked(id, parked));
                }
                was_parked = progress.parked.is_some();
            }
            show(&event, &output, options.results)
        })
        .await;
    output.finish();
    outcome?;
    if !last.done {
        last = counters(id, session).await?;
    }
    output.either(
        || text::summary(&last),
        || serde_json::json!({"summary": json::progress(&last)}),
    )?;
    Ok(match last.error + last.cancelled {
        0 => Ending::Done,
        _ => Ending::TaskFailed,
    })
}

/// Follows a task to its end.
async fn task(
    id: &str,
    options: &Options,
    deltas: bool,
    session: Session,
    output: Output,
) -> Result<Ending, Error> {
    let mut last = v1::TaskStatus::Unspecified;
    let target = if deltas {
        Target::task(id).with_output()
    } else {
        Target::task(id)
    };
    follow(session, &output, options)
        .run(target, &mut |event| {
            if let Event::Task(task) = &event {
                last = task.status();
            }
            show(&event, &output, options.results)
        })
        .await?;
    Ok(match last {
        v1::TaskStatus::Completed => Ending::Done,
        _ => Ending::TaskFailed,
    })
}

fn follow(session: Session, output: &Output, options: &Options) -> Follow {
    Follow {
        session,
        output: output.clone(),
        results: options.results,
        deadline: options.timeout.map(|timeout| Instant::now() + timeout),
    }
}

/// The counters as they now are, for a stream that ended without its last ones.
async fn counters(id: &str, mut session: Session) -> Result<v1::BatchProgress, Error> {
    let request = v1::GetBatchRequest {
        batch_id: id.to_owned(),
    };
    let outcome = session.client.get_batch(request).await;
    let reply = session.check("read the batch", outcome)?;
    Ok(reply
        .batch
        .and_then(|batch| batch.progress)
        .unwrap_or_default())
}

/// One line an event. Counters move the bar; only scripts get them as lines.
fn show(event: &Event, output: &Output, results: bool) -> Result<(), Error> {
    match event {
        Event::Task(task) if output.is_json() => {
            let mut value = json::task(task);
            if let (false, Some(members)) = (results, value.as_object_mut()) {
                members.remove("result");
            }
            output.line(&serde_json::json!({"task": value}).to_string())
        }
        Event::Task(task) => {
            output.line(&text::task(task))?;
            match &task.result {
                Some(result) if results => output.line(&text::printable(&result.text)),
                _ => Ok(()),
            }
        }
        Event::Delta(delta) if output.is_json() => {
            output.line(&serde_json::json!({"delta": json::delta(delta)}).to_string())
        }
        Event::Delta(delta) => output.piece(&text::printable(&delta.text)),
        Event::Notice(notice) => output.either(
            || text::notice(notice),
            || serde_json::json!({"notice": json::notice(notice)}),
        ),
        Event::Progress(progress) if output.is_json() => {
            output.line(&serde_json::json!({"progress": json::progress(progress)}).to_string())
        }
        Event::Reset if output.is_json() => {
            output.line(&serde_json::json!({"reset": true}).to_string())
        }
        Event::Reset => {
            output.note(
                "the store lost writes in a failover: what was told before may be undone, what follows is the truth",
            );
            Ok(())
        }
        Event::Progress(_) | Event::Alive => Ok(()),
    }
}
