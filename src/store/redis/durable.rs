//! Submits that are answered once replicas, or disks, have them.
//!
//! `WAIT` and `WAITAOF` speak of what their own connection wrote, and block it. So these calls have a connection of
//! their own, and those that come while one group waits go out together as the next, with one wait for them all.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::{Pipeline, Value};
use tokio::sync::{Mutex as AsyncMutex, oneshot};

use super::{link::Call, reply};
use crate::store::{Durability, Error};

/// Calls that share one wait.
const GROUP: usize = 64;

/// What a submit waits for before it is answered, and how long at most. What was reached is told, not demanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// So many replicas have it.
    pub replicas: u32,
    /// It is on the disk of the primary, and of the replicas that are waited for; Redis 7.2 and newer.
    pub fsync: bool,
    /// At most this long.
    pub timeout: Duration,
}

impl Wait {
    /// The command that waits.
    pub(super) fn add(self, pipeline: &mut Pipeline) {
        let timeout = self.timeout.as_millis().max(1) as u64;
        if self.fsync {
            pipeline.cmd("WAITAOF").arg(1);
        } else {
            pipeline.cmd("WAIT");
        }
        pipeline.arg(self.replicas).arg(timeout);
    }

    /// What an answer to it means for what is as durable as `least` anyway.
    ///
    /// # Errors
    /// The answer is an error or makes no sense.
    pub(super) fn reached(self, answer: &Value, least: Durability) -> Result<Durability, Error> {
        let odd = || reply::odd("how many replicas have a submit");
        let number = |value| u32::try_from(reply::count(value)?).ok();
        let reached = match reply::array(answer) {
            Some([local, replicas]) => {
                match (
                    number(local).ok_or_else(odd)?,
                    number(replicas).ok_or_else(odd)?,
                ) {
                    (0, _) => least,
                    (_, 0) => Durability::Fsync,
                    (_, replicas) => Durability::FsyncReplicated(replicas),
                }
            }
            _ => match number(answer).ok_or_else(odd)? {
                0 => least,
                replicas => Durability::Replicated(replicas),
            },
        };
        Ok(reached.max(least))
    }
}

type Answered = oneshot::Sender<Result<Vec<Value>, Error>>;

/// Calls on their way into a group.
#[derive(Debug, Default)]
pub(super) struct Groups {
    waiting: Mutex<Vec<(Call, Answered)>>,
    turn: Arc<AsyncMutex<()>>,
}

impl Groups {
    /// Runs a call with those that wait for the same turn. `send` runs a group and gives every call's answer, followed
    /// by that of the wait.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no answer came.
    pub(super) async fn run<F>(
        &self,
        call: &Call,
        send: impl FnOnce(Vec<Call>) -> F,
    ) -> Result<Vec<Value>, Error>
    where
        F: Future<Output = Result<Vec<Value>, Error>> + Send + 'static,
    {
        let (done, answer) = oneshot::channel();
        self.waiting.lock().push((call.clone(), done));
        let turn = self.turn.clone().lock_owned().await;
        let group: Vec<(Call, Answered)> = {
            let mut waiting = self.waiting.lock();
            let size = waiting.len().min(GROUP);
            waiting.drain(..size).collect()
        };
        if !group.is_empty() {
            let (calls, answers): (Vec<Call>, Vec<Answered>) = group.into_iter().unzip();
            let sent = send(calls);
            // Of its own: whoever leads a group may go before it is answered, and the others must not suffer for it.
            tokio::spawn(async move {
                let _turn = turn;
                deliver(sent.await, answers);
            });
        }
        let gone = |_| Error::Unavailable("the connection was given up".into());
        answer.await.map_err(gone)?
    }
}

/// Gives each its answer and that of the wait.
fn deliver(sent: Result<Vec<Value>, Error>, answers: Vec<Answered>) {
    match sent {
        Ok(mut values) => {
            let wait = values.pop().unwrap_or(Value::Nil);
            for (value, done) in values.into_iter().zip(answers) {
                // Whoever has gone does not listen.
                let _ = done.send(Ok(vec![value, wait.clone()]));
            }
        }
        Err(error) => {
            let cause = match error {
                Error::Unavailable(cause) => cause,
                other => other.to_string(),
            };
            for done in answers {
                let _ = done.send(Err(Error::Unavailable(cause.clone())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Durability = Durability::FsyncEverySecond;

    fn wait(fsync: bool) -> Wait {
        Wait {
            replicas: 2,
            fsync,
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn what_was_reached_is_told_and_never_less_than_what_is_kept_anyway() {
        let reached = |answer| wait(false).reached(&Value::Int(answer), LEAST).unwrap();
        assert_eq!(reached(0), LEAST);
        assert_eq!(reached(1), Durability::Replicated(1));
        assert_eq!(
            wait(false)
                .reached(&Value::Int(2), Durability::Fsync)
                .unwrap(),
            Durability::Fsync
        );
        let disks = |local, replicas| {
            let answer = Value::Array(vec![Value::Int(local), Value::Int(replicas)]);
            wait(true).reached(&answer, LEAST).unwrap()
        };
        assert_eq!(disks(0, 0), LEAST);
        assert_eq!(disks(1, 0), Durability::Fsync);
        assert_eq!(disks(1, 2), Durability::FsyncReplicated(2));
        assert!(wait(false).reached(&Value::Nil, LEAST).is_ok());
        assert!(wait(false).reached(&Value::Okay, LEAST).is_err());
    }
}
