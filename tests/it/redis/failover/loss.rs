//! A server takes over that has less than the one before it.

use ::redis::cmd;
use tidings::{
    model::{ErrorCode, Event, Failure, Status, WorkerId},
    store::{Lookup, Store, Verdict},
};

use crate::support::{eventually, false_sentinel::FalseSentinel, redis::RedisServer};

use super::{
    LEASE, SOON, WORKER, comes_to_epoch, found, hears_gap, is_probed, moved, open, serves,
    submission, submit, succeeded,
};

/// A primary and a replica of it that stops hearing of anything when told to.
pub(super) struct Pair {
    pub(super) first: RedisServer,
    pub(super) second: RedisServer,
}

impl Pair {
    pub(super) async fn start() -> Pair {
        let first = RedisServer::start(&["--repl-diskless-sync-delay", "0"]).await;
        let of = first.port().to_string();
        let second = RedisServer::start(&["--replicaof", "127.0.0.1", &of]).await;
        let pair = Pair { first, second };
        pair.is_level().await;
        pair
    }

    /// Waits until the replica has all that was written.
    pub(super) async fn is_level(&self) {
        let offset = async |server: &RedisServer, name: &str| {
            let info = server.info("replication").await;
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.map(|it| it.trim().to_owned())
        };
        eventually("the replica is level", SOON, async || {
            let written = offset(&self.first, "master_repl_offset:").await?;
            let read = offset(&self.second, "slave_repl_offset:").await?;
            (written == read).then_some(())
        })
        .await;
    }

    /// The replica becomes a primary with what it has; the other goes on.
    pub(super) async fn promote(&self) {
        let mut connection = self.second.connect().await.unwrap();
        let mut promote = cmd("REPLICAOF");
        promote.arg("NO").arg("ONE");
        promote.exec_async(&mut connection).await.unwrap();
    }
}

/// How many announcements were made on a server.
async fn reached(server: &RedisServer) -> u64 {
    let mut connection = server.connect().await.unwrap();
    let mut ask = cmd("HGET");
    ask.arg("{td:0}:m").arg("seq");
    ask.query_async(&mut connection).await.unwrap()
}

#[tokio::test]
async fn a_loss_begins_one_epoch_however_many_find_it_and_however_late() {
    let pair = Pair::start().await;
    let (old, new) = (pair.first.port(), pair.second.port());
    let sentinels = [
        FalseSentinel::naming(old, 1).await,
        FalseSentinel::naming(old, 1).await,
    ];
    let first = open(&sentinels[0].url(), 1).await;
    let late = open(&sentinels[1].url(), 1).await;
    let ids = submit(&first, 0, 3).await;
    let mut held = first.acquire(WORKER, 3, LEASE).await.unwrap().tasks;
    assert_eq!(held.len(), 3);
    pair.is_level().await;
    pair.promote().await;
    // What the old primary still takes is lost, and both have heard of it.
    let mut lost = Vec::new();
    for _ in 0..20 {
        lost.extend(submit(&first, 0, 1).await);
    }
    let mut told = late.changes();
    submit(&late, 0, 1).await;
    let mut heard = first.changes();

    sentinels[0].name(new);
    // Far past what both have seen, at once, so that numbers alone would hide the loss.
    let far = reached(&pair.first).await + 60;
    eventually("much is written to the new primary", SOON, async || {
        let _ = first.submit(submission(0, 1)).await;
        (reached(&pair.second).await > far).then_some(())
    })
    .await;
    comes_to_epoch(&first, 2).await;
    hears_gap(&mut heard).await;
    assert_eq!(late.info().epoch, 1);
    sentinels[1].name(new);
    comes_to_epoch(&late, 2).await;
    hears_gap(&mut told).await;

    assert_eq!(found(&late, lost[0]).await, None);
    let kept = found(&late, ids[0]).await.unwrap();
    assert_eq!((kept.epoch, kept.revision()), (2, held[0].revision()));
    // Who holds a fence from before goes on with what was neither lost nor moved.
    let other = held.remove(0);
    assert_eq!(
        late.commit(vec![succeeded(other)]).await.unwrap(),
        [Verdict::Applied]
    );
    let mine = held.remove(0);
    let now = found(&late, mine.id).await.unwrap();
    let gone = Event::LeaseExpired(Failure::new(ErrorCode::WorkerLost, "gone"));
    assert_eq!(
        late.commit(vec![moved(now, gone)]).await.unwrap(),
        [Verdict::Applied]
    );
    assert_eq!(
        first.commit(vec![succeeded(mine)]).await.unwrap(),
        [Verdict::Conflict]
    );

    // Both go on under the same epoch, and nobody finds the same loss again.
    for store in [&first, &late] {
        serves(store, 0).await;
        is_probed(store).await;
        assert_eq!(store.info().epoch, 2);
    }
}

#[tokio::test]
async fn a_task_that_was_lost_on_its_way_and_moved_again_is_a_conflict_for_its_old_worker() {
    let pair = Pair::start().await;
    let (old, new) = (pair.first.port(), pair.second.port());
    let sentinel = FalseSentinel::naming(old, 1).await;
    let store = open(&sentinel.url(), 1).await;
    let ids = submit(&store, 0, 2).await;
    pair.is_level().await;
    pair.promote().await;
    // The new primary never hears that they were acquired.
    let held = store.acquire(WORKER, 2, LEASE).await.unwrap().tasks;
    assert_eq!(held.len(), 2);
    sentinel.name(new);
    comes_to_epoch(&store, 2).await;
    assert_eq!(
        found(&store, ids[0]).await.unwrap().status(),
        Status::Queued
    );

    let again = store.acquire(WorkerId(2), 1, LEASE).await.unwrap().tasks;
    assert_eq!(again[0].id, held[0].id);
    assert_eq!(
        again[0].revision(),
        held[0].revision(),
        "only the epoch tells them apart"
    );
    let verdicts = store
        .commit(held.into_iter().map(succeeded).collect())
        .await
        .unwrap();
    assert_eq!(
        verdicts,
        [Verdict::Conflict; 2],
        "one moved again, one is queued again"
    );
    let done = store
        .commit(again.into_iter().map(succeeded).collect())
        .await
        .unwrap();
    assert_eq!(done, [Verdict::Applied]);
}

/// It was frozen while another was made primary, and does not know that yet when it goes on.
#[tokio::test]
async fn what_a_replaced_primary_says_late_is_no_answer() {
    let pair = Pair::start().await;
    let (old, new) = (pair.first.port(), pair.second.port());
    let sentinel = FalseSentinel::naming(old, 1).await;
    let store = open(&sentinel.url(), 1).await;
    pair.is_level().await;
    pair.promote().await;
    pair.first.pause();
    // On its way when the sentinels name another.
    let (answer, ()) = tokio::join!(store.submit(submission(0, 1)), async {
        sentinel.name(new);
        eventually("the new primary serves", SOON, async || {
            let clients = pair.second.info("commandstats").await;
            clients.contains("cmdstat_evalsha:").then_some(())
        })
        .await;
        pair.first.resume();
    });
    // It may have come too late for the old one; if it was carried out there, nobody may be told so.
    if let Ok(accepted) = answer {
        assert!(
            found(&store, accepted.ids.first).await.is_some(),
            "accepted and lost"
        );
    }
    serves(&store, 0).await;
}

/// It hears of the failover later than those who were told by the sentinel that made it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_replaced_primary_does_not_know_is_not_said_to_be_missing() {
    let [old, new] = [RedisServer::start(&[]).await, RedisServer::start(&[]).await];
    let mut sentinels = Vec::new();
    for _ in 0..3 {
        sentinels.push(FalseSentinel::naming(old.port(), 1).await);
    }
    let hosts: Vec<_> = sentinels
        .iter()
        .map(|it| format!("127.0.0.1:{}", it.port()))
        .collect();
    let url = format!("redis+sentinel://{}/any", hosts.join(","));
    let late = open(&url, 1).await;
    let unknown = open(&new.url(), 1).await;
    let ids = submit(&unknown, 0, 1).await;
    // So that nobody looks at the sentinels between what follows.
    let nothing = late.tasks(&ids).await.unwrap();
    assert!(matches!(nothing[..], [Lookup::Missing]), "{nothing:?}");
    sentinels[0].name(new.port());
    let answer = late.tasks(&ids).await;
    assert!(
        !matches!(answer.as_deref(), Ok([Lookup::Missing])),
        "{answer:?}"
    );
    eventually("it is found", SOON, async || {
        let found = late.tasks(&ids).await.ok()?;
        matches!(found[..], [Lookup::Found(_)]).then_some(())
    })
    .await;
}
