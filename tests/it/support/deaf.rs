//! A proxy for a Redis that loses what is announced, and nothing else.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};

/// Passes everything on, but messages of subscriptions only for as long as it hears.
#[derive(Debug)]
pub(crate) struct DeafProxy {
    port: u16,
    ears: Arc<Ears>,
}

#[derive(Debug, Default)]
struct Ears {
    are_shut: AtomicBool,
    lost: AtomicUsize,
}

impl DeafProxy {
    /// A proxy before the server on this port.
    pub(crate) async fn before(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let ears = Arc::new(Ears::default());
        let hearing = ears.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, target, hearing.clone()));
            }
        });
        DeafProxy { port, ears }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on messages are lost.
    pub(crate) fn shut(&self) {
        self.ears.are_shut.store(true, Ordering::Release);
    }

    /// How often something was lost.
    pub(crate) fn lost(&self) -> usize {
        self.ears.lost.load(Ordering::Acquire)
    }
}

async fn pass(client: TcpStream, target: u16, ears: Arc<Ears>) {
    let target = SocketAddr::from(([127, 0, 0, 1], target));
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (mut asked, mut answering) = client.into_split();
    let (mut answered, mut asking) = server.into_split();
    let answers = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = answered.read(&mut buffer).await {
            let part = &buffer[..read];
            let is_push = part.starts_with(b">3\r\n$7\r\nmessage")
                || part.starts_with(b">3\r\n$8\r\nsmessage");
            if is_push && ears.are_shut.load(Ordering::Acquire) {
                ears.lost.fetch_add(1, Ordering::AcqRel);
            } else if answering.write_all(part).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = copy(&mut asked, &mut asking) => {}
        () = answers => {}
    }
}
