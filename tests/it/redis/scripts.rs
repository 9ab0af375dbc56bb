//! What the scripts do, where only Redis itself can be asked.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::future::join_all;
use redis::FromRedisValue;
use tidings::{
    model::{
        ErrorCode, Event, Failure, ParkReason, Parked, Priority, Spec, Status, Task, Work, WorkerId,
    },
    store::{Commit, Extension, Idempotency, Lookup, Store, Verdict, record},
};

use crate::support::redis::RedisServer;

use super::{LEASE, WORKER, connect, moved, spec, submission, submit, succeeded};

/// The stored record of a task, byte for byte.
async fn stored(server: &RedisServer, task: &Task) -> Vec<u8> {
    ask(server, "GET", 't', task).await
}

/// What a command says of one of a task's keys.
async fn ask<T: FromRedisValue>(server: &RedisServer, command: &str, kind: char, task: &Task) -> T {
    let mut key = format!("{{td:{}}}:{kind}:", task.id.partition()).into_bytes();
    key.extend(task.id.as_bytes());
    let mut connection = server.connect().await.unwrap();
    let mut command = ::redis::cmd(command);
    command.arg(key).query_async(&mut connection).await.unwrap()
}

#[tokio::test]
async fn what_the_script_writes_on_acquire_is_what_the_model_says() {
    let server = RedisServer::start(&[]).await;
    let store = connect(&server, 1).await;
    let mut urgent = submission(0, 1);
    urgent.specs = vec![spec(Priority::High).into()];
    store.submit(urgent).await.unwrap();
    submit(&store, 0, 3).await;
    let mut tasks = store.acquire(WORKER, 10, LEASE).await.unwrap().tasks;
    assert_eq!(tasks.len(), 4);
    // A second attempt has a longer record and another number.
    let failure = Failure::new(ErrorCode::WorkerLost, "gone");
    let commit = moved(tasks.remove(0), Event::LeaseExpired(failure));
    assert_eq!(
        store.commit(vec![commit]).await.unwrap(),
        [Verdict::Applied]
    );
    tasks.extend(store.acquire(WorkerId(2), 10, LEASE).await.unwrap().tasks);
    assert_eq!(tasks.len(), 4);
    assert_eq!(tasks[3].attempt(), 2);
    for task in &tasks {
        let last = *task.last();
        let mut before = record::decode(task.id, &stored(&server, task).await).unwrap();
        assert_eq!(before.status(), Status::Queued);
        let worker = last.worker.unwrap();
        before.apply(Event::Acquired { worker }, last.at).unwrap();
        assert_eq!(before, *task);
        let read = store.tasks(&[task.id]).await.unwrap().remove(0);
        assert_eq!(read, Lookup::Found(Box::new(before)));
    }
}

/// Milliseconds until the output of a task is forgotten; -2 when there is none.
async fn output_left(server: &RedisServer, task: &Task) -> i64 {
    ask(server, "PTTL", 'o', task).await
}

#[tokio::test]
async fn output_goes_with_the_attempt_and_is_never_left_for_good() {
    let server = RedisServer::start(&[]).await;
    let store = connect(&server, 1).await;
    let mut streamed = submission(0, 1);
    streamed.specs = vec![Arc::new(Spec {
        stream: true,
        ..spec(Priority::Normal)
    })];
    store.submit(streamed).await.unwrap();
    let ways: [fn(Task) -> Commit; 2] = [|task| moved(task, Event::Released), succeeded];
    for ends in ways {
        let task = store
            .acquire(WORKER, 1, LEASE)
            .await
            .unwrap()
            .tasks
            .remove(0);
        assert_eq!(output_left(&server, &task).await, -2);
        for offset in 0..2 {
            let extension = Extension {
                id: task.id,
                fence: task.fence(),
                offset,
                text: "x".into(),
            };
            assert_eq!(store.extend(&[extension]).await.unwrap(), [true]);
            assert!(output_left(&server, &task).await > 0, "it expires");
        }
        let ended = ends(task.clone());
        assert_eq!(store.commit(vec![ended]).await.unwrap(), [Verdict::Applied]);
        assert_eq!(output_left(&server, &task).await, -2);
    }
}

#[tokio::test]
async fn two_processes_never_get_the_same_task() {
    let server = RedisServer::start(&[]).await;
    for partitions in [1, 4] {
        let mut connection = server.connect().await.unwrap();
        ::redis::cmd("FLUSHALL")
            .exec_async(&mut connection)
            .await
            .unwrap();
        let stores = [
            connect(&server, partitions).await,
            connect(&server, partitions).await,
        ];
        for round in 0..8 {
            submit(&stores[0], round % partitions, 250).await;
        }
        let acquire = |worker: u64| {
            let store = &stores[worker as usize % 2];
            async move {
                let mut taken = Vec::new();
                loop {
                    let acquired = store.acquire(WorkerId(worker), 7, LEASE).await.unwrap();
                    if acquired.tasks.is_empty() && !acquired.more {
                        return taken;
                    }
                    taken.extend(acquired.tasks.into_iter().map(|task| task.id));
                }
            }
        };
        let taken = join_all((1..=8).map(acquire)).await.concat();
        assert_eq!(taken.len(), 2_000);
        assert_eq!(taken.into_iter().collect::<HashSet<_>>().len(), 2_000);
    }
}

#[tokio::test]
async fn scripts_that_the_server_lost_are_loaded_again() {
    let server = RedisServer::start(&[]).await;
    let store = connect(&server, 4).await;
    for round in 0..2 {
        for partition in 0..4 {
            submit(&store, partition, 2).await;
        }
        let mut connection = server.connect().await.unwrap();
        let mut flush = ::redis::cmd("SCRIPT");
        flush
            .arg("FLUSH")
            .exec_async(&mut connection)
            .await
            .unwrap();
        let tasks = store.acquire(WORKER, 100, LEASE).await.unwrap().tasks;
        assert_eq!(tasks.len(), 8, "round {round}");
        flush.exec_async(&mut connection).await.unwrap();
        let verdicts = store
            .commit(tasks.into_iter().map(succeeded).collect())
            .await
            .unwrap();
        assert_eq!(verdicts, [Verdict::Applied; 8]);
    }
}

#[tokio::test]
async fn large_tasks_and_small_ones_are_read_together() {
    let server = RedisServer::start(&[]).await;
    let store = connect(&server, 4).await;
    let mut ids = Vec::new();
    for partition in [0, 2] {
        let mut large = submission(partition, 30);
        for spec in &mut large.specs {
            let text = "x".repeat(1 << 20);
            Arc::make_mut(spec).work = Work::Prompt { text };
        }
        ids.extend(store.submit(large).await.unwrap().ids.iter());
        ids.extend(submit(&store, partition, 100).await);
    }
    let lookups = store.tasks(&ids).await.unwrap();
    for (id, lookup) in ids.iter().zip(lookups) {
        assert!(matches!(lookup, Lookup::Found(task) if task.id == *id));
    }
}

#[tokio::test]
async fn a_key_finds_its_first_call_from_any_partition() {
    let server = RedisServer::start(&[]).await;
    let store = connect(&server, 4).await;
    let key = |hash: u8| {
        Some(Idempotency {
            key: "default/mine".into(),
            hash: [hash; 32],
        })
    };
    let mut first = submission(0, 3);
    first.idempotency = key(1);
    let made = store.submit(first).await.unwrap();
    for partition in 0..4 {
        let mut again = submission(partition, 3);
        again.idempotency = key(1);
        assert_eq!(store.submit(again).await.unwrap(), made);
    }
    let mut other = submission(2, 3);
    other.idempotency = key(2);
    let error = store.submit(other).await.unwrap_err();
    assert!(
        matches!(error, tidings::store::Error::KeyReused),
        "{error:?}"
    );
    assert_eq!(store.stats().await.unwrap().ready, 3);
}

#[tokio::test]
async fn a_finished_task_leaves_in_time_and_its_id_is_remembered_with_its_batch() {
    let server = RedisServer::start(&[]).await;
    let store = connect(&server, 1).await;
    let mut short = submission(0, 1);
    let mut kept = spec(Priority::Normal);
    kept.result_retention_ms = 50;
    short.specs = vec![kept.into()];
    let id = store.submit(short).await.unwrap().ids.first;
    let task = store
        .acquire(WORKER, 1, LEASE)
        .await
        .unwrap()
        .tasks
        .remove(0);
    store.commit(vec![succeeded(task)]).await.unwrap();
    crate::support::eventually("the task expires", Duration::from_secs(5), async || {
        let lookup = store.tasks(&[id]).await.unwrap().remove(0);
        (lookup == Lookup::Expired).then_some(())
    })
    .await;
    // Those that end together go together, within a second of the last.
    let one = "one task is removed";
    crate::support::eventually(one, Duration::from_secs(10), async || {
        (store.sweep().await.unwrap() == 1).then_some(())
    })
    .await;
    assert_eq!(keys(&server, "*:t:*").await.len(), 0);
    assert_eq!(store.tasks(&[id]).await.unwrap(), [Lookup::Expired]);
    // As when the batch's time is over as well.
    let mut connection = server.connect().await.unwrap();
    let batch = keys(&server, "*:b:*").await;
    let mut delete = ::redis::cmd("DEL");
    delete.arg(batch).exec_async(&mut connection).await.unwrap();
    assert_eq!(store.sweep().await.unwrap(), 1);
    assert_eq!(store.tasks(&[id]).await.unwrap(), [Lookup::Missing]);
    assert_eq!(keys(&server, "*:bc:*").await.len(), 0);
}

#[tokio::test]
async fn a_full_server_refuses_new_work_and_finishes_what_it_has() {
    let server = RedisServer::start(&[]).await;
    let store = connect(&server, 1).await;
    submit(&store, 0, 10).await;
    let mut connection = server.connect().await.unwrap();
    let mut squeeze = ::redis::cmd("CONFIG");
    squeeze.arg("SET").arg("maxmemory").arg("1mb");
    squeeze.exec_async(&mut connection).await.unwrap();
    let error = store.submit(submission(0, 1)).await.unwrap_err();
    assert!(matches!(error, tidings::store::Error::Full(_)), "{error:?}");
    let tasks = store.acquire(WORKER, 10, LEASE).await.unwrap().tasks;
    let verdicts = store
        .commit(tasks.into_iter().map(succeeded).collect())
        .await
        .unwrap();
    assert_eq!(verdicts, [Verdict::Applied; 10]);
}

/// How many timers the partition has.
async fn timers(server: &RedisServer) -> u64 {
    let mut connection = server.connect().await.unwrap();
    let mut ask = ::redis::cmd("ZCARD");
    ask.arg("{td:0}:timer")
        .query_async(&mut connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn timers_of_a_deadline_that_all_pass_end_with_their_tasks() {
    const TASKS: u32 = 300;
    let server = RedisServer::start(&[]).await;
    let store = connect(&server, 1).await;
    let mut short = submission(0, TASKS);
    let deadline = store.now() + Duration::from_millis(50);
    for spec in &mut short.specs {
        Arc::make_mut(spec).deadline = deadline;
    }
    store.submit(short).await.unwrap();
    let mut moved_on = HashSet::new();
    crate::support::eventually("all are late", Duration::from_secs(20), async || {
        let late = store.overdue(100).await.unwrap();
        let commits = late.into_iter().map(|task| {
            let failure = Failure::new(ErrorCode::DeadlineExceeded, "late");
            moved(task, Event::DeadlinePassed(failure))
        });
        let commits: Vec<Commit> = commits.collect();
        let ids: Vec<_> = commits.iter().map(|commit| commit.task.id).collect();
        let verdicts = store.commit(commits).await.unwrap();
        let written = ids.into_iter().zip(verdicts);
        let written = written.filter(|(_, verdict)| *verdict == Verdict::Applied);
        moved_on.extend(written.map(|(id, _)| id));
        (moved_on.len() as u32 == TASKS).then_some(())
    })
    .await;
    crate::support::eventually("the timers are gone", Duration::from_secs(20), async || {
        store.overdue(100).await.unwrap();
        (timers(&server).await == 0).then_some(())
    })
    .await;
}

async fn keys(server: &RedisServer, pattern: &str) -> Vec<Vec<u8>> {
    let mut connection = server.connect().await.unwrap();
    let mut ask = ::redis::cmd("KEYS");
    ask.arg(pattern).query_async(&mut connection).await.unwrap()
}

#[tokio::test]
async fn what_waits_in_a_parked_batch_goes_when_the_batch_has_gone() {
    let server = RedisServer::start(&[]).await;
    let store = connect(&server, 1).await;
    submit(&store, 0, 3).await;
    let task = store.acquire(WORKER, 1, LEASE).await.unwrap().tasks;
    let parked = Parked {
        reason: ParkReason::QuotaExhausted,
        message: "top up".into(),
        time: store.now(),
    };
    let event = Event::Parked {
        failure: Failure::new(ErrorCode::QuotaExhausted, "no money"),
        parked: parked.clone(),
    };
    let commit = Commit {
        park: Some(parked),
        ..moved(task[0].clone(), event)
    };
    assert_eq!(
        store.commit(vec![commit]).await.unwrap(),
        [Verdict::Applied]
    );
    assert_eq!(keys(&server, "*:q:*").await.len(), 1);
    assert_eq!(keys(&server, "*:r:*").await.len(), 0);
    store.sweep().await.unwrap();
    assert_eq!(keys(&server, "*:q:*").await.len(), 1);
    // As when its time is over.
    let mut connection = server.connect().await.unwrap();
    let batch = keys(&server, "*:b:*").await;
    let mut delete = ::redis::cmd("DEL");
    delete.arg(batch).exec_async(&mut connection).await.unwrap();
    assert_eq!(store.sweep().await.unwrap(), 1);
    assert_eq!(keys(&server, "*:q:*").await.len(), 0);
}

/// Microseconds that the server has spent in scripts.
async fn spent(server: &RedisServer) -> f64 {
    let stats = server.info("commandstats").await;
    // Commands inside scripts are counted apart as well; this line holds all of their time.
    let line = stats
        .lines()
        .find(|line| line.starts_with("cmdstat_evalsha:"));
    let usec = line.and_then(|line| line.split("usec=").nth(1)?.split(',').next());
    usec.map_or(0.0, |usec| usec.parse().unwrap())
}

/// Printed, not asserted: the machine is shared.
#[tokio::test]
async fn the_servers_time_for_each_task_is_measured() {
    const BATCH: u32 = 100;
    let server = RedisServer::start(&[]).await;
    let store = connect(&server, 1).await;
    let (mut sums, mut best) = ([0.0; 3], [f64::MAX; 3]);
    let rounds = 100;
    for _ in 0..rounds {
        let mut marks = vec![spent(&server).await];
        submit(&store, 0, BATCH).await;
        marks.push(spent(&server).await);
        let tasks = store
            .acquire(WORKER, BATCH as usize, LEASE)
            .await
            .unwrap()
            .tasks;
        assert_eq!(tasks.len(), BATCH as usize);
        marks.push(spent(&server).await);
        let verdicts = store
            .commit(tasks.into_iter().map(succeeded).collect())
            .await
            .unwrap();
        assert_eq!(verdicts, [Verdict::Applied; BATCH as usize]);
        marks.push(spent(&server).await);
        for (step, pair) in marks.windows(2).enumerate() {
            let each = (pair[1] - pair[0]) / f64::from(BATCH);
            sums[step] += each / f64::from(rounds);
            best[step] = best[step].min(each);
        }
    }
    println!(
        "µs of Redis CPU a task for submit, acquire, commit: mean {sums:.1?}, best {best:.1?}"
    );
}
