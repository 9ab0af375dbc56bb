//! Stands between a store and its Redis and keeps what the store sends.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::Fallible;

/// What each connection has sent so far.
type Kept = Arc<Mutex<Vec<Vec<u8>>>>;

/// A listener that passes everything on to a Redis.
#[derive(Debug)]
pub(super) struct Recorder {
    port: u16,
    kept: Kept,
    running: JoinHandle<()>,
}

impl Recorder {
    /// Listens on a free port.
    pub(super) async fn start(redis: u16) -> Fallible<Recorder> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let kept = Kept::default();
        let running = tokio::spawn(accept(listener, redis, kept.clone()));
        Ok(Recorder {
            port,
            kept,
            running,
        })
    }

    /// What the store has to connect to.
    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What each connection has sent.
    pub(super) fn recorded(&self) -> Vec<Vec<u8>> {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn accept(listener: TcpListener, redis: u16, kept: Kept) {
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect(("127.0.0.1", redis)).await else {
            return;
        };
        let place = {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push(Vec::new());
            kept.len() - 1
        };
        tokio::spawn(pass(client, server, place, kept.clone()));
    }
}

/// Both ways, until either side ends.
async fn pass(
    client: TcpStream,
    server: TcpStream,
    place: usize,
    kept: Kept,
) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut piece = vec![0; 1 << 16];
    loop {
        let length = from_client.read(&mut piece).await?;
        if length == 0 {
            break;
        }
        if let Some(all) = kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut(place)
        {
            all.extend_from_slice(&piece[..length]);
        }
        to_server.write_all(&piece[..length]).await?;
    }
    back.abort();
    Ok(())
}
