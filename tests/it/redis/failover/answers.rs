//! A server that is there and does not serve for a while.

use std::{fs, path::PathBuf};

use ::redis::cmd;
use tidings::store::{Error, Store};

use crate::support::{eventually, redis::RedisServer};

use super::{SOON, all_queued, comes_to_epoch, hears_changes, open, serves, submission, submit};

/// Waits until a submit is refused so; that it never is anything else than `Unavailable`, it checks by the way.
async fn refuses(store: &impl Store, because: &str) {
    eventually("the refusal has its reason", SOON, async || {
        match store.submit(submission(0, 1)).await {
            Err(Error::Unavailable(cause)) => cause.contains(because).then_some(()),
            Err(other) => panic!("{other:?}"),
            Ok(_) => None,
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_busy_with_a_script_is_unavailable_until_that_is_killed() {
    let server = RedisServer::start(&["--lua-time-limit", "50"]).await;
    let store = open(&server.url(), 1).await;
    let ids = submit(&store, 0, 3).await;
    let mut other = server.connect().await.unwrap();
    let busy = tokio::spawn(async move {
        let mut spin = cmd("EVAL");
        spin.arg("while true do end").arg(0);
        let _ = spin.exec_async(&mut other).await;
    });
    refuses(&store, "BUSY").await;
    let mut connection = server.connect().await.unwrap();
    let mut kill = cmd("SCRIPT");
    kill.arg("KILL").exec_async(&mut connection).await.unwrap();
    busy.await.unwrap();
    serves(&store, 0).await;
    all_queued(&store, &ids).await;
    hears_changes(&store, 0).await;
    comes_to_epoch(&store, 1).await;
}

#[tokio::test]
async fn a_server_that_cannot_save_is_unavailable_until_it_can() {
    let server = RedisServer::start(&["--dbfilename", "occupied"]).await;
    let store = open(&server.url(), 1).await;
    let ids = submit(&store, 0, 3).await;
    let mut connection = server.connect().await.unwrap();
    let mut ask = cmd("CONFIG");
    ask.arg("GET").arg("dir");
    let (_, dir): (String, String) = ask.query_async(&mut connection).await.unwrap();
    let dir = PathBuf::from(dir);
    // A file cannot take the place of a folder with something in it.
    fs::create_dir_all(dir.join("occupied/by")).unwrap();
    let save = async || {
        let mut connection = server.connect().await?;
        let _ = cmd("BGSAVE").exec_async(&mut connection).await;
        let info = server.info("persistence").await;
        let line = info
            .lines()
            .find(|it| it.starts_with("rdb_last_bgsave_status:"));
        line.map(|line| line.ends_with("ok"))
    };
    let mut set = cmd("CONFIG");
    set.arg("SET").arg("save").arg("3600 1000000");
    set.exec_async(&mut connection).await.unwrap();
    eventually("saving fails", SOON, async || {
        (!save().await?).then_some(())
    })
    .await;
    refuses(&store, "MISCONF").await;
    fs::remove_dir_all(dir.join("occupied")).unwrap();
    eventually("saving works", SOON, async || save().await?.then_some(())).await;
    serves(&store, 0).await;
    all_queued(&store, &ids).await;
    comes_to_epoch(&store, 1).await;
}

#[tokio::test]
async fn a_server_that_still_loads_is_waited_for() {
    let args = ["--appendonly", "yes", "--key-load-delay", "2000"];
    let mut server = RedisServer::start(&args).await;
    let store = open(&server.url(), 1).await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.extend(submit(&store, 0, 20).await);
    }
    // Its fixture waits for an answer to PING, which a server that loads refuses.
    let restarted = async { server.restart().await };
    let meanwhile = async {
        refuses(&store, "").await;
        serves(&store, 0).await
    };
    tokio::join!(restarted, meanwhile);
    all_queued(&store, &ids).await;
    comes_to_epoch(&store, 1).await;
}
