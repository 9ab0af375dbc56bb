//! Follows a target to its end through broken streams: every transition once, in order.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::Status;

use super::{
    connection::Session,
    error::{Error, message},
    output::Output,
    pause::{Pauses, is_of_age, may_resume},
    target::{Event, Target},
};

/// How long a server may stay away before a watch without `--timeout` gives up on it.
const LONGEST_ABSENCE: Duration = Duration::from_secs(300);

/// How a target is followed.
#[derive(Clone, Debug)]
pub(super) struct Follow {
    /// The way to the server.
    pub(super) session: Session,
    /// Where lost streams are noted.
    pub(super) output: Output,
    /// Ask for results too.
    pub(super) results: bool,
    /// Give up then.
    pub(super) deadline: Option<Instant>,
}

/// Why one stream ended early.
enum Break {
    /// The stream broke.
    Lost(Status),
    /// The listener does not want more.
    Stop(Error),
}

impl Follow {
    /// Hands every event to `listener` until the target has ended.
    pub(super) async fn run(
        &self,
        mut target: Target,
        listener: &mut (dyn FnMut(Event) -> Result<(), Error> + Send),
    ) -> Result<(), Error> {
        let mut absent_since = None;
        let Some(deadline) = self.deadline else {
            return self.resume(&mut target, &mut absent_since, listener).await;
        };
        let following = self.resume(&mut target, &mut absent_since, listener);
        if let Ok(outcome) = timeout_at(deadline, following).await {
            return outcome;
        }
        match absent_since {
            Some(_) => Err(self.unreachable("it stayed away until the time to wait ran out")),
            None => Err(Error::TimedOut(format!(
                "the time to wait ran out; the work goes on, follow it again with `tidings watch {}`",
                target.id()
            ))),
        }
    }

    async fn resume(
        &self,
        target: &mut Target,
        absent_since: &mut Option<Instant>,
        listener: &mut (dyn FnMut(Event) -> Result<(), Error> + Send),
    ) -> Result<(), Error> {
        let mut pauses = Pauses::new();
        loop {
            let broken = self.stream(target, absent_since, listener).await;
            let status = match broken {
                Ok(()) => return Ok(()),
                Err(Break::Stop(error)) => return Err(error),
                Err(Break::Lost(status)) if may_resume(&status) => status,
                Err(Break::Lost(status)) => {
                    let action = format!("watch {}", target.id());
                    return Err(Error::call(action, &self.session.endpoint, status));
                }
            };
            if absent_since.is_none() {
                pauses = Pauses::new();
            }
            let since = *absent_since.get_or_insert_with(Instant::now);
            if since.elapsed() > LONGEST_ABSENCE {
                return Err(self.unreachable(&message(&status)));
            }
            let pause = pauses.after(&status);
            // A stream that has lived its time is nothing to worry anybody about.
            if !is_of_age(&status) {
                self.note(&status, pause);
            }
            sleep(pause).await;
        }
    }

    /// One stream, from where the target is. A message means that the server is back.
    async fn stream(
        &self,
        target: &mut Target,
        absent_since: &mut Option<Instant>,
        listener: &mut (dyn FnMut(Event) -> Result<(), Error> + Send),
    ) -> Result<(), Break> {
        let client = self.session.client.clone();
        let opened = target.open(client, self.results).await;
        let mut messages = opened.map_err(Break::Lost)?;
        while let Some(event) = messages.next(target).await {
            let event = event.map_err(Break::Lost)?;
            *absent_since = None;
            listener(event).map_err(Break::Stop)?;
        }
        Ok(())
    }

    fn note(&self, status: &Status, pause: Duration) {
        let pause = Duration::from_millis(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        self.output.note(&format!(
            "lost the stream ({}); going on where it broke in {}",
            message(status),
            humantime::format_duration(pause),
        ));
    }

    fn unreachable(&self, reason: &str) -> Error {
        Error::Unreachable {
            endpoint: self.session.endpoint.clone(),
            reason: reason.to_owned(),
        }
    }
}
