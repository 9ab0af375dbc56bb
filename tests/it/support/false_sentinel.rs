//! A Sentinel that names whichever server a test tells it to.

use std::sync::{
    Arc,
    atomic::{AtomicU16, AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::AbortOnDropHandle;

/// Answers the two questions of a client, and says OK to all else.
#[derive(Debug)]
pub(crate) struct FalseSentinel {
    port: u16,
    said: Arc<Said>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Said {
    primary: AtomicU16,
    epoch: AtomicU64,
}

impl FalseSentinel {
    /// One that names the server on this port, made primary by the failover of that number.
    pub(crate) async fn naming(primary: u16, epoch: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let said = Arc::new(Said {
            primary: primary.into(),
            epoch: epoch.into(),
        });
        let port = listener.local_addr().unwrap().port();
        let telling = said.clone();
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(answer(client, telling.clone()));
            }
        });
        FalseSentinel {
            port,
            said,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How to connect to the server that it names.
    pub(crate) fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/any", self.port)
    }

    /// From now on it names another server.
    pub(crate) fn name(&self, primary: u16) {
        self.said.primary.store(primary, Ordering::Release);
        self.said.epoch.fetch_add(1, Ordering::AcqRel);
    }
}

/// Commands come whole here: they are short, and each pipeline is written at once.
async fn answer(mut client: TcpStream, said: Arc<Said>) {
    let mut buffer = vec![0; 4_096];
    while let Ok(read @ 1..) = client.read(&mut buffer).await {
        let text = String::from_utf8_lossy(&buffer[..read]).to_lowercase();
        let port = said.primary.load(Ordering::Acquire).to_string();
        let epoch = said.epoch.load(Ordering::Acquire).to_string();
        let mut reply = String::new();
        // Each command begins with how many words it has.
        for command in text.split('*').skip(1) {
            if command.contains("get-master-addr-by-name") {
                reply += &words(&["127.0.0.1", &port]);
            } else if command.contains("master") {
                reply += &words(&["port", &port, "config-epoch", &epoch]);
            } else {
                reply += "+OK\r\n";
            }
        }
        if client.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn words(words: &[&str]) -> String {
    let bulk = words
        .iter()
        .map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", words.len(), bulk.collect::<String>())
}
