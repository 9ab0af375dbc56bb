//! What prompts an acquire, where a store can tell which of it an acquire has seen already: a process hears of its own
//! submits as well, mostly when their tasks have long been started.

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Says when an acquire may find what none has looked for.
#[derive(Debug, Default)]
pub struct Prompts {
    state: Mutex<State>,
    told: Notify,
}

/// What is known when an acquire is sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// How often somebody said that there may be something.
    said: u64,
    /// The last announcement that there may be something.
    announced: u64,
    /// How often hints were lost: a store that has lost writes may give numbers anew.
    gaps: u64,
}

#[derive(Debug, Default)]
struct State {
    now: Look,
    /// An acquire that left nothing came after these.
    looked: Look,
}

impl Prompts {
    /// To be asked before an acquire is sent: it will see what was said until now.
    pub(super) fn look(&self) -> Look {
        self.state.lock().now
    }

    /// An acquire that was sent after `look` was answered when the store's last announcement had that number, and left
    /// nothing that could be started.
    pub(super) fn looked(&self, look: Look, number: u64) {
        let mut state = self.state.lock();
        let gaps = state.now.gaps;
        let looked = &mut state.looked;
        looked.said = looked.said.max(look.said);
        if look.gaps == gaps {
            looked.announced = looked.announced.max(look.announced).max(number);
        }
    }

    /// There may be something: a submit was sent.
    pub(super) fn say(&self) {
        self.change(|state| state.now.said += 1);
    }

    /// There may be something: hints were lost. Numbers from before count no more.
    pub(super) fn missed_some(&self) {
        self.change(|state| {
            state.now.said += 1;
            state.now.gaps += 1;
            (state.now.announced, state.looked.announced) = (0, 0);
        });
    }

    /// The announcement of this number says that there may be something.
    pub(super) fn announce(&self, number: u64) {
        self.change(|state| state.now.announced = state.now.announced.max(number));
    }

    /// Waits until there may be something that no acquire has looked for.
    pub async fn next(&self) {
        loop {
            let told = self.told.notified();
            if self.state.lock().is_due() {
                return;
            }
            told.await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        let is_due = state.is_due();
        drop(state);
        if is_due {
            self.told.notify_waiters();
        }
    }
}

impl State {
    fn is_due(&self) -> bool {
        self.now.said > self.looked.said || self.now.announced > self.looked.announced
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn is_due(prompts: &Prompts) -> bool {
        prompts.next().now_or_never().is_some()
    }

    #[test]
    fn what_an_acquire_came_after_prompts_no_other() {
        let prompts = Prompts::default();
        assert!(!is_due(&prompts));
        prompts.say();
        assert!(is_due(&prompts));
        // Until one was answered that left nothing.
        let look = prompts.look();
        assert!(is_due(&prompts));
        prompts.looked(look, 5);
        assert!(!is_due(&prompts));
        // What it saw is announced later.
        prompts.announce(5);
        assert!(!is_due(&prompts));
        prompts.announce(6);
        assert!(is_due(&prompts));
        // Heard before it was sent, so that it saw that as well.
        let look = prompts.look();
        prompts.looked(look, 0);
        assert!(!is_due(&prompts));
    }

    #[test]
    fn what_comes_while_an_acquire_is_under_way_prompts_another() {
        let prompts = Prompts::default();
        let look = prompts.look();
        prompts.say();
        prompts.looked(look, 9);
        assert!(is_due(&prompts));
        let look = prompts.look();
        prompts.announce(10);
        prompts.looked(look, 9);
        assert!(is_due(&prompts));
    }

    #[test]
    fn numbers_that_are_given_anew_prompt_acquires_again() {
        let prompts = Prompts::default();
        prompts.announce(9);
        prompts.looked(prompts.look(), 9);
        let before = prompts.look();
        prompts.missed_some();
        // It was sent before the gap, and counts by its time alone.
        prompts.looked(before, 9);
        prompts.looked(prompts.look(), 3);
        assert!(!is_due(&prompts));
        prompts.announce(4);
        assert!(is_due(&prompts), "it is not 9 that has to be passed");
    }

    #[tokio::test]
    async fn whoever_waits_is_told() {
        let prompts = Prompts::default();
        let waits = prompts.next();
        tokio::pin!(waits);
        assert!(waits.as_mut().now_or_never().is_none());
        prompts.announce(1);
        waits.await;
    }
}
