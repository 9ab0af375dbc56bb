//! A proxy before a Redis that passes every answer on and eats every message of a subscription.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
};

/// What a message of a subscription begins with.
const MESSAGES: [&[u8]; 3] = [b"message", b"smessage", b"pmessage"];

/// A proxy whose clients subscribe and never hear anything.
#[derive(Debug)]
pub(crate) struct Deaf {
    port: u16,
    eaten: Arc<AtomicUsize>,
}

impl Deaf {
    /// A proxy before the Redis on this port.
    pub(crate) async fn before(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let eaten = Arc::new(AtomicUsize::new(0));
        let counter = eaten.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, target, counter.clone()));
            }
        });
        Deaf { port, eaten }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many messages were eaten.
    pub(crate) fn eaten(&self) -> usize {
        self.eaten.load(Ordering::SeqCst)
    }
}

async fn pass(client: TcpStream, target: u16, eaten: Arc<AtomicUsize>) {
    let target = SocketAddr::from(([127, 0, 0, 1], target));
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    // Small commands must not wait for each other.
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut asked, mut hearing) = client.into_split();
    let (answered, mut asking) = server.into_split();
    let answers = async {
        let mut answered = BufReader::new(answered);
        loop {
            let mut answer = Answer::default();
            if !answer.read(&mut answered).await {
                return;
            }
            if MESSAGES.contains(&answer.first.as_slice()) {
                eaten.fetch_add(1, Ordering::SeqCst);
            } else if hearing.write_all(&answer.bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = copy(&mut asked, &mut asking) => {}
        () = answers => {}
    }
}

/// One answer, byte for byte, and the first string in it.
#[derive(Default)]
struct Answer {
    bytes: Vec<u8>,
    first: Vec<u8>,
}

impl Answer {
    /// Reads a whole answer; false when there is none any more.
    async fn read(&mut self, from: &mut BufReader<OwnedReadHalf>) -> bool {
        let mut open = 1;
        while open > 0 {
            open -= 1;
            let start = self.bytes.len();
            if !matches!(from.read_until(b'\n', &mut self.bytes).await, Ok(1..)) {
                return false;
            }
            let line = self.bytes[start..].trim_ascii_end();
            let kind = line[0];
            let count: usize = std::str::from_utf8(&line[1..])
                .ok()
                .and_then(|count| count.parse().ok())
                // Nothing, or a value that stands on the line itself.
                .unwrap_or(0);
            match kind {
                b'*' | b'>' | b'~' => open += count,
                b'%' => open += 2 * count,
                b'$' | b'=' if line[1..] != *b"-1" => {
                    let text = self.bytes.len();
                    self.bytes.resize(text + count + 2, 0);
                    if from.read_exact(&mut self.bytes[text..]).await.is_err() {
                        return false;
                    }
                    if self.first.is_empty() {
                        self.first = self.bytes[text..text + count].to_vec();
                    }
                }
                _ => {}
            }
        }
        true
    }
}
