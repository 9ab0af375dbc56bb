//! The first benchmark: for each store, how fast no-op tasks are submitted, run and known finished over gRPC, how much
//! memory the server takes at its peak, and what an open watch costs.
//!
//! A real server process, real sockets, one client. The history of every task is checked in the same run: a fast run
//! that lost or repeated something panics instead of printing a figure. Figures are medians of several rounds.

use std::{
    collections::HashMap,
    error::Error,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tidings::proto::v1::{
    FunctionCall, SubmitBatchRequest, TaskOptions, TaskSpec, TaskStatus, WatchBatchRequest,
    WatchTaskRequest, task_service_client::TaskServiceClient, task_spec, watch_batch_response,
};
use tonic::transport::Channel;

type Client = TaskServiceClient<Channel>;
type Result<T> = std::result::Result<T, Box<dyn Error>>;

const TASKS: usize = 20_000;
const PER_CALL: usize = 1_000;
const ROUNDS: usize = 5;
const WATCHES: usize = 10_000;
const CONNECTIONS: usize = 10;

#[tokio::main]
async fn main() -> Result<()> {
    println!(
        "{TASKS} debug.echo tasks in calls of {PER_CALL}, median of {ROUNDS} rounds, then {WATCHES} open watches\n"
    );
    println!("| store | tasks/s | slowest .. fastest | peak memory | bytes per open watch |");
    println!("|---|---|---|---|---|");
    for store in ["embedded", "redis", "redis, AOF everysec"] {
        let folder = tempfile::tempdir()?;
        let bench = Bench::start(store, folder.path())?;
        bench.run(store).await?;
    }
    Ok(())
}

/// A server, and a Redis if its store needs one.
struct Bench {
    server: Process,
    address: String,
    _redis: Option<Process>,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Bench {
    fn start(store: &str, folder: &Path) -> Result<Bench> {
        let (url, redis) = if store == "embedded" {
            (format!("embedded:{}", folder.join("data").display()), None)
        } else {
            let (url, redis) = start_redis(folder, store.contains("AOF"))?;
            (url, Some(redis))
        };
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidings"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
            ])
            .args(["--store", &url, "--log", "warn"])
            .args(["--upstream-url", "http://127.0.0.1:9/v1"])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or("the server has no stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line
            .split_whitespace()
            .nth(4)
            .ok_or("the server did not start")?;
        Ok(Bench {
            address: format!("http://{address}"),
            server: Process(child),
            _redis: redis,
        })
    }

    async fn run(&self, store: &str) -> Result<()> {
        let client = self.connect().await?;
        round(client.clone()).await?;
        let mut rates = Vec::new();
        for _ in 0..ROUNDS {
            rates.push(TASKS as f64 / round(client.clone()).await?.as_secs_f64());
        }
        rates.sort_by(f64::total_cmp);
        let peak = self.memory("VmHWM")? as f64 / 1024.0;
        let per_watch = self.watches(client).await?;
        println!(
            "| {store} | {:.0} | {:.0} .. {:.0} | {peak:.0} MiB | {per_watch} |",
            rates[ROUNDS / 2],
            rates[0],
            rates[ROUNDS - 1]
        );
        Ok(())
    }

    async fn connect(&self) -> Result<Client> {
        let channel = Channel::from_shared(self.address.clone())?
            .tcp_nodelay(true)
            .connect()
            .await?;
        Ok(Client::new(channel).max_decoding_message_size(64 << 20))
    }

    /// Kibibytes, from the kernel.
    fn memory(&self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.0.id()))?;
        let line = status
            .lines()
            .find(|line| line.starts_with(field))
            .ok_or("no such field")?;
        Ok(line.split_whitespace().nth(1).ok_or("no figure")?.parse()?)
    }

    async fn watches(&self, mut client: Client) -> Result<u64> {
        let mut request = echoes(PER_CALL, "");
        let hour = std::time::Duration::from_secs(3_600);
        #[expect(
            clippy::disallowed_methods,
            reason = "a benchmark runs by the machine's clock"
        )]
        let later = std::time::SystemTime::now() + hour;
        request.options = Some(TaskOptions {
            not_before: Some(later.into()),
            ..TaskOptions::default()
        });
        let ids = client.submit_batch(request).await?.into_inner().task_ids;
        let before = self.memory("VmRSS")?;
        let mut open = Vec::with_capacity(WATCHES);
        for _ in 0..CONNECTIONS {
            let mut client = self.connect().await?;
            for n in 0..WATCHES / CONNECTIONS {
                let task_id = ids[n % ids.len()].clone();
                let request = WatchTaskRequest {
                    task_id,
                    ..WatchTaskRequest::default()
                };
                let mut stream = client.watch_task(request).await?.into_inner();
                stream.message().await?.ok_or("the watch ended")?;
                open.push(stream);
            }
        }
        let after = self.memory("VmRSS")?;
        Ok((after.saturating_sub(before)) * 1024 / WATCHES as u64)
    }
}

fn start_redis(folder: &Path, aof: bool) -> Result<(String, Process)> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let child = Command::new("redis-server")
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ])
        .args([
            "--appendonly",
            if aof { "yes" } else { "no" },
            "--appendfsync",
            "everysec",
        ])
        .arg("--dir")
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("redis-server: {error}; run `make setup`"))?;
    let redis = Process(child);
    let until = Instant::now() + Duration::from_secs(5);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > until {
            return Err("redis-server did not start".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok((format!("redis://127.0.0.1:{port}"), redis))
}

fn echoes(count: usize, batch_id: &str) -> SubmitBatchRequest {
    // With its name and framing a task comes to about 200 bytes.
    let arguments = format!("\"{}\"", "x".repeat(160));
    let task = TaskSpec {
        work: Some(task_spec::Work::FunctionCall(FunctionCall {
            name: "debug.echo".into(),
            arguments,
        })),
        ..TaskSpec::default()
    };
    SubmitBatchRequest {
        tasks: vec![task; count],
        batch_id: batch_id.to_owned(),
        keep_open: true,
        ..SubmitBatchRequest::default()
    }
}

/// Submits, watches to the end, checks every history. Answers the time from the first submit to the last event.
async fn round(mut client: Client) -> Result<Duration> {
    let start = Instant::now();
    let first = client
        .submit_batch(echoes(PER_CALL, ""))
        .await?
        .into_inner();
    let watching = tokio::spawn(watch(client.clone(), first.batch_id.clone()));
    let calls = TASKS / PER_CALL;
    for call in 1..calls {
        let mut request = echoes(PER_CALL, &first.batch_id);
        request.keep_open = call + 1 < calls;
        client.submit_batch(request).await?;
    }
    let histories = watching.await?.map_err(|error| error.to_string())?;
    let took = start.elapsed();
    assert_eq!(histories.len(), TASKS, "tasks were lost");
    for (id, history) in histories {
        let expected = [
            TaskStatus::Queued,
            TaskStatus::Processing,
            TaskStatus::Completed,
        ];
        let expected: Vec<_> = (1..).zip(expected.map(|status| status as i32)).collect();
        assert_eq!(
            history, expected,
            "the history of {id} has a gap or a repeat"
        );
    }
    Ok(took)
}

type Histories = HashMap<String, Vec<(u64, i32)>>;

async fn watch(mut client: Client, batch_id: String) -> std::result::Result<Histories, String> {
    let request = WatchBatchRequest {
        batch_id,
        include_results: true,
        ..WatchBatchRequest::default()
    };
    let stream = client.watch_batch(request).await;
    let mut stream = stream.map_err(|status| status.to_string())?.into_inner();
    let mut histories = Histories::with_capacity(TASKS);
    while let Some(message) = stream
        .message()
        .await
        .map_err(|status| status.to_string())?
    {
        if let Some(watch_batch_response::Event::Task(task)) = message.event {
            let history = histories.entry(task.id).or_default();
            history.push((task.revision, task.status));
        }
    }
    Ok(histories)
}
