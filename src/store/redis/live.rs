//! One connection that is in use, and what may be sent over it.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::AtomicU32},
};

use parking_lot::RwLock;
use redis::{ConnectionAddr, Pipeline, Value, aio::MultiplexedConnection};
use tokio_util::sync::CancellationToken;

use super::{
    dial::Dialled,
    durable::Wait,
    keys::Keys,
    link::{Call, Order, given_up},
    script::Scripts,
};
use crate::store::{Durability, Error};

/// A connection, and what is known of the server at its other end.
pub(super) struct Live {
    pub(super) connection: MultiplexedConnection,
    /// For calls that wait for replicas or disks.
    pub(super) waiting: Option<(MultiplexedConnection, Wait)>,
    /// The server knows sharded channels.
    pub(super) modern: bool,
    pub(super) durability: Durability,
    pub(super) addr: ConnectionAddr,
    pub(super) scripts: Arc<Scripts>,
    /// Late answers in a row.
    pub(super) strikes: AtomicU32,
    /// Cancelled when the connection is given up: nobody is to wait for its answers any more.
    pub(super) gone: CancellationToken,
    /// The partitions that were compared over this connection with what was seen of them.
    entered: RwLock<HashSet<u16>>,
}

impl Live {
    pub(super) fn new(dialled: Dialled) -> Self {
        Live {
            connection: dialled.connection,
            waiting: dialled.waiting,
            modern: dialled.modern,
            durability: dialled.durability,
            addr: dialled.addr,
            scripts: dialled.scripts,
            strikes: AtomicU32::new(0),
            gone: CancellationToken::new(),
            entered: RwLock::new(dialled.entered.into_iter().collect()),
        }
    }

    /// Whether this partition may be asked for here.
    pub(super) fn has_entered(&self, partition: u16) -> bool {
        self.entered.read().contains(&partition)
    }

    /// The answers, if every call's partition may still be asked for here.
    ///
    /// # Errors
    /// One may not.
    pub(super) fn vouch_for(
        &self,
        calls: &[&Call],
        answers: Vec<Value>,
    ) -> Result<Vec<Value>, Error> {
        if calls.iter().all(|call| self.has_entered(call.partition)) {
            Ok(answers)
        } else {
            Err(given_up())
        }
    }

    /// Only these partitions live there now. Answers those that have to be entered first.
    pub(super) fn keep_only(&self, partitions: &[u16]) -> Vec<u16> {
        let mut entered = self.entered.write();
        entered.retain(|partition| partitions.contains(partition));
        let fresh = partitions.iter().filter(|it| !entered.contains(*it));
        fresh.copied().collect()
    }

    pub(super) fn enter(&self, partitions: Vec<u16>) {
        self.entered.write().extend(partitions);
    }

    pub(super) fn pipeline(&self, calls: &[&Call]) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(calls.len());
        for call in calls {
            self.add(&mut pipeline, call);
        }
        pipeline
    }

    pub(super) fn load(&self, pipeline: &mut Pipeline, order: Order) {
        match order {
            Order::Run(script) => pipeline
                .cmd("SCRIPT")
                .arg("LOAD")
                .arg(self.scripts.text(script)),
            // Keeps the pairs together; a plain command never lacks a script.
            Order::Command(_) => pipeline.cmd("PING"),
        };
    }

    pub(super) fn add(&self, pipeline: &mut Pipeline, call: &Call) {
        match call.order {
            Order::Run(script) => pipeline
                .cmd("EVALSHA")
                .arg(self.scripts.hash(script))
                .arg(1)
                .arg(Keys::of(call.partition).meta()),
            Order::Command(name) => pipeline.cmd(name),
        };
        for arg in &call.args {
            pipeline.arg(&arg[..]);
        }
    }
}
