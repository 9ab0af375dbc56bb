use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, stream};

use super::*;
use crate::model::Kind;

/// Calls a second.
const RATE: f64 = 10.0;

fn call(model: &str) -> Call {
    Call {
        kind: Kind::Chat,
        body: Bytes::from_static(br#"{"max_tokens":100}"#),
        timeout: Duration::from_secs(20),
        idempotency_key: "key".to_owned(),
        request_id: "request".to_owned(),
        model: model.to_owned(),
        listener: None,
    }
}

fn limited_to(requests: Option<f64>) -> Arc<Pacer> {
    let settings = Settings {
        requests,
        tokens: None,
    };
    Arc::new(Pacer::new(settings, false, blake3::Hasher::new()))
}

fn pacer() -> Arc<Pacer> {
    limited_to(Some(RATE / 0.995))
}

/// Sends a call when its turn comes; tells how long that took, or after how long to come again.
async fn send(pacer: &Arc<Pacer>) -> Result<Duration, Duration> {
    let start = Instant::now();
    let mut patience = Duration::from_secs(30);
    let mut turn = pacer.turn(&call("m"), &mut patience).await?;
    turn.go();
    Ok(start.elapsed())
}

fn is_about(wait: Duration, seconds: f64) -> bool {
    (wait.as_secs_f64() - seconds).abs() < 0.02
}

#[tokio::test(start_paused = true)]
async fn calls_go_one_after_the_other_at_the_rate() {
    let pacer = pacer();
    let waits: Vec<_> = stream::iter(0..10)
        .map(|_| send(&pacer))
        .buffered(10)
        .collect()
        .await;
    let last = waits.last().unwrap().unwrap();
    // A quarter of a second's worth may come at once.
    assert!(is_about(last, 9.0 / RATE - 0.25), "{last:?}");
    assert!(waits.is_sorted_by_key(|wait| wait.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn those_who_find_no_place_are_told_times_one_after_the_other() {
    let pacer = pacer();
    let mut waiting: Vec<_> = (0..30).map(|_| Box::pin(send(&pacer))).collect();
    let answers: Vec<_> = waiting
        .iter_mut()
        .map(|send| send.as_mut().now_or_never())
        .collect();
    let put_off: Vec<f64> = answers
        .iter()
        .flatten()
        .filter_map(|answer| answer.err())
        .map(|wait| wait.as_secs_f64())
        .collect();
    assert!((10..20).contains(&put_off.len()), "{answers:?}");
    for pair in put_off.windows(2) {
        assert!((pair[1] - pair[0] - 1.0 / RATE).abs() < 0.01, "{put_off:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_could_not_use_its_turn_has_a_place_whoever_waits() {
    let pacer = pacer();
    let mut waiting = Vec::new();
    loop {
        let mut next = Box::pin(send(&pacer));
        match (&mut next).now_or_never() {
            None => waiting.push(next),
            Some(Ok(_)) => {}
            Some(Err(_)) => break,
        }
    }
    let mut patience = Duration::from_secs(30);
    let other = call("m");
    let mut again = Box::pin(pacer.next_turn(&other, &mut patience));
    assert!((&mut again).now_or_never().is_none(), "it waits");
    stream::iter(waiting)
        .buffered(100)
        .for_each(|sent| async move { assert!(sent.is_ok()) })
        .await;
    again.await.unwrap().go();
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_the_queue_or_never_sends_has_taken_nothing() {
    let pacer = pacer();
    for _ in 0..20 {
        let mut patience = Duration::from_secs(30);
        drop(pacer.turn(&call("m"), &mut patience).await.unwrap());
    }
    for _ in 0..3 {
        assert_eq!(send(&pacer).await.unwrap(), Duration::ZERO);
    }
    let mut left: Vec<_> = (0..5).map(|_| Box::pin(send(&pacer))).collect();
    for send in &mut left {
        assert!(send.as_mut().now_or_never().is_none());
    }
    assert!(pacer.opens_in("m", Cost::default()) > Duration::from_millis(500));
    drop(left);
    let next = send(&pacer).await.unwrap();
    assert!(next < Duration::from_millis(110), "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_is_told_at_once_to_all_calls_of_that_model_and_to_no_other() {
    let pacer = pacer();
    let mut patience = Duration::from_secs(30);
    let mut turn = pacer.turn(&call("m"), &mut patience).await.unwrap();
    turn.go();
    let mut queued = Box::pin(async {
        stream::iter(0..5)
            .map(|_| send(&pacer))
            .buffered(5)
            .collect::<Vec<_>>()
            .await
    });
    assert!(queued.as_mut().now_or_never().is_none());
    let told = 90.0;
    turn.heard(
        Default::default(),
        Answer::Throttled {
            told,
            slow_down: false,
        },
    );
    let is_told = |wait: Duration| (told - 1.0..told + 1.0).contains(&wait.as_secs_f64());
    assert!(is_told(send(&pacer).await.unwrap_err()));
    let mut put_off = 0;
    for answer in queued.await {
        // The first had its turn before.
        if let Err(wait) = answer {
            assert!(is_told(wait), "{wait:?}");
            put_off += 1;
        }
    }
    assert!(put_off >= 2, "{put_off}");
    assert!(is_told(pacer.opens_in("m", Cost::default())));
    assert_eq!(pacer.opens_in("other", Cost::default()), Duration::ZERO);
    assert!(pacer.turn(&call("other"), &mut patience).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn room_is_half_a_second_of_the_rate_and_any_where_nothing_limits() {
    let pacer = pacer();
    assert_eq!(pacer.first_room(), 8);
    assert_eq!(pacer.room(|_| true), Some(0));
    send(&pacer).await.unwrap();
    assert_eq!(pacer.room(|_| true), Some(7));
    assert_eq!(pacer.room(|model| model != "m"), Some(0));

    let free = limited_to(None);
    assert_eq!(free.first_room(), FIRST);
    for _ in 0..600 {
        let mut patience = Duration::from_secs(30);
        let mut turn = free.turn(&call("m"), &mut patience).await.unwrap();
        turn.go();
        turn.heard(Default::default(), Answer::Used(1, 1));
    }
    assert_eq!(free.room(|_| true), None);
}

#[tokio::test(start_paused = true)]
async fn a_slow_model_has_somebody_waiting_for_its_turn() {
    let pacer = limited_to(Some(0.1));
    send(&pacer).await.unwrap();
    let second = send(&pacer).await.unwrap();
    assert!((9.0..11.0).contains(&second.as_secs_f64()), "{second:?}");
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_pacer_keeps_calls_below_what_a_server_can_take() {
    let pacer = Arc::new(Pacer::new(Settings::default(), true, blake3::Hasher::new()));
    let under_way = std::sync::atomic::AtomicU32::new(0);
    let most = std::sync::atomic::AtomicU32::new(0);
    let count = std::sync::atomic::Ordering::SeqCst;
    stream::iter(0..3_000)
        .for_each_concurrent(200, async |_| {
            let mut patience = Duration::from_secs(3_600);
            let mut turn = pacer.turn(&call("m"), &mut patience).await.unwrap();
            turn.go();
            let now = under_way.fetch_add(1, count) + 1;
            most.fetch_max(now, count);
            // Eight at once are as quick as one.
            sleep(Duration::from_secs(1).mul_f64((f64::from(now) / 8.0).max(1.0))).await;
            under_way.fetch_sub(1, count);
            turn.heard(Default::default(), Answer::Used(10, 100));
        })
        .await;
    let most = most.into_inner();
    assert!((8..=40).contains(&most), "{most}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_enough_calls_is_open_once_one_of_them_may_have_ended() {
    let pacer = Arc::new(Pacer::new(Settings::default(), true, blake3::Hasher::new()));
    let opens_in = || pacer.opens_in("m", Cost::default()).as_secs_f64();
    let mut patience = Duration::from_secs(30);
    for _ in 0..50 {
        let mut turn = pacer.turn(&call("m"), &mut patience).await.unwrap();
        turn.go();
        assert!(opens_in() < 0.01, "it takes two at first");
        sleep(Duration::from_secs(1)).await;
        turn.heard(Default::default(), Answer::Used(10, 100));
    }
    let mut under_way = Vec::new();
    while opens_in() < 0.01 {
        under_way.push(pacer.turn(&call("m"), &mut patience).await.unwrap());
    }
    let each = 1.0 / under_way.len() as f64;
    assert!((opens_in() - each).abs() < 0.1 * each, "{}", opens_in());
}
