//! An upstream whose every answer is a stream that the test dictates.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::upstream::ANY_PORT;

const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

/// The upstream.
#[derive(Clone, Debug)]
pub(crate) struct Teller {
    pub(crate) base_url: String,
    calls: Arc<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    /// What is to be sent by each call, in the order they came; the end of it closes the connection.
    open: Mutex<Vec<Option<mpsc::UnboundedSender<String>>>>,
    /// When callers hung up.
    hung_up: Mutex<Vec<Instant>>,
}

impl Teller {
    pub(crate) async fn start() -> Teller {
        let listener = TcpListener::bind(ANY_PORT).await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let calls = Arc::<Calls>::default();
        let accepting = calls.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, accepting.clone()));
            }
        });
        Teller { base_url, calls }
    }

    /// Calls that have come.
    pub(crate) fn calls(&self) -> usize {
        self.calls.open.lock().len()
    }

    /// Calls whose callers hung up before the end.
    pub(crate) fn hung_up(&self) -> usize {
        self.calls.hung_up.lock().len()
    }

    /// How long after `start` so many of a hundred had hung up, of those who have.
    pub(crate) fn hung_up_after(&self, start: Instant, percent: usize) -> Duration {
        let mut times = self.calls.hung_up.lock().clone();
        times.sort_unstable();
        times[(times.len() * percent).div_ceil(100) - 1] - start
    }

    /// The answer to a call goes on.
    pub(crate) fn say(&self, call: usize, text: &str) {
        let delta = json!([{"index": 0, "delta": {"content": text}, "finish_reason": null}]);
        self.send(
            call,
            &json!({"model": "told", "choices": delta}).to_string(),
        );
    }

    /// The answer to a call is whole.
    pub(crate) fn end(&self, call: usize) {
        let stop = json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]);
        self.send(call, &json!({"choices": stop}).to_string());
        self.send(call, "[DONE]");
        self.cut(call);
    }

    /// The answer to a call breaks off.
    pub(crate) fn cut(&self, call: usize) {
        self.calls.open.lock()[call] = None;
    }

    /// The answer to a call goes on with an event of this data.
    pub(crate) fn send(&self, call: usize, data: &str) {
        let open = self.calls.open.lock();
        // The caller may be gone already, which is its affair.
        let _ = open[call]
            .as_ref()
            .unwrap()
            .send(format!("data: {data}\n\n"));
    }
}

async fn answer(mut stream: TcpStream, calls: Arc<Calls>) {
    let mut request = vec![0; 64 << 10];
    if !matches!(stream.read(&mut request).await, Ok(1..)) {
        return;
    }
    stream.write_all(HEAD).await.unwrap();
    let (pieces, mut told) = mpsc::unbounded_channel::<String>();
    calls.open.lock().push(Some(pieces));
    loop {
        tokio::select! {
            piece = told.recv() => match piece {
                Some(piece) => {
                    if stream.write_all(piece.as_bytes()).await.is_err() {
                        break;
                    }
                }
                None => return,
            },
            // The rest of a long request, or the caller hangs up.
            read = stream.read(&mut request) => if !matches!(read, Ok(1..)) {
                break;
            },
        }
    }
    calls.hung_up.lock().push(Instant::now());
}
