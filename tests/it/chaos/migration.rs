//! Slots that hold partitions moved from node to node under a fleet, with a rest half-way.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    cluster::{on, slots},
    failover::{LIMIT, get_going, moves_within, start},
    fleet::now,
    run::Title,
};
use crate::support::{
    chance::Seed,
    checker::{Evidence, Millis},
    cluster::Cluster,
    scale::scale,
};

/// How long a slot is with neither node: a client is told ASK for some of its keys, and TRYAGAIN for most scripts.
const HALF_WAY: Duration = Duration::from_secs(1);
/// Of all tasks in this partition, the first step after `from`; none when all had ended.
fn first_step(evidence: &Evidence, partition: u16, from: Millis) -> Option<Duration> {
    let steps = evidence.times.iter();
    let here = steps.filter(|((id, _), at)| id.partition() == partition && **at >= from);
    let first = here.map(|(_, at)| *at).min()?;
    Some(Duration::from_millis((first - from).unsigned_abs()))
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_moved_under_load_take_their_tasks_with_them() {
    let seed = Seed::of("slots_moved_under_load");
    let cluster = Cluster::start(&[]).await;
    let slots = slots(&cluster).await;
    let mut run = start(seed, cluster.url(), "").await;
    let times = scale(2, 20);
    let (mut moved, mut keys) = (Vec::new(), 0);
    for _ in 0..times {
        get_going(&mut run).await;
        // Where the latest batch is, so that there is something to be held up.
        run.load.submit(40, 40).await;
        let latest = run.load.latest.unwrap();
        let slot = slots[usize::from(latest)];
        let from = cluster.node_of_slot(slot).await;
        let mut to = None;
        for other in &slots {
            let node = cluster.node_of_slot(*other).await;
            if node != from {
                to = Some(node);
                break;
            }
        }
        let at = now();
        let migration = cluster.begin_migration(slot, to.unwrap()).await;
        keys += cluster.move_keys(migration, 40).await;
        sleep(HALF_WAY).await;
        cluster.finish_migration(migration).await;
        moved.push((latest, now()));
        run.fleet.all_struck(at);
        cluster.wait_ok().await;
    }
    let evidence = run.evidence(LIMIT).await;
    let waits = moved
        .iter()
        .map(|(partition, at)| first_step(&evidence, *partition, *at));
    let waits: Vec<Duration> = waits.flatten().collect();
    let longest = waits.iter().max().copied().unwrap_or_default();
    let title = Title {
        fault: "a slot that holds a partition moved to another node, 1 s half-way".into(),
        on: on(),
        times,
        note: format!(
            "{keys} keys were on the other side half-way; after {} moves tasks of the slot were left, and moved on \
             within {} ms",
            waits.len(),
            longest.as_millis()
        ),
    };
    run.conclude(title, &evidence);
    assert!(keys > times && !waits.is_empty(), "{keys} keys, {waits:?}");
    assert!(longest <= moves_within(), "moved on after {longest:?}");
}
