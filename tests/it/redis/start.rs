//! What a store refuses to start on.

use tidings::store::{
    Durability, Store,
    redis::{Config, ConnectError, RedisStore},
};

use crate::support::redis::{RedisServer, config};

use super::connect;

#[tokio::test]
async fn an_evicting_server_is_refused_unless_that_is_allowed() {
    let server = RedisServer::start(&["--maxmemory-policy", "allkeys-lru"]).await;
    let error = RedisStore::connect(config(&server.url()))
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Evicts(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("allkeys-lru"), "{text}");
    assert!(
        text.contains("CONFIG SET maxmemory-policy noeviction"),
        "{text}"
    );
    let allowed = Config {
        allow_eviction: true,
        ..config(&server.url())
    };
    RedisStore::connect(allowed).await.unwrap();
}

#[tokio::test]
async fn another_number_of_partitions_is_refused() {
    let server = RedisServer::start(&[]).await;
    connect(&server, 4).await;
    let error = RedisStore::connect(config(&server.url()))
        .await
        .unwrap_err();
    assert!(
        matches!(error, ConnectError::Partitions { wanted: 1, .. }),
        "{error:?}"
    );
    assert_eq!(connect(&server, 4).await.info().partitions, 4);
}

#[tokio::test]
async fn the_durability_is_what_the_server_is_set_to() {
    for (args, durability) in [
        (&[][..], Durability::Memory),
        (&["--appendonly", "yes"], Durability::FsyncEverySecond),
        (
            &["--appendonly", "yes", "--appendfsync", "always"],
            Durability::Fsync,
        ),
    ] {
        let server = RedisServer::start(args).await;
        assert_eq!(connect(&server, 1).await.info().durability, durability);
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_without_the_password() {
    let mut server = RedisServer::start(&[]).await;
    server.kill();
    let url = format!("redis://:s3cret@127.0.0.1:{}", server.port());
    let error = RedisStore::connect(config(&url)).await.unwrap_err();
    assert!(
        !format!("{error} {error:?}").contains("s3cret"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_that_cannot_be_used_is_named_with_what_to_do() {
    let server = RedisServer::start(&[]).await;
    let mut connection = server.connect().await.unwrap();
    let mut lock = redis::cmd("CONFIG");
    lock.arg("SET").arg("requirepass").arg("open-sesame");
    let _: () = lock.query_async(&mut connection).await.unwrap();
    let url = server.url();
    let wrong = url.replace("redis://", "redis://:tell-nobody@");
    for (url, says) in [
        (url.as_str(), "it wants a password"),
        (wrong.as_str(), "it refuses the user or password"),
        ("redis://127.0.0.1:1", "refused"),
    ] {
        let error = RedisStore::connect(config(url)).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(says), "{text}");
        assert!(text.contains("at 127.0.0.1:"), "{text}");
        assert!(!text.contains("tell-nobody"), "{text}");
    }
}
