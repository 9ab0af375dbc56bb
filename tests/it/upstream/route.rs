//! Several endpoints and keys as one upstream: who is called, and what is never sent twice.

use std::{
    num::NonZeroU64,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use secrecy::SecretString;
use tidings::{
    model::{Budget, ErrorCode, Failed, Outcome, ParkReason, Recourse, Wait},
    simulator::{Config, Ended, Fault, Faults, Limits, Running, hash16},
    upstream::{Call, Endpoint, Models, Router, Style},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::upstream::{ANY_PORT, call, endpoint, simulate, simulate_faults};

/// A cheap endpoint that always fails like this, and a dear one that is well.
async fn cheap_but(fault: Fault) -> (Running, Running, Router) {
    let cheap = simulate(Config {
        faults: Faults::always(fault),
        ..Config::default()
    })
    .await;
    let dear = simulate(Config::default()).await;
    let router = Router::new(&[
        endpoint("cheap", cheap.base_url()),
        Endpoint {
            price: 2.0,
            ..endpoint("dear", dear.base_url())
        },
    ])
    .unwrap();
    (cheap, dear, router)
}

async fn complete(router: &Router, prompt: &str) -> Result<Outcome, Failed> {
    router.complete(&call(prompt), async {}).await
}

fn long_pause() -> Fault {
    Fault::reply(429, &[("retry-after", "86400")], "")
}

#[tokio::test]
async fn who_cannot_serve_is_asked_once_and_the_call_goes_on_at_once() {
    for fault in [
        Fault::InsufficientQuota,
        Fault::Status(401),
        Fault::Status(402),
        Fault::Status(403),
        Fault::Status(404),
        long_pause(),
    ] {
        let (cheap, dear, router) = cheap_but(fault.clone()).await;
        for n in 0..20 {
            complete(&router, &n.to_string()).await.unwrap();
        }
        let calls = (cheap.calls().len(), dear.calls().len());
        assert_eq!(calls, (1, 20), "{fault}");
    }
}

#[tokio::test]
async fn who_is_away_or_overloaded_is_passed_over_until_it_is_given_a_rest() {
    let (cheap, dear, router) = cheap_but(Fault::Status(503)).await;
    for n in 0..50 {
        complete(&router, &n.to_string()).await.unwrap();
    }
    assert_eq!(dear.calls().len(), 50);
    let wasted = cheap.calls().len();
    // Two at once, and then one a second.
    assert!((2..20).contains(&wasted), "{wasted} calls wasted");

    // Nothing listens on the discard port.
    let away = endpoint("away", "http://127.0.0.1:9/v1".to_owned());
    let router = Router::new(&[
        away,
        Endpoint {
            price: 2.0,
            ..endpoint("dear", dear.base_url())
        },
    ])
    .unwrap();
    for n in 0..50 {
        complete(&router, &n.to_string()).await.unwrap();
    }
}

#[tokio::test]
async fn what_may_have_been_answered_is_not_sent_to_another() {
    for fault in [
        Fault::Reset,
        Fault::Close,
        Fault::Truncated,
        Fault::Malformed,
        Fault::Status(408),
        Fault::Status(500),
        Fault::Status(502),
        Fault::Status(504),
    ] {
        let (cheap, dear, router) = cheap_but(fault.clone()).await;
        let failed = complete(&router, "once").await.unwrap_err();
        assert!(matches!(failed.recourse, Recourse::Retry { .. }), "{fault}");
        assert!(
            failed.failure.message.ends_with("(endpoint cheap)"),
            "{}",
            failed.failure.message
        );
        let calls = (cheap.calls().len(), dear.calls().len());
        assert_eq!(calls, (1, 0), "{fault}");
    }
}

#[tokio::test]
async fn a_rate_limit_at_one_is_no_reason_to_wait_where_another_is_free() {
    let (cheap, dear, router) =
        cheap_but(Fault::reply(429, &[("retry-after-ms", "1900")], "")).await;
    for n in 0..20 {
        complete(&router, &n.to_string()).await.unwrap();
    }
    assert_eq!(dear.calls().len(), 20);
    let wasted = cheap.calls().len();
    assert!(wasted < 20, "{wasted} calls wasted");
}

#[tokio::test]
async fn two_limits_together_let_through_what_both_allow() {
    let limited = || {
        simulate(Config {
            limits: Limits {
                requests_per_minute: Some(1_200),
                burst: Duration::from_millis(100),
                ..Limits::default()
            },
            ..Config::default()
        })
    };
    let (one, two) = (limited().await, limited().await);
    let router = Router::new(&[
        endpoint("one", one.base_url()),
        endpoint("two", two.base_url()),
    ])
    .unwrap();
    for n in 0..60 {
        complete(&router, &n.to_string()).await.unwrap();
    }
    let answered = |upstream: &Running| {
        let calls = upstream.calls();
        calls
            .iter()
            .filter(|call| call.ended == Ended::Answered)
            .count()
    };
    let (one, two) = (answered(&one), answered(&two));
    assert_eq!(one + two, 60);
    assert!(one >= 15 && two >= 15, "{one} and {two}");
}

/// An endpoint that may be called so often.
fn paced(name: &str, upstream: &Running, requests_per_minute: u64) -> Endpoint {
    Endpoint {
        requests_per_minute: NonZeroU64::new(requests_per_minute),
        ..endpoint(name, upstream.base_url())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_wait_for_the_next_turn_wherever_it_is() {
    let (one, two) = (
        simulate(Config::default()).await,
        simulate(Config::default()).await,
    );
    let dear = Endpoint {
        price: 2.0,
        ..paced("two", &two, 1_200)
    };
    let router = Router::new(&[paced("one", &one, 1_200), dear]).unwrap();
    let start = Instant::now();
    stream::iter(0..40)
        .for_each_concurrent(40, async |n| {
            complete(&router, &n.to_string()).await.unwrap();
        })
        .await;
    // A quarter of a second's worth comes at once, the rest at 20 a second from each.
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(650), "{took:?}");
    let calls = (one.calls().len(), two.calls().len());
    assert_eq!(calls.0 + calls.1, 40);
    assert!(calls.0.abs_diff(calls.1) <= 6, "{calls:?}");
}

#[tokio::test]
async fn a_call_whose_turn_is_far_goes_to_another_that_is_dearer() {
    let (slow, dear) = (
        simulate(Config::default()).await,
        simulate(Config::default()).await,
    );
    let router = Router::new(&[
        paced("slow", &slow, 1),
        Endpoint {
            price: 2.0,
            ..endpoint("dear", dear.base_url())
        },
    ])
    .unwrap();
    for n in 0..20 {
        complete(&router, &n.to_string()).await.unwrap();
    }
    assert_eq!((slow.calls().len(), dear.calls().len()), (1, 19));
}

#[tokio::test]
async fn who_is_out_is_not_asked_by_calls_that_come_back_for_a_later_turn_and_lends_no_room() {
    let slow = simulate(Config::default()).await;
    let broke = simulate(Config {
        faults: Faults::always(Fault::InsufficientQuota),
        ..Config::default()
    })
    .await;
    let cheap = Endpoint {
        price: 0.5,
        ..endpoint("broke", broke.base_url())
    };
    let router = Router::new(&[paced("slow", &slow, 1), cheap]).unwrap();
    assert!(
        router.room() > Some(50),
        "nothing is known: {:?}",
        router.room()
    );
    complete(&router, "served").await.unwrap();
    assert_eq!(router.room(), Some(3));
    for n in 0..3 {
        let failed = complete(&router, &n.to_string()).await.unwrap_err();
        assert_eq!(failed.failure.code, ErrorCode::RateLimited);
        let Recourse::Retry {
            budget: Budget::Time,
            wait: Wait::Told(told),
        } = failed.recourse
        else {
            panic!("{failed:?}");
        };
        assert!(told > Duration::from_secs(30), "{told:?}");
    }
    assert_eq!((slow.calls().len(), broke.calls().len()), (1, 1));

    let alone = Router::new(&[endpoint("broke", broke.base_url())]).unwrap();
    complete(&alone, "x").await.unwrap_err();
    assert!(
        alone.room() > Some(50),
        "somebody has to find out: {:?}",
        alone.room()
    );
}

#[tokio::test]
async fn a_quota_is_of_the_model_that_the_endpoint_knows() {
    let upstream = simulate(Config::default()).await;
    let names = [("test-model", "theirs"), ("alias", "theirs")];
    let names = names.map(|(name, theirs)| (name.to_owned(), theirs.to_owned()));
    let router = Router::new(&[Endpoint {
        models: Models::Named(names.into()),
        ..paced("only", &upstream, 60)
    }])
    .unwrap();
    let alias = Call {
        body: Call::prompt_body("alias", "x"),
        model: "alias".to_owned(),
        ..call("x")
    };
    complete(&router, "x").await.unwrap();
    let start = Instant::now();
    router.complete(&alias, async {}).await.unwrap();
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(500), "{took:?}");
}

#[tokio::test]
async fn only_what_all_of_them_say_is_the_end_of_it() {
    let all = async |fault: Fault| {
        let (one, two) = (
            simulate_faults([fault.clone()]).await,
            simulate_faults([fault]).await,
        );
        let endpoints = [
            endpoint("one", one.base_url()),
            endpoint("two", two.base_url()),
        ];
        let router = Router::new(&endpoints).unwrap();
        let failed = complete(&router, "x").await.unwrap_err();
        assert_eq!((one.calls().len(), two.calls().len()), (1, 1));
        // Both are well again: the next call finds out, unless it was told when to come back.
        let again = complete(&router, "x").await;
        (failed, again)
    };
    let (failed, again) = all(Fault::InsufficientQuota).await;
    assert_eq!(failed.recourse, Recourse::Park(ParkReason::QuotaExhausted));
    again.unwrap();
    let (failed, again) = all(Fault::Status(401)).await;
    assert_eq!(failed.recourse, Recourse::Park(ParkReason::AuthFailed));
    again.unwrap();
    let (failed, again) = all(Fault::Status(404)).await;
    assert_eq!(failed.failure.code, ErrorCode::ModelNotFound);
    assert_eq!(failed.recourse, Recourse::Never);
    again.unwrap();
    let (failed, again) = all(long_pause()).await;
    assert_eq!(failed.failure.code, ErrorCode::RateLimited);
    for failed in [failed, again.unwrap_err()] {
        let Recourse::Retry {
            budget: Budget::Time,
            wait: Wait::Told(told),
        } = failed.recourse
        else {
            panic!("{failed:?}");
        };
        assert!(told > Duration::from_secs(86_300), "{told:?}");
    }
}

#[tokio::test]
async fn a_key_that_is_refused_leaves_the_work_to_the_other() {
    let upstream = simulate(Config {
        api_key: Some(SecretString::from("right")),
        ..Config::default()
    })
    .await;
    let router = Router::new(&[Endpoint {
        keys: vec![SecretString::from("wrong"), SecretString::from("right")],
        ..endpoint("only", upstream.base_url())
    }])
    .unwrap();
    for n in 0..20 {
        complete(&router, &n.to_string()).await.unwrap();
    }
    let with = |key: &str| {
        let calls = upstream.calls();
        let key = Some(hash16(key));
        calls.iter().filter(|call| call.key == key).count()
    };
    assert_eq!((with("wrong"), with("right")), (1, 20));
}

#[tokio::test]
async fn an_endpoint_gets_the_models_it_serves_under_the_names_it_has_for_them() {
    let named = |models: &[(&str, &str)]| {
        let models = models.iter();
        Models::Named(
            models
                .map(|(name, theirs)| ((*name).to_owned(), (*theirs).to_owned()))
                .collect(),
        )
    };
    let (one, two) = (
        simulate(Config::default()).await,
        simulate(Config::default()).await,
    );
    let router = Router::new(&[
        Endpoint {
            models: named(&[("test-model", "theirs")]),
            ..endpoint("one", one.base_url())
        },
        Endpoint {
            models: named(&[("another", "another")]),
            ..endpoint("two", two.base_url())
        },
    ])
    .unwrap();
    let outcome = complete(&router, "x").await.unwrap();
    assert_eq!(outcome.model, "theirs");
    assert_eq!(one.calls()[0].model, "theirs");
    let other = |model: &str| Call {
        body: Call::prompt_body(model, "y"),
        model: model.to_owned(),
        ..call("y")
    };
    router.complete(&other("another"), async {}).await.unwrap();
    assert_eq!(two.calls()[0].model, "another");
    let failed = router
        .complete(&other("neither"), async {})
        .await
        .unwrap_err();
    assert_eq!(failed.failure.code, ErrorCode::ModelNotFound);
    assert_eq!(failed.recourse, Recourse::Never);
    assert_eq!((one.calls().len(), two.calls().len()), (1, 1));
}

#[tokio::test]
async fn a_call_is_announced_once_however_many_are_asked() {
    let (_cheap, _dear, router) = cheap_but(Fault::InsufficientQuota).await;
    let mut announced = 0;
    router
        .complete(&call("x"), async { announced += 1 })
        .await
        .unwrap();
    assert_eq!(announced, 1);
}

#[tokio::test]
async fn azure_gets_its_header_its_path_and_its_query() {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0);
        }
        let body = r#"{"choices":[{"message":{"content":"hello"},"finish_reason":"stop"}]}"#;
        let reply = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(reply.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    let base_url = format!("http://{addr}/openai/deployments/mine?api-version=2024-10-21");
    let router = Router::new(&[Endpoint {
        keys: vec![SecretString::from("azure-key")],
        style: Style::Azure,
        ..endpoint("azure", base_url)
    }])
    .unwrap();
    assert_eq!(complete(&router, "x").await.unwrap().text, "hello");
    let request = heard.await.unwrap();
    let line = "POST /openai/deployments/mine/chat/completions?api-version=2024-10-21 HTTP/1.1\r\n";
    assert!(request.starts_with(line), "{request}");
    let head = request.to_lowercase();
    assert!(head.contains("\r\napi-key: azure-key\r\n"), "{request}");
    assert!(!head.contains("authorization"), "{request}");
}
