//! Records that cannot be read: the fault of their own task and of no other.

use std::time::Duration;

use tidings::{
    model::TaskId,
    proto::v1::{GetStatusRequest, GetStatusResponse, TaskStatus, WatchTaskRequest},
    simulator,
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{
    gate::Gate,
    redis::RedisServer,
    server::{
        Client, Home, Kind, TestServer, assert_lawful, function, on_each_store, prompt, soon,
        status_of, submit, watch_batch, watch_task,
    },
};

on_each_store! {
    a_damaged_record_is_told_for_its_id_alone,
}

async fn look(client: &mut Client, ids: &[String]) -> GetStatusResponse {
    let request = GetStatusRequest {
        task_ids: ids.to_vec(),
        omit_results: false,
    };
    client.get_status(request).await.unwrap().into_inner()
}

/// Where Redis keeps a task.
fn key(id: &str) -> Vec<u8> {
    let id: TaskId = id.parse().unwrap();
    let mut key = format!("{{td:{}}}:t:", id.partition()).into_bytes();
    key.extend(id.as_bytes());
    key
}

async fn run(redis: &RedisServer, command: &mut ::redis::Cmd) {
    let mut connection = redis.connect().await.unwrap();
    command.exec_async(&mut connection).await.unwrap();
}

/// Writes over the whole record of a task that has ended.
async fn damage(server: TestServer, id: &str) -> TestServer {
    if let Some(redis) = &server.home.redis {
        let mut set = ::redis::cmd("SET");
        run(redis, set.arg(key(id)).arg("nonsense")).await;
        return server;
    }
    let home = server.stop().await;
    {
        let url = home.url();
        let path = url.strip_prefix("embedded:").unwrap();
        let path = std::path::Path::new(path).join("db");
        let database = fjall::Database::builder(path).open().unwrap();
        let specs = database.keyspace("spec", Default::default).unwrap();
        let id: TaskId = id.parse().unwrap();
        specs.insert(id.as_bytes(), "nonsense").unwrap();
        database.persist(fjall::PersistMode::SyncAll).unwrap();
    }
    let upstream = simulator::Config::default();
    TestServer::start_on(home, upstream, Default::default(), |_| {}).await
}

async fn a_damaged_record_is_told_for_its_id_alone(kind: Kind) {
    let mut server = TestServer::start(kind).await;
    let batch = submit(&mut server.client, [prompt("a"), prompt("b"), prompt("c")]).await;
    watch_batch(&mut server.client, &batch.batch_id).await;
    let ids = batch.task_ids;
    let whole = look(&mut server.client, &ids).await;
    assert_eq!(whole.tasks.len(), 3);

    let mut server = damage(server, &ids[1]).await;

    let reply = look(&mut server.client, &ids).await;
    assert_eq!(
        reply.tasks,
        [whole.tasks[0].clone(), whole.tasks[2].clone()]
    );
    assert_eq!(reply.faults.len(), 1);
    assert_eq!(reply.faults[0].task_id, ids[1]);
    let message = &reply.faults[0].message;
    assert!(
        !message.is_empty() && !message.contains("nonsense"),
        "{message}"
    );
    assert!(reply.not_found.is_empty() && reply.expired.is_empty());

    let request = WatchTaskRequest {
        task_id: ids[1].clone(),
        ..WatchTaskRequest::default()
    };
    let refused = server.client.watch_task(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::DataLoss, "{refused:?}");
    let reason = refused
        .get_error_details()
        .error_info()
        .unwrap()
        .reason
        .clone();
    assert_eq!(reason, "RECORD_UNREADABLE");
    assert_eq!(watch_task(&mut server.client, &ids[0], 0).await.len(), 3);
    // Others still come and go.
    let other = submit(&mut server.client, [prompt("d")]).await;
    assert_lawful(&watch_batch(&mut server.client, &other.batch_id).await);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_records_in_the_queue_do_not_hold_up_the_others() {
    let gate = Gate::new();
    let (home, upstream) = (Home::new(Kind::Redis).await, simulator::Config::default());
    let mut server = TestServer::start_on(home, upstream, gate.functions(), |config| {
        config.concurrency = 1;
        config.lease = Duration::from_secs(1);
    })
    .await;
    submit(&mut server.client, [Gate::task()]).await;
    soon("the slot is taken", async || gate.inside() == 1).await;
    let echo = (0..9).map(|n| function("debug.echo", &n.to_string()));
    let ids = submit(&mut server.client, echo).await.task_ids;
    let redis = server.home.redis.as_ref().unwrap();
    // No record at all, one of another type, and one that is damaged behind its head.
    run(redis, ::redis::cmd("SET").arg(key(&ids[1])).arg("nonsense")).await;
    run(redis, ::redis::cmd("DEL").arg(key(&ids[3]))).await;
    run(
        redis,
        ::redis::cmd("RPUSH").arg(key(&ids[3])).arg("nonsense"),
    )
    .await;
    let mut garble = ::redis::cmd("SETRANGE");
    garble
        .arg(key(&ids[5]))
        .arg(60)
        .arg(&b"\xff\xff\xff\xff\xff\xff\xff\xff"[..]);
    run(redis, &mut garble).await;
    gate.open();

    let damaged = [1, 3, 5];
    for index in (0..ids.len()).filter(|index| !damaged.contains(index)) {
        let told = watch_task(&mut server.client, &ids[index], 0).await;
        assert_lawful(&told);
        assert_eq!(status_of(told.last().unwrap()), TaskStatus::Completed);
    }
    let reply = look(&mut server.client, &ids).await;
    assert_eq!(reply.tasks.len(), 6);
    let faulty: Vec<&str> = reply.faults.iter().map(|it| it.task_id.as_str()).collect();
    assert_eq!(faulty, [ids[1].as_str(), ids[5].as_str()]);
    assert_eq!(
        reply.expired,
        [ids[3].clone()],
        "nothing of it is left, but that it was there"
    );
    server.stop().await;
}
