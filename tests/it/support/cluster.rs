//! Three primaries and three replicas of a Redis Cluster: real processes that fail over by themselves.

pub(crate) mod migration;
mod node;
mod replication;

use std::time::{Duration, Instant};

use ::redis::cmd;
use futures::future::join_all;
use tokio::time::timeout;

use super::{eventually, redis::RedisServer};
use node::Node;

/// A failover takes two to three seconds; a vote that was lost is held again after a few more.
const FAILOVER_WITHIN: Duration = Duration::from_secs(60);

/// How long a replica tries to take over hand in hand (`CLUSTER_MF_TIMEOUT` of Redis 7), and a little more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(6);

const PRIMARIES: usize = 3;
const NODES: usize = 6;
const SLOTS: usize = 16_384;

/// Six nodes. A node is named by its port.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<Node>,
}

/// How a replica takes over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failover {
    /// Hand in hand with its primary: nothing is lost.
    Plain,
    /// Without its primary, by the votes of the others.
    Force,
    /// Without asking anybody.
    Takeover,
}

impl Cluster {
    /// Starts the nodes, with further arguments such as `--appendonly yes`, and waits until they are a cluster.
    pub(crate) async fn start(args: &[&str]) -> Self {
        let own = [
            ["--cluster-enabled", "yes"],
            ["--cluster-node-timeout", "1000"],
            // A replica stays with its primary, and a primary without slots is one still: a test says who is what.
            ["--cluster-allow-replica-migration", "no"],
            // Without this a replica waits five seconds for others that could share its copy.
            ["--repl-diskless-sync-delay", "0"],
        ];
        let args = [own.as_flattened(), args].concat();
        let servers = join_all((0..NODES).map(|_| RedisServer::start(&args))).await;
        let nodes = join_all(servers.into_iter().map(Node::new)).await;
        let cluster = Cluster { nodes };
        cluster.form().await;
        cluster.wait_ok().await;
        cluster
    }

    async fn form(&self) {
        for (index, node) in (1..).zip(&self.nodes[..PRIMARIES]) {
            let slots = (index - 1) * SLOTS / PRIMARIES..index * SLOTS / PRIMARIES;
            let slots: Vec<_> = slots.map(|slot| slot.to_string()).collect();
            // Redis 6.2 knows no ranges.
            let words: Vec<_> = std::iter::once("ADDSLOTS")
                .chain(slots.iter().map(String::as_str))
                .collect();
            node.tell(&words).await;
        }
        for (index, node) in self.nodes.iter().enumerate() {
            // Nodes that begin with the same epoch would have to settle it among themselves.
            node.tell(&["SET-CONFIG-EPOCH", &(index + 1).to_string()])
                .await;
            for other in &self.nodes[..index] {
                node.tell(&["MEET", "127.0.0.1", &other.port().to_string()])
                    .await;
            }
        }
        eventually("the nodes have met", FAILOVER_WITHIN, async || {
            for node in &self.nodes {
                (node.view().await?.len() == NODES).then_some(())?;
            }
            Some(())
        })
        .await;
        for (primary, replica) in self.nodes.iter().zip(&self.nodes[PRIMARIES..]) {
            replica.tell(&["REPLICATE", &primary.id]).await;
        }
    }

    /// How to connect to it.
    pub(crate) fn url(&self) -> String {
        let hosts = self.nodes.iter().map(|n| format!("127.0.0.1:{}", n.port()));
        let hosts: Vec<_> = hosts.collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// Where the nodes listen: three that began as primaries, then the replica of each.
    pub(crate) fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(Node::port).collect()
    }

    /// The server on this port.
    pub(crate) fn server(&self, port: u16) -> &RedisServer {
        &self.node(port).server
    }

    /// The primary that has this slot, once all nodes that answer say the same.
    pub(crate) async fn node_of_slot(&self, slot: u16) -> u16 {
        eventually("the nodes agree on a slot", FAILOVER_WITHIN, async || {
            self.agreed_owner(slot).await
        })
        .await
    }

    /// The primary of the keys with this hash tag, or of this key.
    pub(crate) async fn primary_of(&self, key_tag: &str) -> u16 {
        self.node_of_slot(self.slot_of(key_tag).await).await
    }

    /// The slot of the keys with this hash tag, or of this key.
    pub(crate) async fn slot_of(&self, key_tag: &str) -> u16 {
        let node = self.answering().next().expect("a node answers");
        let mut question = cmd("CLUSTER");
        question.arg("KEYSLOT").arg(key_tag);
        node.ask(&question).await.unwrap()
    }

    /// The replica of this primary.
    pub(crate) async fn replica_of(&self, primary: u16) -> u16 {
        let primary = self.node(primary);
        eventually("the primary has a replica", FAILOVER_WITHIN, async || {
            let view = primary.view().await?;
            let mut known = view.into_values();
            let replica = known.find(|known| known.primary == primary.id)?;
            Some(replica.port)
        })
        .await
    }

    /// Kills a node.
    pub(crate) fn kill(&mut self, port: u16) {
        self.node_mut(port).server.kill();
    }

    /// Starts a killed node again. It knows the cluster; of its data, what it kept on disk.
    pub(crate) async fn restart(&mut self, port: u16) {
        let node = self.node_mut(port);
        node.is_paused = false;
        node.server.restart().await;
    }

    /// Stops a node as `kill -STOP` does.
    pub(crate) fn pause(&mut self, port: u16) {
        let node = self.node_mut(port);
        node.server.pause();
        node.is_paused = true;
    }

    /// Lets a paused node go on.
    pub(crate) fn resume(&mut self, port: u16) {
        let node = self.node_mut(port);
        node.server.resume();
        node.is_paused = false;
    }

    /// Has a replica take the place of its primary, and waits until it takes itself for one.
    pub(crate) async fn failover(&self, replica: u16, how: Failover) {
        let mut failover = cmd("CLUSTER");
        failover.arg("FAILOVER");
        match how {
            Failover::Plain => {}
            Failover::Force => drop(failover.arg("FORCE")),
            Failover::Takeover => drop(failover.arg("TAKEOVER")),
        }
        let node = self.node(replica);
        let mut asked: Option<Instant> = None;
        eventually("the replica took over", FAILOVER_WITHIN, async || {
            if node.is_primary().await? {
                return Some(());
            }
            // Forgotten when a vote is lost; asked again too soon, it begins anew each time.
            let is_open = asked.is_some_and(|at| at.elapsed() < FORGOTTEN_AFTER);
            if !is_open && node.ask::<()>(&failover).await.is_ok() {
                asked = Some(Instant::now());
            }
            None
        })
        .await;
    }

    /// Waits until all nodes that answer say that another node than `old` has the slot.
    pub(crate) async fn wait_for_new_primary(&self, slot: u16, old: u16) -> u16 {
        let replaced = async || {
            let new = self.agreed_owner(slot).await?;
            (new != old).then_some(new)
        };
        let new = eventually("slot", 2 * FAILOVER_WITHIN, replaced);
        match timeout(FAILOVER_WITHIN, new).await {
            Ok(new) => new,
            Err(_late) => panic!(
                "{old} still has slot {slot}: {:#?}",
                self.what_nodes_say().await
            ),
        }
    }

    /// Waits until all nodes that answer serve all slots and agree on who has them, and their replicas are up to date.
    /// They also know the same epoch: a replica that has not heard of the last one takes over with an epoch that is no
    /// newer than its primary's, and is not believed.
    pub(crate) async fn wait_ok(&self) {
        eventually("the cluster is whole", FAILOVER_WITHIN, async || {
            let mut agreed = None;
            for node in self.answering() {
                let epoch = node.epoch_when_ok().await?;
                let mut slots = node.view().await?;
                slots.retain(|_, known| !known.slots.is_empty());
                let slots: Vec<_> = slots.into_values().map(|k| (k.port, k.slots)).collect();
                let view = (epoch, slots);
                (*agreed.get_or_insert_with(|| view.clone()) == view).then_some(())?;
            }
            Some(())
        })
        .await;
    }

    async fn agreed_owner(&self, slot: u16) -> Option<u16> {
        let mut agreed = None;
        for node in self.answering() {
            let view = node.view().await?;
            let owner = view.values().find(|known| known.has(slot))?.port;
            (*agreed.get_or_insert(owner) == owner).then_some(())?;
        }
        agreed
    }

    /// Who is who, as each node that answers sees it.
    async fn what_nodes_say(&self) -> Vec<String> {
        let mut said = Vec::new();
        for node in self.answering() {
            let nodes = node.ask::<String>(cmd("CLUSTER").arg("NODES")).await;
            said.push(format!("{}: {nodes:?}", node.port()));
        }
        said
    }

    fn answering(&self) -> impl Iterator<Item = &Node> {
        let nodes = self.nodes.iter();
        nodes.filter(|node| node.server.is_running() && !node.is_paused)
    }

    fn node(&self, port: u16) -> &Node {
        let found = self.nodes.iter().find(|node| node.port() == port);
        found.expect("a node of this cluster")
    }

    fn node_mut(&mut self, port: u16) -> &mut Node {
        let found = self.nodes.iter_mut().find(|node| node.port() == port);
        found.expect("a node of this cluster")
    }
}
