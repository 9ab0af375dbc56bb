//! The process may open no more files.

use std::{fs, time::Duration};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::{raw::begun, serves};
use crate::support::{
    process::Process,
    server::{Home, Kind, connect, soon},
};

/// What `/proc/PID/stat` counts in, a second.
const TICKS: u64 = 100;

/// Processor time of a process, in ticks.
fn ticks(id: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let times = fields.split(' ').skip(11).take(2);
    times.map(|field| field.parse::<u64>().unwrap()).sum()
}

fn open_files(id: u32) -> u64 {
    fs::read_dir(format!("/proc/{id}/fd")).unwrap().count() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn without_files_it_waits_idly_and_serves_again_when_there_are_some() {
    let home = Home::new(Kind::Embedded).await;
    let server = Process::serve(&home.url(), "http://127.0.0.1:9/v1", &[]);
    drop(connect(&server.endpoint).await);
    let id = server.id();
    let most = open_files(id) + 10;
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    let pid = Pid::from_raw(id.try_into().unwrap());
    prlimit(pid, Resource::Nofile, limit).unwrap();
    let mut peers = Vec::new();
    for _ in 0..60 {
        peers.push(begun(&server.endpoint).await);
    }
    soon("no file is left", async || open_files(id) >= most).await;

    let before = ticks(id);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let used = ticks(id) - before;

    assert!(open_files(id) >= most, "it was without files all the time");
    assert!(
        used < TICKS,
        "used {used} ticks in three seconds of waiting"
    );
    drop(peers);
    soon("it serves again", async || serves(&server.endpoint).await).await;
}
