//! Which node of a cluster serves which partition. The map is read anew when an answer or a dead link says that it is
//! out of date, and every few seconds anyway.
//!
//! A partition is one slot. While a slot is moved key by key, no node has the whole partition, so its calls wait:
//! an `ASK` is not followed.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use futures::future::join_all;
use parking_lot::Mutex;
use redis::ConnectionInfo;
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    dial::{Common, Dialer, Target},
    keys::Keys,
    link::{CONNECT_TIMEOUT, Call, Link},
    quorum::most,
    reply,
    router::Behind,
    sentinel::at,
    server::{ConnectError, IS_NO_CLUSTER},
    view::{Ranges, View, view},
};
use crate::store::{Durability, Error};

/// How often the map is read without a reason.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The least pause between two readings of the map.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Slots of a cluster.
const SLOTS: u16 = 16_384;

/// A cluster.
pub(super) struct Cluster {
    seeds: Vec<ConnectionInfo>,
    common: Arc<Common>,
    map: watch::Sender<Map>,
    nodes: Mutex<HashMap<String, Node>>,
    stale: Notify,
}

/// A node that serves partitions, or did.
struct Node {
    info: ConnectionInfo,
    link: Arc<Link>,
    _keep: AbortOnDropHandle<()>,
}

/// Who serves what.
#[derive(Clone, Default)]
struct Map {
    number: u64,
    links: Vec<Option<Arc<Link>>>,
    /// The node of each partition, by address.
    homes: Vec<Option<String>>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("arrangement", &self.map.borrow().homes)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    pub(super) fn new(seeds: Vec<ConnectionInfo>, common: Arc<Common>) -> Self {
        let partitions = usize::from(common.partitions);
        Cluster {
            seeds,
            common,
            map: watch::Sender::new(Map {
                number: 0,
                links: vec![None; partitions],
                homes: vec![None; partitions],
            }),
            nodes: Mutex::default(),
            stale: Notify::new(),
        }
    }

    /// Reads the map and connects to every node of it. Answers the least durability of them.
    ///
    /// # Errors
    /// A slot is served by nobody, or a node will not do.
    pub(super) async fn begin(&self) -> Result<Durability, ConnectError> {
        self.look().await?;
        let map = self.map.borrow().clone();
        if map.links.iter().any(Option::is_none) {
            return Err(Error::Unavailable("the cluster does not serve every slot".into()).into());
        }
        let mut least = Durability::FsyncReplicated(u32::MAX);
        for (link, _) in self.arrangement().1 {
            least = least.min(link.connect().await?);
        }
        Ok(least)
    }

    /// Reads the map whenever it may be out of date; runs until it is dropped.
    pub(super) async fn keep(self: Arc<Self>) {
        loop {
            // Asked for meanwhile, the next reading follows at once.
            let _ = timeout(LOOK_EVERY, self.stale.notified()).await;
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "could not read the cluster's map");
                self.stale.notify_one();
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// The map may be out of date.
    pub(super) fn look_again(&self) {
        self.stale.notify_one();
    }

    /// Every link with the partitions behind it, and the number of this arrangement.
    pub(super) fn arrangement(&self) -> (u64, Vec<Behind>) {
        let map = self.map.borrow();
        let mut groups: Vec<(Arc<Link>, Vec<u16>)> = Vec::new();
        for (partition, link) in (0..).zip(&map.links) {
            let Some(link) = link else { continue };
            match groups
                .iter_mut()
                .find(|(other, _)| Arc::ptr_eq(other, link))
            {
                Some((_, partitions)) => partitions.push(partition),
                None => groups.push((link.clone(), vec![partition])),
            }
        }
        let behind = groups.into_iter().map(|(link, all)| (link, all.into()));
        (map.number, behind.collect())
    }

    /// Waits until the arrangement is another than that of this number.
    pub(super) async fn rearranged(&self, number: u64) {
        let mut map = self.map.subscribe();
        if map.wait_for(|map| map.number != number).await.is_err() {
            std::future::pending().await
        }
    }

    /// The calls with these indexes, by the link that serves them; none for those that nobody serves now.
    pub(super) fn by_link(
        &self,
        calls: &[Call],
        indexes: &[usize],
    ) -> Vec<(Option<Arc<Link>>, Vec<usize>)> {
        let map = self.map.borrow();
        let mut groups: Vec<(Option<Arc<Link>>, Vec<usize>)> = Vec::new();
        for index in indexes {
            let partition = usize::from(calls[*index].partition);
            let link = map.links.get(partition).cloned().flatten();
            let link = link.filter(|link| link.takes(calls[*index].partition));
            let same = |other: &Option<Arc<Link>>| match (other, &link) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                (one, other) => one.is_none() && other.is_none(),
            };
            match groups.iter_mut().find(|(other, _)| same(other)) {
                Some((_, members)) => members.push(*index),
                None => groups.push((link, vec![*index])),
            }
        }
        groups
    }

    /// Reads the map from the node that knows the latest, and arranges the links by it.
    ///
    /// # Errors
    /// No node answers in good health, or those that were named form no cluster.
    pub(super) async fn look(&self) -> Result<(), ConnectError> {
        let mut infos: HashMap<String, ConnectionInfo> = HashMap::new();
        for seed in &self.seeds {
            infos.insert(seed.addr().to_string(), seed.clone());
        }
        for (name, node) in self.nodes.lock().iter() {
            infos.insert(name.clone(), node.info.clone());
        }
        let views = most(infos.values().map(view).collect()).await;
        if views.iter().any(|view| matches!(view, View::NoCluster)) && self.nodes.lock().is_empty()
        {
            return Err(ConnectError::Topology(IS_NO_CLUSTER));
        }
        let healthy = views.into_iter().filter_map(|view| match view {
            View::Healthy(epoch, ranges) => Some((epoch, ranges)),
            View::NoCluster => None,
        });
        let latest = healthy.max_by_key(|(epoch, _)| *epoch);
        let (_, ranges) = latest.ok_or_else(|| {
            Error::Unavailable("no node of the cluster answers in good health".into())
        })?;
        Ok(self.arrange(&ranges).await?)
    }

    async fn arrange(&self, ranges: &Ranges) -> Result<(), Error> {
        let like = self.seeds.first().ok_or_else(|| reply::odd("the seeds"))?;
        let mut homes: Vec<Option<String>> = Vec::new();
        let mut by_home: HashMap<String, (ConnectionInfo, Vec<u16>)> = HashMap::new();
        for partition in 0..self.common.partitions {
            let slot = slot_of(&Keys::of(partition).meta());
            let range = ranges
                .iter()
                .find(|(first, last, ..)| (*first..=*last).contains(&slot));
            let info = range.map(|(_, _, host, port)| {
                like.clone().set_addr(at(like.addr(), host.clone(), *port))
            });
            let home = info.as_ref().map(|info| info.addr().to_string());
            if let (Some(info), Some(home)) = (info, &home) {
                let entry = by_home
                    .entry(home.clone())
                    .or_insert_with(|| (info, Vec::new()));
                entry.1.push(partition);
            }
            homes.push(home);
        }
        let mut links: HashMap<String, Arc<Link>> = HashMap::new();
        let mut serving = Vec::new();
        for (home, (info, partitions)) in by_home {
            let partitions: Arc<[u16]> = partitions.into();
            let link = self.link_to(&home, info, &partitions);
            links.insert(home, link.clone());
            serving.push((link, partitions));
        }
        serving.extend(self.forget_all_but(&links));
        // One that cannot be entered now waits for the next reading of the map; the others do not wait for it.
        join_all(serving.into_iter().map(|(link, partitions)| async move {
            let served = timeout(2 * CONNECT_TIMEOUT, link.serve(partitions)).await;
            if let Ok(Err(error)) = served {
                tracing::debug!(%error, server = %link.dialer(), "could not enter every partition");
            }
        }))
        .await;
        self.map.send_if_modified(|map| {
            let fresh: Vec<Option<Arc<Link>>> = homes
                .iter()
                .map(|home| links.get(home.as_ref()?).cloned())
                .collect();
            let same = map.homes == homes
                && map.links.iter().zip(&fresh).all(|(a, b)| match (a, b) {
                    (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                    (a, b) => a.is_none() && b.is_none(),
                });
            if !same {
                map.number += 1;
                map.homes = homes;
                map.links = fresh;
            }
            !same
        });
        Ok(())
    }

    /// Lets nodes go that serve nothing any more. What they still answer must not be taken.
    fn forget_all_but(&self, links: &HashMap<String, Arc<Link>>) -> Vec<Behind> {
        let mut nodes = self.nodes.lock();
        let gone = nodes.extract_if(|home, _| !links.contains_key(home));
        gone.map(|(_, node)| (node.link, [].into())).collect()
    }

    fn link_to(&self, home: &str, info: ConnectionInfo, partitions: &Arc<[u16]>) -> Arc<Link> {
        let mut nodes = self.nodes.lock();
        if let Some(node) = nodes.get(home) {
            return node.link.clone();
        }
        let dialer = Dialer::new(Target::Fixed(Box::new(info.clone())), self.common.clone());
        let link = Arc::new(Link::new(dialer, partitions.clone()));
        let node = Node {
            info,
            link: link.clone(),
            _keep: AbortOnDropHandle::new(tokio::spawn(link.clone().keep())),
        };
        nodes.insert(home.to_owned(), node);
        link
    }
}

/// The slot of a key with a hash tag, as Redis computes it (CRC-16/XMODEM of what stands between the braces).
fn slot_of(key: &[u8]) -> u16 {
    let tag = key
        .iter()
        .position(|byte| *byte == b'{')
        .and_then(|start| {
            let rest = &key[start + 1..];
            let end = rest.iter().position(|byte| *byte == b'}')?;
            (end > 0).then(|| &rest[..end])
        })
        .unwrap_or(key);
    crc16::State::<crc16::XMODEM>::calculate(tag) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_the_slot_that_redis_puts_it_in() {
        // From `CLUSTER KEYSLOT`.
        assert_eq!(slot_of(b"foo"), 12_182);
        assert_eq!(slot_of(b"{foo}:bar"), 12_182);
        assert_eq!(slot_of(b"{}foo"), slot_of(b"{}foo"));
        let slots: std::collections::HashSet<u16> = (0..64)
            .map(|partition| slot_of(&Keys::of(partition).meta()))
            .collect();
        assert_eq!(slots.len(), 64, "every partition has a slot of its own");
    }
}
