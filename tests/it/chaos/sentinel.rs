//! A primary, its replicas and their Sentinels under a fleet: failovers that lose nothing, and failovers that do.

use std::time::Duration;

use tidings::proto::v1::DurabilityLevel;
use tokio::time::timeout;

use super::{
    failover::{LEASE, LIMIT, assert_went_on, conclude_losses, get_going, go_on, start, window},
    fleet::now,
    run::{Run, Title},
};
use crate::support::{
    chance::Seed,
    checker::{Evidence, Losses, Verdict, Window},
    eventually,
    scale::scale,
    sentinel::SentinelSet,
};

/// Until every replica of the fleet has found out what was lost.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// Longer than a failover that comes to something.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(10);

fn on() -> String {
    format!(
        "Sentinel (1 + 2 Redis), 3 replicas, lease {} s",
        LEASE.as_secs()
    )
}

#[derive(Clone, Copy)]
enum Fault {
    Kill,
    Pause,
    Ask,
    /// After those who write have been made to wait, so that the replicas have everything.
    AskAtRest,
}

/// Has the primary replaced. Returns when it is; what was paused stays so.
async fn replace(set: &mut SentinelSet, fault: Fault) -> u16 {
    let old = match fault {
        Fault::Kill => set.kill_primary().await,
        Fault::Pause => set.pause_primary().await,
        Fault::Ask => {
            let old = set.primary().await;
            ask(set, old).await;
            old
        }
        Fault::AskAtRest => {
            let old = set.primary().await;
            rest(set, old).await;
            ask(set, old).await;
            old
        }
    };
    set.wait_for_new_primary(old).await;
    old
}

/// Has the Sentinels replace it; again when they gave up, as they do when a busy machine makes them late.
async fn ask(set: &SentinelSet, old: u16) {
    loop {
        set.failover().await;
        let replaced = set.wait_for_new_primary(old);
        if timeout(GIVEN_UP_WITHIN, replaced).await.is_ok() {
            return;
        }
    }
}

/// Has everybody who writes wait, for longer than the failover takes.
async fn rest(set: &SentinelSet, primary: u16) {
    let mut connection = set.server(primary).connect().await.unwrap();
    let mut pause = ::redis::cmd("CLIENT");
    pause.arg("PAUSE").arg(10_000).arg("WRITE");
    pause.query_async::<()>(&mut connection).await.unwrap();
    set.wait_settled().await;
}

async fn heal(set: &mut SentinelSet, fault: Fault, old: u16) {
    match fault {
        Fault::Kill => set.restart_dead().await,
        Fault::Pause => set.resume(old),
        Fault::Ask | Fault::AskAtRest => {}
    }
    set.wait_settled().await;
}

async fn replaced(seed: Seed, faults: &[Fault], times: usize) -> (Run, Evidence, Vec<Window>) {
    let mut set = SentinelSet::start(&[]).await;
    let mut run = start(seed, set.url(), "").await;
    let keeps = |fault: &Fault| matches!(fault, Fault::AskAtRest);
    run.load.twice = faults.iter().all(keeps);
    let mut windows = Vec::new();
    for round in 0..times {
        get_going(&mut run).await;
        let fault = faults[round % faults.len()];
        // Replication lags behind what is acknowledged: what is judged is the fault, not how far it happened to be.
        set.wait_fed().await;
        let at = now();
        let old = replace(&mut set, fault).await;
        go_on(&mut run, at).await;
        heal(&mut set, fault, old).await;
        windows.push(window(at));
    }
    let evidence = run.evidence(LIMIT).await;
    (run, evidence, windows)
}

fn title(fault: &str, times: usize) -> Title {
    Title {
        fault: fault.into(),
        on: on(),
        times,
        note: String::new(),
    }
}

/// What it acknowledged in its last instant may not have left it.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_dies_is_replaced_and_what_it_took_along_is_told() {
    let seed = Seed::of("a_primary_that_dies_is_replaced");
    let times = scale(1, 20);
    let (run, evidence, windows) = replaced(seed, &[Fault::Kill], times).await;
    let fault = "kill -9 of the primary, replaced by Sentinel";
    conclude_losses(&run, title(fault, times), &evidence, &windows);
    assert_went_on(&evidence, times);
}

/// It goes on while replicas of the fleet may still talk to it, and acknowledges until it is told otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_primary_acknowledges_after_standing_still_is_lost_and_told() {
    let seed = Seed::of("what_a_primary_acknowledges_after_standing_still");
    let times = scale(1, 20);
    let (run, evidence, windows) = replaced(seed, &[Fault::Pause], times).await;
    let fault = "SIGSTOP of the primary, SIGCONT at once when Sentinel has replaced it";
    conclude_losses(&run, title(fault, times), &evidence, &windows);
    assert_went_on(&evidence, times);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_whose_writers_wait_is_replaced_on_request_and_nothing_is_lost() {
    let seed = Seed::of("a_primary_whose_writers_wait_is_replaced");
    let times = scale(1, 20);
    let (run, evidence, _) = replaced(seed, &[Fault::AskAtRest], times).await;
    let fault = "CLIENT PAUSE WRITE, then SENTINEL FAILOVER of a primary that is well";
    run.conclude(title(fault, times), &evidence);
    assert_went_on(&evidence, times);
}

/// Sentinel makes a replica the primary before the old one knows, which goes on acknowledging for up to a second.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_failover_on_request_loses_is_told() {
    let seed = Seed::of("what_a_failover_on_request_loses_is_told");
    let times = scale(1, 20);
    let (run, evidence, windows) = replaced(seed, &[Fault::Ask], times).await;
    let fault = "SENTINEL FAILOVER of a primary that is well and goes on acknowledging";
    conclude_losses(&run, title(fault, times), &evidence, &windows);
    assert_went_on(&evidence, times);
}

/// Kills primaries that had been cut off from their replicas while they went on acknowledging.
async fn cut_and_killed(
    seed: Seed,
    settings: &'static str,
    level: DurabilityLevel,
    times: usize,
) -> (Run, Verdict, Losses) {
    let mut set = SentinelSet::start(&[]).await;
    let mut run = start(seed, set.url(), settings).await;
    run.load.twice = false;
    let mut windows = Vec::new();
    for _ in 0..times {
        get_going(&mut run).await;
        let whole = run
            .load
            .receipts
            .values()
            .all(|receipt| receipt.level == level);
        assert!(whole || !windows.is_empty(), "not {level:?}");
        set.wait_fed().await;
        let from = now();
        set.cut_replication().await;
        let (before, first) = (run.upstream.finished_calls(), run.load.batches.len());
        run.load.submit(40, 20).await;
        assert_eq!(run.load.batches.len(), first + 2);
        eventually("work is done that will be lost", TOLD_WITHIN, async || {
            (run.upstream.finished_calls() > before + 10).then_some(())
        })
        .await;
        let at = now();
        replace(&mut set, Fault::Kill).await;
        windows.push(window(from));
        go_on(&mut run, at).await;
        heal(&mut set, Fault::Kill, 0).await;
    }
    let evidence = run.evidence(LIMIT).await;
    let mut found = 0;
    for index in 0..run.fleet.len() {
        found += run.fleet.counter(index, "tidings_store_losses_total").await;
    }
    assert!(found as usize >= times, "{found} of {times} losses counted");
    let waiting = if settings.is_empty() {
        ""
    } else {
        ", wait_replicas = 1"
    };
    let title = Title {
        fault: "replication cut, work acknowledged, kill -9 of the primary, replaced by Sentinel"
            .into(),
        on: on() + waiting,
        times,
        note: String::new(),
    };
    let (verdict, losses) = conclude_losses(&run, title, &evidence, &windows);
    assert_went_on(&evidence, times);
    let epochs = evidence.ends.values().map(|task| task.store_epoch).max();
    assert!(epochs > Some(times as u64), "{epochs:?}");
    (run, verdict, losses)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failover_loses_is_told_to_everybody_who_watches() {
    let seed = Seed::of("what_a_failover_loses_is_told");
    let (_run, verdict, losses) =
        cut_and_killed(seed, "", DurabilityLevel::Memory, scale(1, 20)).await;
    assert!(
        verdict.lost > 0 && losses.resets > 0 && losses.told_gone > 0,
        "{verdict:?} {losses:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_as_replicated_outlasts_the_primary() {
    let seed = Seed::of("what_was_acknowledged_as_replicated");
    let settings = "[redis]\nwait_replicas = 1\n";
    let level = DurabilityLevel::Replicated;
    let (run, verdict, _) = cut_and_killed(seed, settings, level, scale(1, 20)).await;
    let of = |level| {
        run.load
            .receipts
            .values()
            .filter(|it| it.level == level)
            .count()
    };
    let (replicated, memory) = (of(level), of(DurabilityLevel::Memory));
    assert!(replicated > memory && memory >= verdict.lost && verdict.lost > 0);
}
