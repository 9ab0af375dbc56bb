//! Announcements of this process's own calls wait for the answers to those calls: whoever hears of a change is then told
//! it from what the answer left behind ([`Recent`](crate::store::Recent)), and need not read it.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{feed::Feed, message::Message};

/// Bytes of a call's name.
pub(super) const NAME_LEN: usize = 8;

/// Calls whose answers are awaited, and what was heard of them.
#[derive(Debug, Default)]
pub(super) struct Echoes(Mutex<HashMap<u64, Option<Message>>>);

impl Echoes {
    /// Keeps a message until the answer has come, if it is of a call that waits for one. Answers it otherwise.
    pub(super) fn hold(&self, message: Message) -> Option<Message> {
        match self.0.lock().entry(message.call) {
            Entry::Occupied(mut call) if call.get().is_none() => {
                call.insert(Some(message));
                None
            }
            _ => Some(message),
        }
    }
}

/// A call whose answer is awaited. What was heard of it is told when this is dropped, whether the answer came or not.
#[derive(Debug)]
pub(super) struct Expected {
    feed: Arc<Feed>,
    name: u64,
}

impl Expected {
    /// Gives a call a name. Should two processes ever give the same one, a hint comes a little later than it could.
    pub(super) fn new(feed: &Arc<Feed>) -> Self {
        // None is 0, which stands for calls that nobody waits for.
        let name = rand::random_range(1..=u64::MAX);
        feed.echoes.0.lock().insert(name, None);
        Expected {
            feed: feed.clone(),
            name,
        }
    }

    /// The name as an argument of a script.
    pub(super) fn name(&self) -> Vec<u8> {
        self.name.to_be_bytes().to_vec()
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        let heard = self.feed.echoes.0.lock().remove(&self.name);
        if let Some(message) = heard.flatten() {
            self.feed.pass_on(message);
        }
    }
}
