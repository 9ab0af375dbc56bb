//! From a partition to the link that serves it: the only one, or, in a cluster, that of the node that has its slot.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use redis::Value;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::{
    cluster::Cluster,
    dial::Common,
    error,
    link::{Call, Link, Order},
    reply,
    script::Script,
    sentinel::Sentinels,
};
use crate::store::Error;

/// How long a call waits for a partition that moves from one node to another, before it is the caller's turn.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between attempts meanwhile.
const PAUSE: Duration = Duration::from_millis(25);

/// Sends calls where they belong.
#[derive(Debug)]
pub(super) struct Router {
    pub(super) common: Arc<Common>,
    routes: Routes,
}

#[derive(Debug)]
enum Routes {
    /// All partitions live behind one link.
    One(
        Arc<Link>,
        Option<Arc<Sentinels>>,
        #[expect(dead_code, reason = "runs as long as it is held")] Vec<AbortOnDropHandle<()>>,
    ),
    /// Each partition lives where the cluster has its slot.
    Many(
        Arc<Cluster>,
        #[expect(dead_code, reason = "runs as long as it is held")] AbortOnDropHandle<()>,
    ),
}

/// How much a run of calls may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Haste {
    /// A partition that is on its way is waited for.
    Patient,
    /// The others must not wait for it.
    Once,
    /// Any server in good health answers at once.
    Probe,
    /// One call, answered once replicas or disks have it, as a pair with the answer of the wait.
    Durable,
}

/// A link, and the partitions that live behind it.
pub(super) type Behind = (Arc<Link>, Arc<[u16]>);

impl Router {
    /// All partitions behind one link, to the primary that the sentinels know if there are any.
    pub(super) fn one(
        common: Arc<Common>,
        link: Arc<Link>,
        sentinels: Option<Arc<Sentinels>>,
        loops: Vec<AbortOnDropHandle<()>>,
    ) -> Self {
        let routes = Routes::One(link, sentinels, loops);
        Router { common, routes }
    }

    /// Partitions spread over a cluster.
    pub(super) fn many(
        common: Arc<Common>,
        cluster: Arc<Cluster>,
        keep: AbortOnDropHandle<()>,
    ) -> Self {
        let routes = Routes::Many(cluster, keep);
        Router { common, routes }
    }

    /// Runs calls, those for different servers at the same time. Each has its own answer, in order.
    pub(super) async fn run(&self, calls: &[Call]) -> Vec<Result<Value, Error>> {
        self.run_all(calls, Haste::Patient).await
    }

    /// Like [`Router::run`], but does not wait for partitions that are on their way.
    pub(super) async fn run_once(&self, calls: &[Call]) -> Vec<Result<Value, Error>> {
        self.run_all(calls, Haste::Once).await
    }

    /// Like [`Router::run`] for calls that any server in good health answers at once.
    pub(super) async fn probe(&self, calls: &[Call]) -> Vec<Result<Value, Error>> {
        self.run_all(calls, Haste::Probe).await
    }

    /// Runs calls of which all must work.
    ///
    /// # Errors
    /// The first one.
    pub(super) async fn run_each(&self, calls: &[Call]) -> Result<Vec<Value>, Error> {
        self.run(calls).await.into_iter().collect()
    }

    /// Runs calls of which some may fail: answers those that worked, with the calls' places. Does not wait for
    /// partitions that are on their way.
    ///
    /// # Errors
    /// The first one when all fail.
    pub(super) async fn run_some(&self, calls: &[Call]) -> Result<Vec<(usize, Value)>, Error> {
        let mut failed = None;
        let mut worked = Vec::with_capacity(calls.len());
        for (index, answer) in self.run_once(calls).await.into_iter().enumerate() {
            match answer {
                Ok(value) => worked.push((index, value)),
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        match failed {
            Some(error) if worked.is_empty() => Err(error),
            _ => Ok(worked),
        }
    }

    /// Runs one call that is to reach replicas or disks before it is answered: its answer, and that of the wait.
    ///
    /// # Errors
    /// No answer came, or it was an error.
    pub(super) async fn run_durably(&self, call: Call) -> Result<(Value, Value), Error> {
        let calls = std::slice::from_ref(&call);
        let mut answers = self.run_all(calls, Haste::Durable).await;
        let answer = answers
            .pop()
            .unwrap_or_else(|| Err(reply::odd("a script")))?;
        match answer {
            Value::Array(pair) => <[Value; 2]>::try_from(pair).ok(),
            _ => None,
        }
        .map(|[answer, wait]| (answer, wait))
        .ok_or_else(|| reply::odd("a script"))
    }

    /// Runs one script.
    ///
    /// # Errors
    /// No answer came, or it was an error.
    pub(super) async fn run_one(
        &self,
        script: Script,
        partition: u16,
        args: Vec<Vec<u8>>,
    ) -> Result<Value, Error> {
        let call = Call {
            order: Order::Run(script),
            partition,
            args,
        };
        let mut answers = self.run(std::slice::from_ref(&call)).await;
        answers.pop().unwrap_or_else(|| Err(reply::odd("a script")))
    }

    /// Gives up the connection to the server of a partition that holds what it should not: nothing is sent there until
    /// a new one finds it as it should be.
    pub(super) fn distrust(&self, partition: u16) {
        let (_, links) = self.arrangement();
        let link = links.iter().find(|(_, all)| all.contains(&partition));
        if let Some((link, _)) = link {
            link.reconnect("the data there was made by something else");
        }
    }

    /// Answers what `read` does, having made sure of it when it `is_nothing`: a primary that has been replaced does not
    /// know what the next one was given, until it hears of it.
    ///
    /// # Errors
    /// Those of `read`, and [`Error::Unavailable`] when another server may know more.
    pub(super) async fn read_surely<T>(
        &self,
        read: impl Future<Output = Result<T, Error>>,
        is_nothing: impl FnOnce(&Result<T, Error>) -> bool,
    ) -> Result<T, Error> {
        let Routes::One(link, Some(sentinels), _) = &self.routes else {
            return read.await;
        };
        let made = link.made();
        let found = read.await;
        if is_nothing(&found) && !(sentinels.confirm().await && link.is_still(&made)) {
            let cause = "the sentinels do not confirm that this is still the primary";
            return Err(Error::Unavailable(cause.into()));
        }
        found
    }

    /// Every link with what lives behind it, and the number of this arrangement.
    pub(super) fn arrangement(&self) -> (u64, Vec<Behind>) {
        match &self.routes {
            Routes::One(link, ..) => {
                let all: Arc<[u16]> = (0..self.common.partitions).collect();
                (0, vec![(link.clone(), all)])
            }
            Routes::Many(cluster, _) => cluster.arrangement(),
        }
    }

    /// Waits until the arrangement is another than that of this number.
    pub(super) async fn rearranged(&self, number: u64) {
        match &self.routes {
            Routes::One(..) => std::future::pending().await,
            Routes::Many(cluster, _) => cluster.rearranged(number).await,
        }
    }

    async fn run_all(&self, calls: &[Call], haste: Haste) -> Vec<Result<Value, Error>> {
        match &self.routes {
            _ if calls.is_empty() => Vec::new(),
            Routes::One(link, ..) => {
                let calls: Vec<&Call> = calls.iter().collect();
                settle(send(link, &calls, haste).await, calls.len())
            }
            Routes::Many(cluster, _) => scatter(cluster, calls, haste).await,
        }
    }
}

async fn send(link: &Arc<Link>, calls: &[&Call], haste: Haste) -> Result<Vec<Value>, Error> {
    match (haste, calls) {
        (Haste::Durable, [call]) => {
            let pair = link.run_durably(call).await?;
            Ok(vec![match &pair[..] {
                // As it is, so that whoever looks for errors sees it.
                [failed @ Value::ServerError(_), ..] => failed.clone(),
                _ => Value::Array(pair),
            }])
        }
        (Haste::Probe, _) => link.probe(calls).await,
        _ => link.run(calls).await,
    }
}

/// One answer for each call of a link.
fn settle(sent: Result<Vec<Value>, Error>, calls: usize) -> Vec<Result<Value, Error>> {
    match sent {
        Ok(values) => {
            let mut answers: Vec<_> = values.into_iter().map(error::answered).collect();
            answers.resize_with(calls, || Err(reply::odd("a call")));
            answers
        }
        Err(Error::Unavailable(cause)) => {
            let away = || Err(Error::Unavailable(cause.clone()));
            std::iter::repeat_with(away).take(calls).collect()
        }
        Err(other) => {
            let mut answers = vec![Err(other)];
            answers.resize_with(calls, || Err(reply::odd("a call")));
            answers
        }
    }
}

/// Runs calls on the nodes of a cluster; those whose partition has just moved are run again where it went.
async fn scatter(cluster: &Cluster, calls: &[Call], haste: Haste) -> Vec<Result<Value, Error>> {
    let mut answers: Vec<Option<Result<Value, Error>>> = calls.iter().map(|_| None).collect();
    let until = Instant::now() + PATIENCE;
    loop {
        let open: Vec<usize> = (0..calls.len()).filter(|i| answers[*i].is_none()).collect();
        let is_patient = matches!(haste, Haste::Patient | Haste::Durable);
        let is_last = !is_patient || Instant::now() >= until;
        let mut moved = false;
        for (index, answer) in attempt(cluster, calls, &open, haste).await {
            let (answer, astray) = match answer {
                Attempt::Answered(value) => (error::answered(value), false),
                Attempt::Astray(error) => (Err(error), true),
                Attempt::Failed(error) => {
                    moved = true;
                    (Err(error), false)
                }
            };
            moved |= astray;
            if is_last || !astray {
                answers[index] = Some(answer);
            }
        }
        if moved {
            cluster.look_again();
        }
        if is_last || answers.iter().all(Option::is_some) {
            let late = || Err(reply::odd("a call"));
            return answers
                .into_iter()
                .map(|it| it.unwrap_or_else(late))
                .collect();
        }
        sleep(PAUSE).await;
    }
}

/// What came of one call.
enum Attempt {
    Answered(Value),
    /// Nobody serves its partition now, or not where it was asked.
    Astray(Error),
    Failed(Error),
}

/// Sends the calls with these indexes once.
async fn attempt(
    cluster: &Cluster,
    calls: &[Call],
    open: &[usize],
    haste: Haste,
) -> Vec<(usize, Attempt)> {
    let sent = cluster
        .by_link(calls, open)
        .into_iter()
        .map(|(link, members)| async move {
            let asked: Vec<&Call> = members.iter().map(|index| &calls[*index]).collect();
            let nobody = || {
                Attempt::Astray(Error::Unavailable(
                    "no node serves the partition now".into(),
                ))
            };
            let answers: Vec<Attempt> = match link {
                None => members.iter().map(|_| nobody()).collect(),
                Some(link) => match send(&link, &asked, haste).await {
                    Ok(values) => values.into_iter().map(Attempt::of).collect(),
                    failed => {
                        let failures = settle(failed, members.len()).into_iter();
                        failures
                            .filter_map(Result::err)
                            .map(Attempt::Failed)
                            .collect()
                    }
                },
            };
            members.into_iter().zip(answers)
        });
    join_all(sent).await.into_iter().flatten().collect()
}

impl Attempt {
    fn of(value: Value) -> Self {
        if !error::is_astray(&value) {
            return Attempt::Answered(value);
        }
        match error::answered(value) {
            Err(error) => Attempt::Astray(error),
            Ok(value) => Attempt::Answered(value),
        }
    }
}
