//! A proxy for any TCP server: connections break the way networks break them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rand::{Rng, seq::IteratorRandom as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy, sink},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    time::timeout,
};

/// A server that has carried a request out answers within this.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What becomes of a connection that is open when it is said; later ones are whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Passed on both ways.
    Whole,
    /// Nothing is passed on any more, and nobody is told.
    Swallowed,
    /// What the client says arrives, what the server answers does not.
    Muted,
    /// Closed.
    Cut,
    /// Closed with a TCP RST.
    Reset,
    /// Closed in the middle of what the server says next.
    Torn,
}

/// What an [`Inspector`] makes of bytes from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They are passed on.
    Pass,
    /// They are passed on, the answer is not, and the connection is closed.
    LoseAnswer,
}

/// Looks at whatever clients say, as it was read from the socket.
pub(crate) type Inspector = Arc<dyn Fn(&[u8]) -> Verdict + Send + Sync>;

/// Passes bytes on to a server on this machine until it is told not to.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    target: AtomicU16,
    inspector: Inspector,
    open: Mutex<BTreeMap<u64, watch::Sender<Fate>>>,
}

impl Proxy {
    /// A proxy before the server on this port.
    pub(crate) async fn before(target: u16) -> Self {
        Self::inspecting(target, Arc::new(|_| Verdict::Pass)).await
    }

    /// A proxy that looks at what clients say.
    pub(crate) async fn inspecting(target: u16, inspector: Inspector) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            target: AtomicU16::new(target),
            inspector,
            open: Mutex::default(),
        });
        // Ends with the test's runtime, or with the proxy.
        let weak = Arc::downgrade(&shared);
        tokio::spawn(async move {
            let mut number = 0;
            while let Ok((client, _)) = listener.accept().await {
                let Some(shared) = weak.upgrade() else { return };
                number += 1;
                let (fate, told) = watch::channel(Fate::Whole);
                shared.open.lock().insert(number, fate);
                let (target, look) = (
                    shared.target.load(Ordering::SeqCst),
                    shared.inspector.clone(),
                );
                let weak = weak.clone();
                tokio::spawn(async move {
                    pass(client, target, look, told).await;
                    if let Some(shared) = weak.upgrade() {
                        shared.open.lock().remove(&number);
                    }
                });
            }
        });
        Proxy { port, shared }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Later connections go to this port.
    pub(crate) fn aim(&self, target: u16) {
        self.shared.target.store(target, Ordering::SeqCst);
    }

    /// From now on the present connections are black holes.
    pub(crate) fn swallow(&self) {
        self.meet(Fate::Swallowed);
    }

    /// From now on the present connections deliver what the client says and lose what the server answers.
    pub(crate) fn mute(&self) {
        self.meet(Fate::Muted);
    }

    /// Closes the present connections.
    pub(crate) fn cut(&self) {
        self.meet(Fate::Cut);
    }

    /// Every present connection meets this fate; says how many.
    pub(crate) fn meet(&self, fate: Fate) -> usize {
        let open = self.shared.open.lock();
        for connection in open.values() {
            connection.send_replace(fate);
        }
        open.len()
    }

    /// One present connection that was whole meets this fate; says whether there was one.
    pub(crate) fn meet_one(&self, fate: Fate, rng: &mut impl Rng) -> bool {
        let open = self.shared.open.lock();
        let whole = open
            .values()
            .filter(|connection| *connection.borrow() == Fate::Whole);
        let chosen = whole.choose(rng);
        chosen.is_some_and(|connection| connection.send(fate).is_ok())
    }
}

async fn pass(
    mut client: TcpStream,
    target: u16,
    look: Inspector,
    mut told: watch::Receiver<Fate>,
) {
    let target = SocketAddr::from(([127, 0, 0, 1], target));
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    // Whoever looks for a delay is to find that of the servers.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let mut fate = *told.borrow_and_update();
    loop {
        let passing = suffer(fate, &mut client, &mut server, &look);
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

async fn suffer(fate: Fate, client: &mut TcpStream, server: &mut TcpStream, look: &Inspector) {
    match fate {
        Fate::Whole => whole(client, server, look).await,
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
        // Closing a socket that does not linger sends a reset.
        Fate::Reset => drop((client.set_zero_linger(), server.set_zero_linger())),
        Fate::Torn => tear(client, server).await,
    }
}

async fn whole(client: &mut TcpStream, server: &mut TcpStream, look: &Inspector) {
    let (asked, mut answering) = client.split();
    let (mut answered, asking) = server.split();
    let told = async {
        let _ = copy(&mut answered, &mut answering).await;
        let _ = answering.shutdown().await;
    };
    let verdict = tokio::select! {
        // An answer to what was just passed on must not slip through.
        biased;
        verdict = ask(asked, asking, look) => verdict,
        () = told => return,
    };
    if verdict == Verdict::LoseAnswer {
        let mut lost = [0; 64 * 1024];
        let _ = timeout(ANSWER_WITHIN, server.read(&mut lost)).await;
    }
}

/// Passes on what the client says, until it is to get no answer or has gone.
async fn ask(
    mut asked: tcp::ReadHalf<'_>,
    mut asking: tcp::WriteHalf<'_>,
    look: &Inspector,
) -> Verdict {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = asked.read(&mut bytes).await {
        let verdict = look(&bytes[..read]);
        if asking.write_all(&bytes[..read]).await.is_err() {
            return Verdict::Pass;
        }
        if verdict == Verdict::LoseAnswer {
            return verdict;
        }
    }
    Verdict::Pass
}

/// Passes on the first half of what the server says next.
async fn tear(client: &mut TcpStream, server: &mut TcpStream) {
    let (mut asked, mut answering) = client.split();
    let (mut answered, mut asking) = server.split();
    let mut bytes = [0; 64 * 1024];
    let torn = async {
        if let Ok(read) = answered.read(&mut bytes).await {
            let _ = answering.write_all(&bytes[..read / 2]).await;
        }
    };
    tokio::select! {
        () = torn => {}
        _ = copy(&mut asked, &mut asking) => {}
    }
}
