use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use bytes::Bytes;
use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::*;
use crate::{
    model::Kind,
    upstream::{
        Call,
        pace::{Answer, Room, Settings},
        pacer::Pacer,
    },
};

/// Calls a second.
const RATE: f64 = 10.0;

/// A store in memory that may be away.
#[derive(Debug)]
struct Memory {
    start: Instant,
    slots: Mutex<HashMap<String, Slot>>,
    is_away: AtomicBool,
    swaps: AtomicU64,
}

impl Memory {
    fn new() -> Arc<Self> {
        Arc::new(Memory {
            start: Instant::now(),
            slots: Mutex::default(),
            is_away: AtomicBool::new(false),
            swaps: AtomicU64::new(0),
        })
    }
}

#[async_trait]
impl Shared for Memory {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000) + self.start.elapsed()
    }

    async fn swap(&self, key: &str, version: u64, value: Vec<u8>, _: Duration) -> Option<Slot> {
        sleep(Duration::from_millis(1)).await;
        if self.is_away.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        let mut slots = self.slots.lock();
        let kept = slots.entry(key.to_owned()).or_default();
        if kept.version != version {
            return Some(kept.clone());
        }
        *kept = Slot {
            version: self.swaps.fetch_add(1, Ordering::SeqCst) + 1,
            value,
            is_written: false,
        };
        Some(Slot {
            is_written: true,
            ..kept.clone()
        })
    }
}

fn process(memory: &Arc<Memory>, requests: Option<f64>) -> Arc<Pacer> {
    let settings = Settings {
        requests,
        tokens: None,
    };
    let pacer = Arc::new(Pacer::new(settings, false, blake3::Hasher::new()));
    pacer.share(memory.clone());
    pacer
}

fn call() -> Call {
    Call {
        kind: Kind::Chat,
        body: Bytes::from_static(b"{}"),
        timeout: Duration::from_secs(20),
        idempotency_key: "key".to_owned(),
        request_id: "request".to_owned(),
        model: "m".to_owned(),
        listener: None,
    }
}

/// How many calls each process sends in so many seconds, of four at a time.
async fn sent(processes: &[Arc<Pacer>], seconds: u64) -> Vec<usize> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let counts: Vec<_> = processes.iter().map(|_| AtomicU64::new(0)).collect();
    let callers = processes.iter().zip(&counts).flat_map(|(pacer, count)| {
        (0..4).map(move |_| async move {
            loop {
                match pacer.turn(&call(), &mut Duration::from_secs(30)).await {
                    Ok(mut turn) => {
                        turn.go();
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(wait) => sleep(wait).await,
                }
            }
        })
    });
    let calling = futures::future::join_all(callers);
    let _: Result<Vec<()>, _> = tokio::time::timeout_at(end, calling).await;
    counts
        .into_iter()
        .map(|count| count.into_inner() as usize)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn processes_share_one_rate_between_them() {
    let memory = Memory::new();
    let processes = [(); 4].map(|()| process(&memory, Some(RATE / 0.995)));
    let counts = sent(&processes, 60).await;
    let all: usize = counts.iter().sum();
    assert!((585..=610).contains(&all), "{counts:?}");
    assert!(counts.iter().all(|count| *count > 60), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn what_one_process_is_told_holds_for_all() {
    let memory = Memory::new();
    let [one, other] = [(); 2].map(|()| process(&memory, Some(RATE)));
    let patience = || Duration::from_secs(30);
    let mut turn = one.turn(&call(), &mut patience()).await.unwrap();
    turn.go();
    let limit = Room {
        limit: Some(1.0),
        remaining: None,
    };
    let throttled = Answer::Throttled {
        told: 90.0,
        slow_down: false,
    };
    turn.heard((limit, Room::default()), throttled);
    turn.tell().await;
    let wait = other.turn(&call(), &mut patience()).await.unwrap_err();
    assert!(wait > Duration::from_secs(85), "{wait:?}");
    sleep(Duration::from_secs(91)).await;
    let counts = sent(&[one, other], 30).await;
    let all: usize = counts.iter().sum();
    assert!(
        (25..=32).contains(&all),
        "the limit that one was told: {counts:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_process_that_begins_knows_what_the_others_have_met() {
    let memory = Memory::new();
    let one = process(&memory, None);
    let patience = || Duration::from_secs(30);
    let mut turn = one.turn(&call(), &mut patience()).await.unwrap();
    turn.go();
    let throttled = Answer::Throttled {
        told: 0.2,
        slow_down: false,
    };
    turn.heard(Default::default(), throttled);
    turn.tell().await;
    let late = process(&memory, None);
    let counts = sent(&[late], 3).await;
    assert!(counts[0] < 30, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_each_process_keeps_to_its_share() {
    let memory = Memory::new();
    let processes = [(); 4].map(|()| process(&memory, Some(RATE / 0.995)));
    sent(&processes, 20).await;
    memory.is_away.store(true, Ordering::SeqCst);
    let counts = sent(&processes, 60).await;
    let all: usize = counts.iter().sum();
    assert!((450..=610).contains(&all), "{counts:?}");
    assert!(
        counts.iter().all(|count| (100..=160).contains(count)),
        "{counts:?}"
    );
    memory.is_away.store(false, Ordering::SeqCst);
    let all: usize = sent(&processes, 60).await.iter().sum();
    assert!((570..=620).contains(&all), "{all}");
}

#[tokio::test(start_paused = true)]
async fn a_model_without_calls_costs_the_store_nothing() {
    let memory = Memory::new();
    let pacer = process(&memory, Some(RATE));
    sent(std::slice::from_ref(&pacer), 5).await;
    let before = memory.swaps.load(Ordering::SeqCst);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(memory.swaps.load(Ordering::SeqCst), before);
    assert!(
        pacer
            .turn(&call(), &mut Duration::from_secs(1))
            .now_or_never()
            .is_none()
    );
}
