//! One node of a cluster, and what it knows of the others.

use std::{
    collections::BTreeMap,
    io::{Error, ErrorKind},
};

use ::redis::{Cmd, FromRedisValue, RedisResult, cmd};

use super::RedisServer;

/// A server and what the cluster calls it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) server: RedisServer,
    pub(super) id: String,
    pub(super) is_paused: bool,
}

impl Node {
    pub(super) async fn new(server: RedisServer) -> Self {
        let mut node = Node {
            server,
            id: String::new(),
            is_paused: false,
        };
        node.id = node.ask(cmd("CLUSTER").arg("MYID")).await.unwrap();
        node
    }

    pub(super) fn port(&self) -> u16 {
        self.server.port()
    }

    pub(super) async fn ask<T: FromRedisValue>(&self, question: &Cmd) -> RedisResult<T> {
        let mut connection = self
            .server
            .connect()
            .await
            .ok_or_else(|| Error::new(ErrorKind::NotConnected, "the node is away"))?;
        question.query_async(&mut connection).await
    }

    /// A `CLUSTER` command that has to work.
    pub(super) async fn tell(&self, words: &[&str]) {
        let told = self.ask::<()>(cmd("CLUSTER").arg(words)).await;
        told.unwrap_or_else(|error| panic!("CLUSTER {}: {error}", words.join(" ")));
    }

    pub(super) async fn is_primary(&self) -> Option<bool> {
        let info: String = self.ask(cmd("INFO").arg("replication")).await.ok()?;
        Some(info.contains("role:master"))
    }

    /// The cluster's epoch as it knows it, if it finds that all slots are served, and has its primary's data when it is a
    /// replica.
    pub(super) async fn epoch_when_ok(&self) -> Option<u64> {
        let cluster: String = self.ask(cmd("CLUSTER").arg("INFO")).await.ok()?;
        let info: String = self.ask(cmd("INFO").arg("replication")).await.ok()?;
        let is_ok = cluster.contains("cluster_state:ok")
            && cluster.contains("cluster_slots_ok:16384")
            && (info.contains("role:master") || info.contains("master_link_status:up"));
        let epoch = cluster
            .lines()
            .find_map(|line| line.strip_prefix("cluster_current_epoch:"))?;
        is_ok.then(|| epoch.trim().parse().ok())?
    }

    /// Whom it knows, by id.
    pub(super) async fn view(&self) -> Option<BTreeMap<String, Known>> {
        let text: String = self.ask(cmd("CLUSTER").arg("NODES")).await.ok()?;
        text.lines().map(Known::read).collect()
    }
}

/// What a node knows of another.
pub(super) struct Known {
    pub(super) port: u16,
    /// The id of its primary, or `-`.
    pub(super) primary: String,
    pub(super) slots: Vec<(u16, u16)>,
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

    pub(super) fn has(&self, slot: u16) -> bool {
        let mut slots = self.slots.iter();
        slots.any(|(first, last)| (*first..=*last).contains(&slot))
    }
}
