//! Large inputs and answers, which stand beside the records.

use std::{sync::Arc, time::Duration};

use redis::{FromRedisValue, cmd};
use tidings::{
    model::{ErrorCode, Event, Failure, Outcome, Priority, Spec, Task, Work},
    store::{Append, Commit, Error, Lookup, Store, Submission, Verdict},
};

use crate::support::{eventually, redis::RedisServer};

use super::{LEASE, WORKER, connect, moved, spec, submission};

const LARGE: usize = 100_000;

/// Around the size from which on parts are large, and well above it.
const SIZES: [usize; 5] = [10, 2_047, 2_048, 2_049, LARGE];

fn asking(bytes: usize) -> Arc<Spec> {
    Arc::new(Spec {
        work: Work::Prompt {
            text: "?".repeat(bytes),
        },
        ..spec(Priority::Normal)
    })
}

fn large(specs: Vec<Arc<Spec>>) -> Submission {
    Submission {
        specs: specs.clone(),
        ..submission(0, specs.len() as u32)
    }
}

fn answered(task: &Task, text: String) -> Commit {
    let outcome = Outcome {
        text,
        ..Outcome::default()
    };
    moved(task.clone(), Event::Succeeded(Box::new(outcome)))
}

async fn ask<T: FromRedisValue>(server: &RedisServer, command: &str, args: &[&[u8]]) -> T {
    let mut connection = server.connect().await.unwrap();
    let mut ask = cmd(command);
    ask.arg(args).query_async(&mut connection).await.unwrap()
}

async fn keys(server: &RedisServer, pattern: &str) -> Vec<Vec<u8>> {
    ask(server, "KEYS", &[pattern.as_bytes()]).await
}

#[tokio::test]
async fn large_parts_go_around_the_records_and_come_back_whole() {
    let server = RedisServer::start(&[]).await;
    let store = connect(&server, 1).await;
    let specs: Vec<Arc<Spec>> = SIZES.map(asking).into();
    let submission = large(specs.clone());
    store.submit(submission.clone()).await.unwrap();
    // As after a reply that was lost.
    store.submit(submission).await.unwrap();
    let tasks = store.acquire(WORKER, 10, LEASE).await.unwrap().tasks;
    let given: Vec<Arc<Spec>> = tasks.iter().map(|task| task.spec.clone()).collect();
    assert_eq!(given, specs);
    let commits: Vec<Commit> = tasks
        .iter()
        .zip(SIZES.iter().rev())
        .map(|(task, size)| answered(task, "!".repeat(*size)))
        .collect();
    for _ in 0..2 {
        let verdicts = store.commit(commits.clone()).await.unwrap();
        assert_eq!(verdicts, [Verdict::Applied; SIZES.len()]);
    }
    let ids: Vec<_> = tasks.iter().map(|task| task.id).collect();
    let read = connect(&server, 1).await.tasks(&ids).await.unwrap();
    let ended = commits
        .into_iter()
        .map(|it| Lookup::Found(Box::new(it.task)));
    assert_eq!(read, ended.collect::<Vec<_>>());
    for key in keys(&server, "*:t:*").await {
        let length: usize = ask(&server, "STRLEN", &[&key]).await;
        assert!(length < 5_000, "{length}");
    }
    for (kind, count) in [("*:s:*", 3), ("*:a:*", 3)] {
        let parts = keys(&server, kind).await;
        assert_eq!(parts.len(), count, "{kind}");
        for key in parts {
            let left: i64 = ask(&server, "PTTL", &[&key]).await;
            assert_eq!(left, -1, "{kind} expires");
        }
    }
    for key in keys(&server, "*:z:*").await {
        let left: i64 = ask(&server, "PTTL", &[&key]).await;
        assert!(left >= 0, "what went ahead in vain stays");
    }
}

#[tokio::test]
async fn nothing_is_left_of_large_tasks_past_their_retention() {
    let server = RedisServer::start(&[]).await;
    let store = connect(&server, 1).await;
    let brief = Arc::new(Spec {
        status_retention_ms: 1,
        result_retention_ms: 1,
        ..Spec::clone(&asking(LARGE))
    });
    store.submit(large(vec![brief; 3])).await.unwrap();
    let tasks = store.acquire(WORKER, 3, LEASE).await.unwrap().tasks;
    let commits = tasks.iter().map(|task| answered(task, "!".repeat(LARGE)));
    store.commit(commits.collect()).await.unwrap();
    assert_eq!(keys(&server, "*:[tsa]:*").await.len(), 9);
    let long = Duration::from_secs(20);
    eventually("they are removed", long, async || {
        store.sweep().await.unwrap();
        keys(&server, "*:[tsaz]:*").await.is_empty().then_some(())
    })
    .await;
    assert_eq!(
        store.tasks(&[tasks[0].id]).await.unwrap(),
        [Lookup::Expired]
    );
}

#[tokio::test]
async fn a_late_answer_takes_nobodys_place() {
    let server = RedisServer::start(&[]).await;
    let store = connect(&server, 1).await;
    store.submit(large(vec![asking(LARGE)])).await.unwrap();
    let mut first = store.acquire(WORKER, 1, LEASE).await.unwrap().tasks;
    let first = first.remove(0);
    let gone = Failure::new(ErrorCode::WorkerLost, "gone");
    let lost = moved(first.clone(), Event::LeaseExpired(gone));
    assert_eq!(store.commit(vec![lost]).await.unwrap(), [Verdict::Applied]);
    let mut second = store.acquire(WORKER, 1, LEASE).await.unwrap().tasks;
    let second = answered(&second.remove(0), "2".repeat(LARGE));
    let late = answered(&first, "1".repeat(LARGE));
    let commits = [late.clone(), second.clone(), late];
    let mut verdicts = Vec::new();
    for commit in commits {
        verdicts.extend(store.commit(vec![commit]).await.unwrap());
    }
    assert_eq!(
        verdicts,
        [Verdict::Conflict, Verdict::Applied, Verdict::Conflict]
    );
    let read = store.tasks(&[first.id]).await.unwrap();
    assert_eq!(read, [Lookup::Found(Box::new(second.task))]);
}

#[tokio::test]
async fn a_full_server_takes_large_answers_and_no_large_work() {
    let server = RedisServer::start(&[]).await;
    let store = connect(&server, 1).await;
    store.submit(large(vec![asking(LARGE); 2])).await.unwrap();
    let mut squeeze = cmd("CONFIG");
    squeeze.arg("SET").arg("maxmemory").arg("1mb");
    let mut connection = server.connect().await.unwrap();
    squeeze.exec_async(&mut connection).await.unwrap();
    let refused = store.submit(large(vec![asking(LARGE)])).await;
    assert!(matches!(refused, Err(Error::Full(_))), "{refused:?}");
    let tasks = store.acquire(WORKER, 10, LEASE).await.unwrap().tasks;
    let commits = tasks.iter().map(|task| answered(task, "!".repeat(LARGE)));
    let commits: Vec<Commit> = commits.collect();
    let verdicts = store.commit(commits.clone()).await.unwrap();
    assert_eq!(verdicts, [Verdict::Applied; 2]);
    let read = store.tasks(&[tasks[0].id]).await.unwrap();
    let ended = commits[0].task.clone();
    assert_eq!(read, [Lookup::Found(Box::new(ended))]);
}

#[tokio::test]
async fn what_is_refused_leaves_nothing_behind() {
    let server = RedisServer::start(&[]).await;
    let store = connect(&server, 1).await;
    let more = Submission {
        append: Append::Open,
        ..large(vec![asking(LARGE)])
    };
    let refused = store.submit(more).await;
    assert!(matches!(refused, Err(Error::NoSuchBatch(_))), "{refused:?}");
    assert_eq!(keys(&server, "*:[sz]:*").await.len(), 0);
}

#[tokio::test]
async fn a_part_that_is_lost_is_a_fault_of_its_task_alone() {
    let server = RedisServer::start(&[]).await;
    let store = connect(&server, 1).await;
    let submission = large(vec![asking(LARGE); 2]);
    let ids: Vec<_> = submission.ids.iter().collect();
    store.submit(submission).await.unwrap();
    let lost = [&b"{td:0}:s:"[..], ids[0].as_bytes()].concat();
    assert_eq!(ask::<u64>(&server, "DEL", &[&lost]).await, 1);
    let read = store.tasks(&ids).await.unwrap();
    assert!(
        matches!(read[..], [Lookup::Fault(_), Lookup::Found(_)]),
        "{read:?}"
    );
    let tasks = store.acquire(WORKER, 2, LEASE).await.unwrap().tasks;
    assert_eq!(tasks.len(), 1);
    assert_eq!(tasks[0].id, ids[1]);
}
