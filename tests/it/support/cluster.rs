//! Three primaries and three replicas of a Redis Cluster: real processes that fail over by themselves.

use std::{collections::BTreeMap, time::Duration};

use ::redis::{Cmd, FromRedisValue, RedisResult, cmd};
use futures::future::join_all;

use super::{eventually, redis::RedisServer};

/// A failover takes two to three seconds; a vote that was lost is held again after a few more.
const FAILOVER_WITHIN: Duration = Duration::from_secs(60);

const PRIMARIES: usize = 3;
const NODES: usize = 6;
const SLOTS: usize = 16_384;

/// Six nodes. A node is named by its port.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    server: RedisServer,
    id: String,
    is_paused: bool,
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

/// A slot on its way. Meanwhile a client is told ASK for keys that have moved and TRYAGAIN when only some of its keys have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Migration {
    /// The slot.
    pub(crate) slot: u16,
    /// Who has it until the end.
    pub(crate) from: u16,
    /// Who gets it.
    pub(crate) to: u16,
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
            let first = (index - 1) * SLOTS / PRIMARIES;
            let last = index * SLOTS / PRIMARIES - 1;
            node.tell(&["ADDSLOTSRANGE", &first.to_string(), &last.to_string()])
                .await;
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
        eventually("the replica took over", FAILOVER_WITHIN, async || {
            if node.is_primary().await? {
                return Some(());
            }
            // Refused while an earlier one is under way; forgotten when a vote is lost.
            let _: RedisResult<()> = node.ask(&failover).await;
            None
        })
        .await;
    }

    /// Waits until all nodes that answer say that another node than `old` has the slot.
    pub(crate) async fn wait_for_new_primary(&self, slot: u16, old: u16) -> u16 {
        eventually("the slot has a new primary", FAILOVER_WITHIN, async || {
            let new = self.agreed_owner(slot).await?;
            (new != old).then_some(new)
        })
        .await
    }

    /// Waits until all nodes that answer serve all slots and agree on who has them, and their replicas are up to date.
    pub(crate) async fn wait_ok(&self) {
        eventually("the cluster is whole", FAILOVER_WITHIN, async || {
            let mut agreed = None;
            for node in self.answering() {
                node.is_ok().await?.then_some(())?;
                let mut slots = node.view().await?;
                slots.retain(|_, known| !known.slots.is_empty());
                let slots: Vec<_> = slots.into_values().map(|k| (k.port, k.slots)).collect();
                (*agreed.get_or_insert_with(|| slots.clone()) == slots).then_some(())?;
            }
            Some(())
        })
        .await;
    }

    /// Moves a slot with all its keys to another primary.
    pub(crate) async fn migrate_slot(&self, slot: u16, to: u16) {
        let migration = self.begin_migration(slot, to).await;
        self.finish_migration(migration).await;
    }

    /// Opens a slot at both ends: keys that are not there any more, and new ones, are asked of the new node.
    pub(crate) async fn begin_migration(&self, slot: u16, to: u16) -> Migration {
        let from = self.node_of_slot(slot).await;
        let (source, target) = (self.node(from), self.node(to));
        let number = slot.to_string();
        target
            .tell(&["SETSLOT", &number, "IMPORTING", &source.id])
            .await;
        source
            .tell(&["SETSLOT", &number, "MIGRATING", &target.id])
            .await;
        Migration { slot, from, to }
    }

    /// Moves at most so many keys; says how many.
    pub(crate) async fn move_keys(&self, migration: Migration, at_most: usize) -> usize {
        let source = self.node(migration.from);
        let mut list = cmd("CLUSTER");
        list.arg("GETKEYSINSLOT").arg(migration.slot).arg(at_most);
        let keys: Vec<Vec<u8>> = source.ask(&list).await.unwrap();
        for key in &keys {
            let mut migrate = cmd("MIGRATE");
            migrate.arg("127.0.0.1").arg(migration.to).arg(key);
            migrate.arg(0).arg(10_000);
            source.ask::<()>(&migrate).await.unwrap();
        }
        keys.len()
    }

    /// Moves the keys that are left and gives the slot to its new node.
    pub(crate) async fn finish_migration(&self, migration: Migration) {
        while self.move_keys(migration, 100).await > 0 {}
        let slot = migration.slot.to_string();
        let target = self.node(migration.to);
        // The new node first, so that there is never nobody who has the slot.
        target.tell(&["SETSLOT", &slot, "NODE", &target.id]).await;
        self.node(migration.from)
            .tell(&["SETSLOT", &slot, "NODE", &target.id])
            .await;
        for node in self.answering() {
            if node.is_primary().await == Some(true) {
                node.tell(&["SETSLOT", &slot, "NODE", &target.id]).await;
            }
        }
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

impl Node {
    async fn new(server: RedisServer) -> Self {
        let mut node = Node {
            server,
            id: String::new(),
            is_paused: false,
        };
        node.id = node.ask(cmd("CLUSTER").arg("MYID")).await.unwrap();
        node
    }

    fn port(&self) -> u16 {
        self.server.port()
    }

    async fn ask<T: FromRedisValue>(&self, question: &Cmd) -> RedisResult<T> {
        let mut connection = self.server.connect().await.ok_or_else(|| {
            std::io::Error::new(std::io::ErrorKind::NotConnected, "the node is away")
        })?;
        question.query_async(&mut connection).await
    }

    /// A `CLUSTER` command that has to work.
    async fn tell(&self, words: &[&str]) {
        let told = self.ask::<()>(cmd("CLUSTER").arg(words)).await;
        told.unwrap_or_else(|error| panic!("CLUSTER {}: {error}", words.join(" ")));
    }

    async fn is_primary(&self) -> Option<bool> {
        let info: String = self.ask(cmd("INFO").arg("replication")).await.ok()?;
        Some(info.contains("role:master"))
    }

    /// Whether it finds that all slots are served, and has its primary's data when it is a replica.
    async fn is_ok(&self) -> Option<bool> {
        let cluster: String = self.ask(cmd("CLUSTER").arg("INFO")).await.ok()?;
        let info: String = self.ask(cmd("INFO").arg("replication")).await.ok()?;
        Some(
            cluster.contains("cluster_state:ok")
                && cluster.contains("cluster_slots_ok:16384")
                && (info.contains("role:master") || info.contains("master_link_status:up")),
        )
    }

    /// Whom it knows, by id.
    async fn view(&self) -> Option<BTreeMap<String, Known>> {
        let text: String = self.ask(cmd("CLUSTER").arg("NODES")).await.ok()?;
        text.lines().map(Known::read).collect()
    }
}

/// What a node knows of another.
struct Known {
    port: u16,
    /// The id of its primary, or `-`.
    primary: String,
    slots: Vec<(u16, u16)>,
}

impl Known {
    /// Reads a line of `CLUSTER NODES`: id, address, flags, primary, four things more, slots.
    fn read(line: &str) -> Option<(String, Self)> {
        let words: Vec<_> = line.split(' ').collect();
        let (address, _) = words.get(1)?.split_once('@')?;
        // A slot that is on its way is listed once more, in brackets.
        let slots = words.get(8..)?.iter().filter(|word| !word.starts_with('['));
        let slots = slots.map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some((first.parse().ok()?, last.parse().ok()?))
        });
        let known = Known {
            port: address.rsplit_once(':')?.1.parse().ok()?,
            primary: words.get(3)?.to_string(),
            slots: slots.collect::<Option<_>>()?,
        };
        Some((words[0].to_string(), known))
    }

    fn has(&self, slot: u16) -> bool {
        let mut slots = self.slots.iter();
        slots.any(|(first, last)| (*first..=*last).contains(&slot))
    }
}
