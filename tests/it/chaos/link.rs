//! The way between replicas and Redis: answers lost at every kind of call, and a link that swallows everything.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::time::sleep;

use super::{
    fleet::Setup,
    kills::on_redis,
    load::Watching,
    run::{Run, Title, upstream},
};
use crate::support::{
    chance::Seed,
    proxy::{Fate, Inspector, Proxy, Verdict},
    redis::RedisServer,
    scale::scale,
    server::soon,
};

const LIMIT: Duration = Duration::from_secs(300);
/// After this the long run is long enough.
const ENOUGH: Duration = Duration::from_secs(180);
/// Between two losses, so that the link is whole again before the next.
const PAUSE: Duration = Duration::from_millis(100);
/// Long enough that no lease ends because of a link that is made anew, short enough that leases are renewed meanwhile.
const LEASE: Duration = Duration::from_secs(9);

/// Which kinds of calls were seen, and how often each has lost its answer.
struct Losses {
    on: AtomicBool,
    each: usize,
    seen: Mutex<(BTreeMap<String, usize>, Instant)>,
}

impl Losses {
    fn new(each: usize) -> Arc<Losses> {
        Arc::new(Losses {
            on: AtomicBool::new(false),
            each,
            seen: Mutex::new((BTreeMap::new(), Instant::now())),
        })
    }

    fn inspector(self: &Arc<Self>) -> Inspector {
        let losses = self.clone();
        Arc::new(move |bytes| losses.look(bytes))
    }

    fn look(&self, bytes: &[u8]) -> Verdict {
        if !self.on.load(Ordering::SeqCst) {
            return Verdict::Pass;
        }
        let mut seen = self.seen.lock();
        let (lost, last) = &mut *seen;
        let mut verdict = Verdict::Pass;
        let may_lose = last.elapsed() >= PAUSE;
        for kind in kinds(bytes) {
            let lost = lost.entry(kind).or_default();
            if may_lose && *lost < self.each {
                *lost += 1;
                verdict = Verdict::LoseAnswer;
            }
        }
        if verdict == Verdict::LoseAnswer {
            *last = Instant::now();
        }
        verdict
    }

    fn counts(&self) -> BTreeMap<String, usize> {
        self.seen.lock().0.clone()
    }

    /// The kind that has lost the fewest answers has lost so many.
    fn fewest(&self) -> usize {
        self.counts().into_values().min().unwrap_or_default()
    }
}

/// What the calls in these bytes are: the command, and of a script the start of its hash.
fn kinds(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut words = text.split("\r\n");
    let mut kinds = Vec::new();
    while let Some(word) = words.next() {
        // Each call is `*count`, then `$length` and a word, again and again.
        let is_call = word
            .strip_prefix('*')
            .is_some_and(|count| count.parse::<usize>().is_ok());
        if !is_call {
            continue;
        }
        let Some(command) = words.nth(1).map(str::to_ascii_uppercase) else {
            break;
        };
        match command.as_str() {
            "EVALSHA" => {
                let hash = words.nth(1).unwrap_or_default();
                kinds.push(format!("script {}", hash.get(..6).unwrap_or_default()));
            }
            command if command.chars().all(|c| c.is_ascii_uppercase()) => {
                kinds.push(command.to_owned());
            }
            _ => {}
        }
    }
    kinds
}

/// Two replicas, each with its own proxy before Redis.
async fn behind_proxies(
    redis: &RedisServer,
    upstream: &tidings::simulator::Running,
    inspector: Inspector,
    lease: Duration,
) -> (Setup, [Proxy; 2]) {
    let proxies = [
        Proxy::inspecting(redis.port(), inspector.clone()).await,
        Proxy::inspecting(redis.port(), inspector).await,
    ];
    let ports = proxies.each_ref().map(Proxy::port);
    let mut setup = on_redis(redis, upstream, lease);
    setup.replicas = 2;
    setup.store = Box::new(move |index| format!("redis://127.0.0.1:{}/", ports[index]));
    (setup, proxies)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_lost_at_any_kind_of_call_to_redis_changes_nothing() {
    let seed = Seed::of("an_answer_lost_at_any_kind_of_call");
    let redis = RedisServer::start(&["--appendonly", "yes"]).await;
    let upstream = upstream(50, 400).await;
    let losses = Losses::new(scale(1, 20));
    let (setup, proxies) = behind_proxies(&redis, &upstream, losses.inspector(), LEASE).await;
    let mut run = Run::start(seed, setup, upstream, Watching::Tasks).await;
    losses.on.store(true, Ordering::SeqCst);
    let (mut rounds, began) = (0, Instant::now());
    // Some calls are made once a minute: those need not have lost all that they may, but one.
    let enough = || {
        let most = if began.elapsed() < ENOUGH {
            losses.each
        } else {
            1
        };
        losses.fewest() >= most
    };
    while rounds < scale(12, 60) || !enough() {
        rounds += 1;
        let counts = losses.counts();
        assert!(began.elapsed() < LIMIT, "not all lost: {counts:?}");
        run.load.submit(10, 5).await;
        sleep(PAUSE).await;
        if rounds % 3 == 0 {
            // Calls that are made only on a new connection lose their answers too.
            proxies[rounds % 2].cut();
        }
    }
    let evidence = run.evidence(LIMIT).await;
    let lost = losses.counts();
    let times = lost.values().sum();
    // Submit, acquire, commit, renew or look for what is overdue, read, and those of a new connection.
    let scripts = lost
        .keys()
        .filter(|kind| kind.starts_with("script"))
        .count();
    assert!(scripts >= 5, "{lost:?}");
    let title = Title {
        fault: "the answer lost, after the call was carried out, at every kind of call to Redis"
            .into(),
        on: format!("Redis, 2 replicas, lease {} s", LEASE.as_secs()),
        times,
        note: format!(
            "{scripts} scripts and {} plain commands",
            lost.len() - scripts
        ),
    };
    let verdict = run.conclude(title, &evidence);
    assert_eq!(verdict.duplicate_calls, 0, "no lease ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_redis_that_swallows_everything_is_replaced() {
    let seed = Seed::of("a_link_to_redis_that_swallows_everything");
    let redis = RedisServer::start(&["--appendonly", "yes"]).await;
    let upstream = upstream(100, 900).await;
    let pass: Inspector = Arc::new(|_| Verdict::Pass);
    let (setup, proxies) = behind_proxies(&redis, &upstream, pass, Duration::from_secs(2)).await;
    let mut run = Run::start(seed, setup, upstream.clone(), Watching::Tasks).await;
    let times = scale(1, 20);
    for round in 0..times {
        let before = upstream.finished_calls();
        run.load.submit(60, 30).await;
        soon("tasks are under way", async || {
            upstream.finished_calls() > before && upstream.open_calls() > 16
        })
        .await;
        let struck = round % proxies.len();
        run.fleet
            .cut_off(struck, proxies[struck].meet(Fate::Swallowed));
        let clients = [run.fleet.connect().remove(struck)];
        soon("the replica reaches Redis again", async || {
            run.reads(&clients).await
        })
        .await;
        run.fleet.reached_again(struck);
    }
    let evidence = run.evidence(LIMIT).await;
    let title = Title {
        fault: "a replica's connections to Redis black-holed".into(),
        on: "Redis, 2 replicas, lease 2 s".into(),
        times,
        note: String::new(),
    };
    run.conclude(title, &evidence);
}

#[test]
fn kinds_of_calls_are_told_apart() {
    let hash = "0123456789012345678901234567890123456789";
    let script = format!("*3\r\n$7\r\nEVALSHA\r\n$40\r\n{hash}\r\n$1\r\n1\r\n");
    let both = format!("{script}*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n");
    assert_eq!(kinds(both.as_bytes()), ["script 012345", "GET"]);
    assert!(kinds(b"$3\r\nkey\r\n").is_empty());
}
