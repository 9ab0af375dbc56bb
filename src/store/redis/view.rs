//! What one node of a cluster knows of the slots.

use redis::{Client, ConnectionAddr, ConnectionInfo, Pipeline, Value};
use tokio::time::timeout;

use super::{
    error,
    link::{CONNECT_TIMEOUT, settings},
    reply,
};

/// Ranges of slots: first, last, and the primary's host and port.
pub(super) type Ranges = Vec<(u16, u16, String, u16)>;

/// What a node says of the cluster.
pub(super) enum View {
    /// Its cluster epoch, and what it knows of the slots.
    Healthy(u64, Ranges),
    /// It is no node of a cluster.
    NoCluster,
}

/// Asks a node; none when it is away, or knows that it does not know enough.
pub(super) async fn view(node: &ConnectionInfo) -> Option<View> {
    let client = Client::open(node.clone()).ok()?;
    let question = async {
        let settings = settings();
        let connect = client.get_multiplexed_async_connection_with_config(&settings);
        let mut connection = connect.await.ok()?;
        let mut pipeline = Pipeline::new();
        pipeline.cmd("CLUSTER").arg("INFO");
        pipeline.cmd("CLUSTER").arg("SLOTS");
        connection.send_packed_commands(&pipeline, 0, 2).await.ok()
    };
    let answers = timeout(CONNECT_TIMEOUT, question).await.ok()??;
    read_view(&answers, node.addr())
}

fn read_view(answers: &[Value], asked: &ConnectionAddr) -> Option<View> {
    let [info, slots] = answers else { return None };
    if error::is_no_cluster(info) {
        return Some(View::NoCluster);
    }
    let info = String::from_utf8_lossy(reply::bytes(info)?).into_owned();
    let field = |name: &str| {
        let mut lines = info.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.trim()))
    };
    if field("cluster_state:")? != "ok" {
        return None;
    }
    let ranges = reply::array(slots)?.iter();
    let ranges = ranges.map(|range| read_range(range, asked));
    Some(View::Healthy(
        field("cluster_current_epoch:")?.parse().ok()?,
        ranges.collect::<Option<_>>()?,
    ))
}

fn read_range(range: &Value, asked: &ConnectionAddr) -> Option<(u16, u16, String, u16)> {
    let [first, last, primary, ..] = reply::array(range)? else {
        return None;
    };
    let [host, port, ..] = reply::array(primary)? else {
        return None;
    };
    let number = |value| u16::try_from(reply::int(value)?).ok();
    let host = match (reply::bytes(host), asked) {
        (Some(host), _) if !host.is_empty() => String::from_utf8(host.to_vec()).ok()?,
        // A node that does not know its own name is where it was asked.
        (_, ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. }) => host.clone(),
        _ => return None,
    };
    Some((number(first)?, number(last)?, host, number(port)?))
}
