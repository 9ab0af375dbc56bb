//! Damaged records among sound ones.

use std::time::Duration;

use tidings::{
    model::TaskId,
    store::{Lookup, Store},
};

use crate::support::{eventually, redis::RedisServer};

use super::{WORKER, connect, submit};

#[tokio::test]
async fn damaged_records_whose_lease_has_run_out_do_not_hide_others() {
    let server = RedisServer::start(&[]).await;
    let store = connect(&server, 1).await;
    let ids = submit(&store, 0, 5).await;
    let lease = Duration::from_millis(1);
    let acquired = store.acquire(WORKER, 5, lease).await.unwrap();
    assert_eq!(acquired.tasks.len(), 5);
    let mut connection = server.connect().await.unwrap();
    for id in &ids[..3] {
        let mut key = format!("{{td:{}}}:t:", id.partition()).into_bytes();
        key.extend(id.as_bytes());
        let mut set = ::redis::cmd("SET");
        let damaged = set.arg(key).arg("nonsense").exec_async(&mut connection);
        damaged.await.unwrap();
    }
    let sound: Vec<TaskId> = ids[3..].to_vec();
    eventually(
        "the sound ones are overdue",
        Duration::from_secs(10),
        async || {
            let overdue = store.overdue(2).await.unwrap();
            let found: Vec<TaskId> = overdue.iter().map(|task| task.id).collect();
            (found == sound).then_some(())
        },
    )
    .await;
    let lookups = store.tasks(&ids[..3]).await.unwrap();
    assert!(lookups.iter().all(|it| matches!(it, Lookup::Fault(_))));
}
