//! A proxy for any TCP server: connections break the way networks break them.

use std::net::SocketAddr;

use tokio::{
    io::{copy, copy_bidirectional, sink},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What becomes of the connections that are open when it is said; later ones are whole.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Passed on both ways.
    Whole,
    /// Nothing is passed on any more, and nobody is told.
    Swallowed,
    /// What the client says arrives, what the server answers does not.
    Muted,
    /// Closed.
    Cut,
}

/// Passes bytes on to a server on this machine until it is told not to.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    fate: watch::Sender<Fate>,
}

impl Proxy {
    /// A proxy before the server on this port.
    pub(crate) async fn before(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (fate, told) = watch::channel(Fate::Whole);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut told = told.clone();
                told.mark_unchanged();
                tokio::spawn(pass(client, target, told));
            }
        });
        Proxy { port, fate }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on the present connections are black holes.
    pub(crate) fn swallow(&self) {
        self.fate.send_replace(Fate::Swallowed);
    }

    /// From now on the present connections deliver what the client says and lose what the server answers.
    pub(crate) fn mute(&self) {
        self.fate.send_replace(Fate::Muted);
    }

    /// Closes the present connections.
    pub(crate) fn cut(&self) {
        self.fate.send_replace(Fate::Cut);
    }
}

async fn pass(mut client: TcpStream, target: u16, mut told: watch::Receiver<Fate>) {
    let target = SocketAddr::from(([127, 0, 0, 1], target));
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    let mut fate = Fate::Whole;
    loop {
        let passing = async {
            match fate {
                Fate::Whole => drop(copy_bidirectional(&mut client, &mut server).await),
                Fate::Swallowed => std::future::pending().await,
                Fate::Muted => {
                    let (mut asked, _) = client.split();
                    let (mut answered, mut asking) = server.split();
                    let mut lost = sink();
                    tokio::select! {
                        _ = copy(&mut asked, &mut asking) => {}
                        _ = copy(&mut answered, &mut lost) => {}
                    }
                }
                Fate::Cut => {}
            }
        };
        tokio::select! {
            // What is said after the fate was told is subject to it.
            biased;
            changed = told.changed() => match changed {
                Ok(()) => fate = *told.borrow_and_update(),
                // The test is over.
                Err(_) => return,
            },
            () = passing => return,
        }
    }
}
