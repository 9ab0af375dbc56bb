//! Processes that are killed while their calls are under way: what those may have cost counts.

use std::time::Duration;

use tidings::simulator::{self, Latency, Simulator};

use super::{BUDGET, Faults, batch, cost, submit, talking, until_parked};
use crate::support::{
    process::Process,
    server::{Home, Kind, soon},
};

/// The prices of this module's parent, as a file has them.
const PRICES: &str = "model = \"priced\"\n[prices.priced]\ninput = 1.0\noutput = 4.0\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_of_killed_workers_count_as_the_most_that_they_may_have_cost() {
    let home = Home::new(Kind::Redis).await;
    let slow = simulator::Config {
        latency: Latency::Fixed(Duration::from_millis(300)),
        ..talking(Faults::default())
    };
    let any = "127.0.0.1:0".parse().unwrap();
    let upstream = Simulator::start(slow, any).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidings.toml");
    std::fs::write(&file, PRICES).unwrap();
    let more = [
        "--config",
        file.to_str().unwrap(),
        "--lease",
        "1s",
        "--concurrency",
        "16",
    ];
    let serve = || Process::serve(&home.url(), &upstream.base_url(), &more);

    let mut one = serve();
    let id = submit(&mut one.client().await, 300, BUDGET).await;
    for round in 1..=2_usize {
        let enough = || upstream.calls().len() >= round * 30 && upstream.open_calls() > 0;
        soon("calls are under way", async || enough()).await;
        one.kill();
        one = serve();
    }
    let mut client = one.client().await;
    until_parked(&mut client, &id).await;

    let progress = batch(&mut client, &id).await.progress.unwrap();
    let money = progress.budget.unwrap();
    let billed: u64 = upstream.calls().iter().map(cost).sum();
    assert_eq!(money.reserved_nanos, 0);
    assert!(billed <= money.spent_nanos, "{billed} {money:?}");
    assert!(money.spent_nanos <= BUDGET && money.spent_nanos >= BUDGET / 100 * 95);
    let answered = progress.usage.unwrap().cost_nanos;
    assert!(money.spent_nanos > answered, "some calls were lost");
}
