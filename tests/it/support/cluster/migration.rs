//! Moving a slot from one primary to another, key by key.

use ::redis::cmd;

use super::Cluster;

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
}
