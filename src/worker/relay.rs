//! Passes on what running tasks put out, as it comes: at once where nothing is under way, else with the next call.
//! Whoever speaks never waits, and what cannot be passed on comes with the result.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{backoff::Backoff, lane::Lanes};
use crate::{
    model::{
        Fence, Task, TaskId,
        task::{PARTIAL_MAX, beginning},
    },
    store::{Extension, OUTPUT_MAX, Store},
    upstream::Listener,
};

/// Bounds one call's size, together with [`MAX_BYTES`].
const MAX_BATCH: usize = 256;
/// Bytes that one call carries.
const MAX_BYTES: usize = 1 << 20;
/// Text that comes faster is passed on in larger pieces.
const INTERVAL: Duration = Duration::from_millis(50);

/// Makes the ears of running tasks; clones share the loops.
#[derive(Clone, Debug)]
pub(super) struct Relay(Lanes<Weak<Speech>>);

impl Relay {
    /// A relay whose lanes lead to [`run`].
    pub(super) fn new(lanes: Lanes<Weak<Speech>>) -> Self {
        Relay(lanes)
    }

    /// What hears the present attempt of a task, and lets it be remembered. Once it is dropped nothing more is passed on.
    pub(super) fn ear(&self, task: &Task, memory: &Memory) -> Arc<dyn Listener> {
        Arc::new(Ear {
            memory: memory.clone(),
            speech: Arc::new(Speech {
                id: task.id,
                fence: task.fence(),
                state: Mutex::default(),
            }),
            lanes: self.0.clone(),
        })
    }
}

/// What the last send of an attempt has put out, as far as it is kept where no answer comes of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(Arc<Mutex<String>>);

impl Memory {
    fn hear(&self, text: &str) {
        let mut heard = self.0.lock();
        if heard.len() < PARTIAL_MAX {
            heard.push_str(text);
        }
    }

    /// This is what was put out, in place of what was heard.
    pub(super) fn replace(&self, text: &str) {
        let mut heard = self.0.lock();
        heard.clear();
        heard.push_str(beginning(text, PARTIAL_MAX));
    }

    /// Whatever was heard, once.
    pub(super) fn take(&self) -> String {
        std::mem::take(&mut self.0.lock())
    }
}

/// Hears one attempt.
struct Ear {
    memory: Memory,
    speech: Arc<Speech>,
    lanes: Lanes<Weak<Speech>>,
}

impl Listener for Ear {
    fn begin(&self) {
        self.memory.take();
        self.speech.begin();
    }

    fn hear(&self, text: &str) {
        self.memory.hear(text);
        if self.speech.hear(text) {
            self.lanes
                .send(self.speech.id, Arc::downgrade(&self.speech));
        }
    }
}

/// What one attempt puts out.
#[derive(Debug)]
pub(super) struct Speech {
    id: TaskId,
    fence: Fence,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes passed on.
    passed: usize,
    /// What follows them.
    waiting: String,
    /// It stands in a lane.
    is_queued: bool,
    /// Nothing more is passed on.
    is_over: bool,
}

impl Speech {
    /// An answer begins. What an earlier one said cannot be taken back: of this one only the result tells then.
    fn begin(&self) {
        let mut state = self.state.lock();
        state.is_over |= state.passed > 0 || !state.waiting.is_empty();
    }

    /// Takes note of text; true when the speech has to be put into its lane for it.
    fn hear(&self, text: &str) -> bool {
        let mut state = self.state.lock();
        if state.is_over || text.is_empty() {
            return false;
        }
        if state.passed + state.waiting.len() + text.len() > OUTPUT_MAX {
            // A watcher that misses a piece must not get the next.
            state.is_over = true;
            return false;
        }
        state.waiting.push_str(text);
        !std::mem::replace(&mut state.is_queued, true)
    }

    /// What is to be passed on now.
    fn extension(&self) -> Option<Extension> {
        let state = self.state.lock();
        (!state.waiting.is_empty()).then(|| Extension {
            id: self.id,
            fence: self.fence,
            offset: state.passed as u64,
            text: state.waiting.clone(),
        })
    }

    /// So many bytes were passed on, or none ever will be. True when more has come meanwhile.
    fn passed(&self, bytes: usize, taken: bool) -> bool {
        let mut state = self.state.lock();
        state.waiting.drain(..bytes);
        state.passed += bytes;
        if !taken {
            state.is_over = true;
            state.waiting = String::new();
        }
        state.is_queued = !state.waiting.is_empty();
        state.is_queued
    }
}

/// Passes on until every relay and every ear is gone.
pub(super) async fn run(store: Arc<dyn Store>, mut queue: mpsc::UnboundedReceiver<Weak<Speech>>) {
    let mut queued = Vec::with_capacity(MAX_BATCH);
    let mut backoff = Backoff::default();
    while !queued.is_empty() || queue.recv_many(&mut queued, MAX_BATCH).await > 0 {
        let next = Instant::now() + INTERVAL;
        match pass_on(store.as_ref(), &mut queued).await {
            true => {
                backoff.reset();
                sleep_until(next).await;
            }
            false => backoff.pause().await,
        }
        // Those that wait already do not keep others waiting.
        while queued.len() < MAX_BATCH
            && let Ok(speech) = queue.try_recv()
        {
            queued.push(speech);
        }
    }
}

/// Passes on what those in `queued` have to say; leaves there who has more. False when the store is away.
async fn pass_on(store: &dyn Store, queued: &mut Vec<Weak<Speech>>) -> bool {
    let (mut speeches, mut extensions, mut bytes) = (Vec::new(), Vec::new(), 0);
    queued.retain(|speech| {
        // An attempt that has ended is told by its outcome.
        let Some(speech) = speech.upgrade() else {
            return false;
        };
        if bytes >= MAX_BYTES {
            return true;
        }
        let Some(extension) = speech.extension() else {
            return false;
        };
        bytes += extension.text.len();
        speeches.push(Arc::downgrade(&speech));
        extensions.push(extension);
        false
    });
    if extensions.is_empty() {
        return true;
    }
    let answer = store.extend(&extensions).await;
    let is_there = answer.is_ok();
    let passed = answer.unwrap_or_else(|error| {
        tracing::debug!(%error, tasks = extensions.len(), "output could not be passed on");
        Vec::new()
    });
    for (index, (weak, extension)) in speeches.into_iter().zip(extensions).enumerate() {
        let speaks_on = match (passed.get(index), weak.upgrade()) {
            (Some(taken), Some(speech)) => speech.passed(extension.text.len(), *taken),
            // Told again with the same place, it is taken once.
            (None, _) => true,
            (_, None) => false,
        };
        if speaks_on {
            queued.push(weak);
        }
    }
    is_there
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, model::IdRange};

    fn speech() -> Speech {
        Speech {
            id: IdRange::new(Timestamp(1), 0, 1, 1).first,
            fence: Fence {
                epoch: 1,
                revision: 2,
            },
            state: Mutex::default(),
        }
    }

    fn piece(speech: &Speech) -> Option<(u64, String)> {
        let extension = speech.extension()?;
        Some((extension.offset, extension.text))
    }

    #[test]
    fn what_comes_while_a_piece_is_under_way_goes_with_the_next() {
        let speech = speech();
        assert!(speech.hear("a"));
        assert!(!speech.hear("b"), "it is queued already");
        assert_eq!(piece(&speech), Some((0, "ab".into())));
        assert!(!speech.hear("c"));
        assert!(speech.passed(2, true));
        assert_eq!(piece(&speech), Some((2, "c".into())));
        assert!(!speech.passed(1, true));
        assert_eq!(piece(&speech), None);
        assert!(speech.hear("d"), "it has to be queued again");
        assert_eq!(piece(&speech), Some((3, "d".into())));
    }

    #[test]
    fn nothing_follows_a_piece_that_was_not_taken_or_cannot_be_joined() {
        let refused = speech();
        refused.hear("a");
        assert!(!refused.passed(1, false));
        assert!(!refused.hear("b"));
        assert_eq!(piece(&refused), None);

        let again = speech();
        again.begin();
        assert!(again.hear("a"));
        // What was passed on cannot be taken back.
        again.begin();
        assert!(!again.hear("b"));
        assert_eq!(piece(&again), Some((0, "a".into())));
        assert!(!again.passed(1, true));
        assert!(!again.hear("c"));

        let full = speech();
        assert!(full.hear(&"x".repeat(OUTPUT_MAX)));
        assert!(!full.hear("y"));
        assert!(!full.passed(OUTPUT_MAX, true));
        assert!(!full.hear("z"));
        assert_eq!(piece(&full), None);
    }
}
