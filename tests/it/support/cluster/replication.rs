//! How far replicas are.

use ::redis::cmd;

use super::{Cluster, FAILOVER_WITHIN, eventually};

impl Cluster {
    /// Waits until the replica of this primary has said that it has all that was written so far.
    pub(crate) async fn wait_fed(&self, primary: u16) {
        eventually("the replica is fed", FAILOVER_WITHIN, async || {
            self.server(primary).feeds(1).await
        })
        .await;
    }

    /// Waits until the replica of this primary has all that was written so far.
    pub(crate) async fn wait_level(&self, primary: u16) {
        let replica = self.replica_of(primary).await;
        let offset = async |port: u16, name: &str| {
            let info: String = self
                .node(port)
                .ask(cmd("INFO").arg("replication"))
                .await
                .ok()?;
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|it| it.trim().parse::<u64>().ok())
        };
        eventually("the replica is level", FAILOVER_WITHIN, async || {
            let written = offset(primary, "master_repl_offset:").await?;
            let read = offset(replica, "slave_repl_offset:").await?;
            (read >= written).then_some(())
        })
        .await;
    }
}
