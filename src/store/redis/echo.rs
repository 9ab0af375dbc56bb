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

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;
    use crate::{
        model::BatchId,
        store::{
            Change,
            redis::{clock::StoreClock, dial::Common, ledger::Ledger},
        },
    };

    fn feed() -> Arc<Feed> {
        Arc::new(Feed::new(Arc::new(Common {
            partitions: 1,
            allow_eviction: false,
            ledger: Ledger::new(1),
            clock: StoreClock::default(),
            cluster: false,
            wait: None,
        })))
    }

    /// An announcement of that call, of another batch each.
    fn hear(feed: &Feed, seq: u64, call: &[u8]) {
        let batch = BatchId::new(crate::clock::Timestamp(1), 0, seq);
        let mut payload = vec![0; 4];
        payload.extend(seq.to_be_bytes());
        payload.extend(call);
        payload.extend([3, 0, 0, 0, 1]);
        payload.extend(batch.as_bytes());
        feed.hear_message(b"{td:0}:ev", &payload);
    }

    #[test]
    fn what_is_heard_of_a_call_is_told_once_it_is_answered_or_given_up() {
        let feed = feed();
        feed.stands_at(0, 0);
        let mut changes = feed.listen();
        let call = Expected::new(&feed);
        let name = call.name();
        hear(&feed, 1, &name);
        assert!(matches!(changes.try_recv(), Err(TryRecvError::Empty)));
        // Others go past it.
        hear(&feed, 2, &[0; NAME_LEN]);
        assert!(matches!(changes.try_recv(), Ok(Change::Amended(_))));
        drop(call);
        assert!(matches!(changes.try_recv(), Ok(Change::Amended(_))));
        // A call that was made twice is heard twice.
        hear(&feed, 3, &name);
        assert!(matches!(changes.try_recv(), Ok(Change::Amended(_))));
        assert!(matches!(changes.try_recv(), Err(TryRecvError::Empty)));
        assert!(feed.echoes.0.lock().is_empty());
    }
}
