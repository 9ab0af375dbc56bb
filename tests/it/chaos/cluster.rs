//! Primaries of a Redis Cluster replaced under a fleet, in every way there is.

use std::{ops::Range, time::Duration};

use super::{
    failover::{
        LEASE, LIMIT, assert_went_on, conclude_losses, get_going, go_on, moves_within, start,
        window,
    },
    fleet::now,
    run::{Run, Title},
};
use crate::support::{
    chance::Seed,
    checker::{Evidence, Millis, Window, millis},
    cluster::{Cluster, Failover},
    scale::scale,
};

/// The usual number of partitions on a cluster.
const PARTITIONS: u16 = 64;
const PRIMARIES: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Pause,
    Ask(Failover),
}

/// The partitions of each primary, with a node that has them.
struct Part {
    slot: u16,
    partitions: Vec<u16>,
}

/// One fault.
struct Struck {
    /// There was no primary for its partitions.
    down: Range<Millis>,
    /// Writes may have been lost.
    window: Window,
    partitions: Vec<u16>,
}

/// Which slot a partition is in.
pub(super) async fn slots(cluster: &Cluster) -> Vec<u16> {
    let mut slots = Vec::new();
    for partition in 0..PARTITIONS {
        slots.push(cluster.slot_of(&tag(partition)).await);
    }
    slots
}

/// The hash tag of a partition's keys.
fn tag(partition: u16) -> String {
    format!("{{td:{partition}}}")
}

pub(super) fn on() -> String {
    format!(
        "Cluster (3 + 3 Redis), {PARTITIONS} partitions, 3 replicas, lease {} s",
        LEASE.as_secs()
    )
}

async fn parts(cluster: &Cluster) -> Vec<Part> {
    let slots = slots(cluster).await;
    let third = |slot: u16| (usize::from(slot) * PRIMARIES + PRIMARIES - 1) / 16_384;
    let of = |part: usize| -> Vec<u16> {
        let partitions = (0..PARTITIONS).zip(&slots);
        let here = partitions.filter(|(_, slot)| third(**slot) == part);
        here.map(|(partition, _)| partition).collect()
    };
    let parts = (0..PRIMARIES).map(|part| Part {
        slot: slots[usize::from(of(part)[0])],
        partitions: of(part),
    });
    parts.collect()
}

/// Has the primary of a slot replaced, and returns when it is.
async fn replace(cluster: &mut Cluster, slot: u16, fault: Fault) -> u16 {
    let old = cluster.node_of_slot(slot).await;
    match fault {
        Fault::Kill => cluster.kill(old),
        Fault::Pause => cluster.pause(old),
        Fault::Ask(how) => {
            let replica = cluster.replica_of(old).await;
            cluster.failover(replica, how).await;
        }
    }
    cluster.wait_for_new_primary(slot, old).await;
    old
}

async fn replaced(seed: Seed, faults: &[Fault], times: usize) -> (Run, Evidence, Vec<Struck>) {
    let mut cluster = Cluster::start(&[]).await;
    let parts = parts(&cluster).await;
    let mut run = start(seed, cluster.url(), "").await;
    // Where the first may be lost, the same cannot be asked for again.
    let keeps = |fault: &Fault| matches!(fault, Fault::Ask(Failover::Plain));
    run.load.twice = faults.iter().all(keeps);
    let mut struck = Vec::new();
    for round in 0..times {
        // In turns, so that each way meets each primary.
        let part = &parts[(round / faults.len()) % parts.len()];
        let fault = faults[round % faults.len()];
        // Replication lags behind what is acknowledged: what was accepted since it was level may be lost with the primary.
        cluster
            .wait_fed(cluster.node_of_slot(part.slot).await)
            .await;
        let level = now();
        get_going(&mut run).await;
        let at = now();
        let old = replace(&mut cluster, part.slot, fault).await;
        let until = now();
        go_on(&mut run, at).await;
        load_part(&mut run, part).await;
        match fault {
            Fault::Kill => cluster.restart(old).await,
            Fault::Pause => cluster.resume(old),
            Fault::Ask(_) => {}
        }
        cluster.wait_ok().await;
        struck.push(Struck {
            down: at..until,
            window: window(level),
            partitions: part.partitions.clone(),
        });
    }
    let evidence = run.evidence(LIMIT).await;
    (run, evidence, struck)
}

/// Submits until a batch has come into a partition of this primary, so that there is something to be started.
async fn load_part(run: &mut Run, part: &Part) {
    let hits = |latest: u16| part.partitions.contains(&latest);
    run.load.submit(5, 5).await;
    while !run.load.latest.is_some_and(hits) {
        run.load.submit(5, 5).await;
    }
}

/// After every fault tasks of the partitions that were struck were started in time; says when at the latest.
#[track_caller]
fn assert_parts_went_on(evidence: &Evidence, struck: &[Struck]) -> Duration {
    let mut longest = Duration::ZERO;
    for (fault, it) in struck.iter().enumerate() {
        let ids = evidence.ends.iter();
        let here = ids.filter(|(id, _)| it.partitions.contains(&id.partition()));
        let starts = here.flat_map(|(_, task)| &task.attempts);
        let starts = starts.filter_map(|attempt| millis(attempt.start_time.as_ref()));
        let first = starts.filter(|start| *start >= it.down.end).min();
        let first = first.unwrap_or_else(|| panic!("nothing was started after fault {fault}"));
        longest = longest.max(Duration::from_millis((first - it.down.end).unsigned_abs()));
    }
    assert!(longest <= moves_within(), "after {longest:?}");
    longest
}

/// Tasks started in partitions of other primaries while there was none for some.
fn started_elsewhere(evidence: &Evidence, struck: &[Struck]) -> usize {
    let elsewhere = evidence.ends.iter().flat_map(|(id, task)| {
        let starts = task
            .attempts
            .iter()
            .map(|it| millis(it.start_time.as_ref()));
        starts.map(|start| (id.partition(), start.unwrap_or_default()))
    });
    let went_on = |(partition, start): &(u16, Millis)| {
        let mut struck = struck.iter();
        struck.any(|it| it.down.contains(start) && !it.partitions.contains(partition))
    };
    elsewhere.filter(went_on).count()
}

fn title(fault: &str, times: usize, note: String) -> Title {
    Title {
        fault: fault.into(),
        on: on(),
        times,
        note,
    }
}

fn parts_note(after: Duration) -> String {
    format!(
        "tasks of the partitions struck started again {:.1} s after the new primary at most",
        after.as_secs_f64()
    )
}

/// What it acknowledged in its last instant may not have left it: that is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_clusters_primary_that_dies_is_replaced_and_the_others_go_on() {
    let seed = Seed::of("a_clusters_primary_that_dies_is_replaced");
    let times = scale(1, 20);
    let (run, evidence, struck) = replaced(seed, &[Fault::Kill], times).await;
    let elsewhere = started_elsewhere(&evidence, &struck);
    let after = assert_parts_went_on(&evidence, &struck);
    let note = format!(
        "{}; {elsewhere} tasks of other partitions started meanwhile",
        parts_note(after)
    );
    let fault = "kill -9 of one primary, replaced by its replica";
    let title = title(fault, times, note);
    conclude_losses(&run, title, &evidence, &windows(&struck));
    assert_went_on(&evidence, times);
    assert!(elsewhere > 0, "the other partitions stood still");
}

/// It goes on while replicas of the fleet may still talk to it, and acknowledges until the cluster tells it otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_clusters_primary_acknowledges_after_standing_still_is_lost_and_told() {
    let seed = Seed::of("what_a_clusters_primary_acknowledges_after_standing_still");
    let times = scale(1, 20);
    let (run, evidence, struck) = replaced(seed, &[Fault::Pause], times).await;
    let after = assert_parts_went_on(&evidence, &struck);
    let fault = "SIGSTOP of one primary, SIGCONT at once when its replica has replaced it";
    conclude_losses(
        &run,
        title(fault, times, parts_note(after)),
        &evidence,
        &windows(&struck),
    );
    assert_went_on(&evidence, times);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_takes_over_hand_in_hand_takes_nothing_away() {
    let seed = Seed::of("a_replica_that_takes_over_hand_in_hand");
    let times = scale(2, 20);
    let (run, evidence, struck) = replaced(seed, &[Fault::Ask(Failover::Plain)], times).await;
    let after = assert_parts_went_on(&evidence, &struck);
    run.conclude(
        title("CLUSTER FAILOVER", times, parts_note(after)),
        &evidence,
    );
    assert_went_on(&evidence, times);
}

/// The old primary hears of it after the fact, and has acknowledged until then.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_that_takes_over_alone_loses_is_told() {
    let seed = Seed::of("what_a_replica_that_takes_over_alone_loses");
    let faults = [Failover::Force, Failover::Takeover].map(Fault::Ask);
    let times = scale(2, 20);
    let (run, evidence, struck) = replaced(seed, &faults, times).await;
    let after = assert_parts_went_on(&evidence, &struck);
    let fault =
        "CLUSTER FAILOVER FORCE and TAKEOVER in turn, the old primary acknowledging until it hears";
    conclude_losses(
        &run,
        title(fault, times, parts_note(after)),
        &evidence,
        &windows(&struck),
    );
    assert_went_on(&evidence, times);
}

fn windows(struck: &[Struck]) -> Vec<Window> {
    struck.iter().map(|struck| struck.window).collect()
}
