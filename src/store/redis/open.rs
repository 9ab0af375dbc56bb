//! Connecting for the first time.

use std::{sync::Arc, time::Duration};

use redis::ConnectionInfo;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::{
    cluster::Cluster,
    dial::{Common, Dialer, Target},
    link::Link,
    router::Router,
    server::ConnectError,
};
use crate::store::Durability;

/// How long a start waits for a cluster that has just been formed, or for servers that are failing over.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);
/// Between looks at them meanwhile.
const SETTLING_PAUSE: Duration = Duration::from_millis(100);

/// All partitions behind one link.
pub(super) async fn single(
    common: Arc<Common>,
    target: Target,
) -> Result<(Router, Durability), ConnectError> {
    let all: Arc<[u16]> = (0..common.partitions).collect();
    let dialer = Dialer::new(target.clone(), common.clone());
    let link = Arc::new(Link::new(dialer, all));
    // The first time, what is wrong is the caller's to know.
    let connected = match target {
        Target::Fixed(_) => link.connect().await,
        Target::Sentinels(_) => patiently(|| connect(link.clone())).await,
    };
    let durability = connected.map_err(|error| at(link.dialer(), error))?;
    let mut loops = vec![tokio::spawn(link.clone().keep())];
    let sentinels = match target {
        Target::Fixed(_) => None,
        Target::Sentinels(sentinels) => Some(sentinels),
    };
    if let Some(sentinels) = sentinels.clone() {
        loops.push(tokio::spawn(sentinels.watch(link.clone())));
    }
    let loops = loops.into_iter().map(AbortOnDropHandle::new).collect();
    Ok((Router::one(common, link, sentinels, loops), durability))
}

/// Partitions spread over a cluster.
pub(super) async fn many(
    common: Arc<Common>,
    seeds: Vec<ConnectionInfo>,
) -> Result<(Router, Durability), ConnectError> {
    let cluster = Arc::new(Cluster::new(seeds, common.clone()));
    let durability = patiently(|| begin(cluster.clone())).await?;
    let keep = AbortOnDropHandle::new(tokio::spawn(cluster.clone().keep()));
    Ok((Router::many(common, cluster, keep), durability))
}

async fn connect(link: Arc<Link>) -> Result<Durability, ConnectError> {
    link.connect().await
}

async fn begin(cluster: Arc<Cluster>) -> Result<Durability, ConnectError> {
    cluster.begin().await
}

/// Tries again for a while: servers that stand in for each other may be about to.
async fn patiently<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, ConnectError>
where
    F: Future<Output = Result<T, ConnectError>>,
{
    let until = Instant::now() + SETTLED_WITHIN;
    loop {
        match attempt().await {
            Err(ConnectError::Store(_) | ConnectError::Replica) if Instant::now() < until => {
                sleep(SETTLING_PAUSE).await;
            }
            other => return other,
        }
    }
}

/// Said here alone: later on everybody knows which server is meant.
fn at(dialer: &Dialer, error: ConnectError) -> ConnectError {
    match error {
        ConnectError::Store(source) => ConnectError::At {
            address: dialer.to_string(),
            source,
        },
        other => other,
    }
}
