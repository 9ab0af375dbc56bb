//! Peers written in Rust: `tidings-peers apalis|load worker|client|version …`, started by `benches/peers/run`.
//!
//! A client prints one line of JSON: what it measured, and of how many tasks it knows the right result.

mod load;
mod queue;
mod shared;

use shared::{Failed, Workload};

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["apalis", "version"] => println!("apalis 1.0.0"),
        ["load", "version"] => println!("hyper 1"),
        ["apalis", "worker", workload] => queue::work(workload).await?,
        ["apalis", "client", workload, count, first] => {
            queue::client(&Workload::parse(workload, count, first)?).await?;
        }
        ["load", "client", workload, count, first] => {
            load::client(&Workload::parse(workload, count, first)?).await?;
        }
        _ => return Err("usage: tidings-peers apalis|load worker|client|version …".into()),
    }
    Ok(())
}
