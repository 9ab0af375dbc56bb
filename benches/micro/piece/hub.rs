//! The fan-out: one change, and those of ten thousand watchers whom it concerns.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures::{Stream, future::join_all};
use tidings::{
    model::Task,
    watch::{
        Error, Hub, Resume,
        task::{Event, watch},
    },
};
use tokio_util::sync::CancellationToken;

use crate::{
    round::{Round, Rounds},
    world::{TASKS, World, succeeded},
};

/// Open watches, each of a task of its own.
const PLACES: u32 = 10_000;
/// Tasks of one change.
const ROUND: usize = TASKS as usize;

pub(super) fn woken() -> Rounds {
    let mut fan = Rc::new(RefCell::new(Fan::new()));
    Box::new(move || {
        if fan.borrow().running.len() < ROUND {
            fan = Rc::new(RefCell::new(Fan::new()));
        }
        fan.borrow_mut().happen();
        let fan = fan.clone();
        Round::new(move || fan.borrow_mut().hear())
    })
}

type Watcher = Pin<Box<dyn Stream<Item = Result<Event, Error>>>>;

/// A hub, and who waits on it.
struct Fan {
    hearing: Pin<Box<dyn Future<Output = ()>>>,
    woken: Arc<Woken>,
    /// Tasks that are still under way.
    running: Vec<Task>,
    _watchers: Vec<Watcher>,
    world: World,
}

impl Fan {
    fn new() -> Self {
        let world = World::new(PLACES);
        let running = world.acquire();
        let woken = Arc::new(Woken::default());
        let inside = world.runtime.enter();
        let hub = Hub::new(world.store.clone(), CancellationToken::new());
        let hearing = hub.clone().run(CancellationToken::new());
        let watches = world
            .tasks
            .iter()
            .map(|id| watch(hub.clone(), *id, Resume::default()));
        let watchers = world.runtime.block_on(join_all(watches)).into_iter();
        let watchers =
            watchers.map(|watcher| -> Watcher { Box::pin(watcher.expect("it is there")) });
        let mut watchers: Vec<Watcher> = watchers.collect();
        let waker = Waker::from(woken.clone());
        for watcher in &mut watchers {
            wait(watcher, &mut Context::from_waker(&waker));
        }
        drop(inside);
        Fan {
            hearing: Box::pin(hearing),
            woken,
            running,
            _watchers: watchers,
            world,
        }
    }

    /// Some tasks are answered.
    fn happen(&mut self) {
        let answered = self.running.drain(..ROUND).collect();
        self.world.commit(answered, &succeeded());
    }

    /// The hub hears of it. Answers how many that has woken.
    fn hear(&mut self) -> u64 {
        let before = self.woken.0.load(Ordering::Relaxed);
        let mut context = Context::from_waker(Waker::noop());
        assert!(self.hearing.as_mut().poll(&mut context).is_pending());
        self.woken.0.load(Ordering::Relaxed) - before
    }
}

/// Has a watcher hear what there is, and wait.
fn wait(watcher: &mut Watcher, context: &mut Context<'_>) {
    while let Poll::Ready(event) = watcher.as_mut().poll_next(context) {
        assert!(matches!(event, Some(Ok(_))), "a task under way has no end");
    }
}

/// Counts who is woken.
#[derive(Debug, Default)]
struct Woken(AtomicU64);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
