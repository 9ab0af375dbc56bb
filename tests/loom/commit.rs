//! The group commit: nobody is answered before the write that holds their change, everybody is answered once, and
//! nothing is acknowledged once a write has failed.

use std::{collections::VecDeque, time::Duration};

use loom::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

#[path = "../../src/store/embedded/group.rs"]
mod group;

use group::{Ledger, Line, serve};

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Written,
    Failed,
    /// The writer went without an answer.
    Gone,
}

/// Where one caller waits.
#[derive(Default)]
struct Place {
    told: Mutex<Vec<Told>>,
    filled: Condvar,
}

impl Place {
    fn wait(&self) -> Vec<Told> {
        let mut told = self.told.lock().unwrap();
        while told.is_empty() {
            told = self.filled.wait(told).unwrap();
        }
        told.clone()
    }
}

/// The writer's end of a place.
struct Reply {
    place: Arc<Place>,
    is_told: bool,
}

impl Reply {
    fn tell(&mut self, what: Told) {
        self.is_told = true;
        self.place.told.lock().unwrap().push(what);
        self.place.filled.notify_one();
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.is_told {
            self.tell(Told::Gone);
        }
    }
}

/// Sets one bit.
struct Request {
    bit: usize,
    /// None where nobody waits.
    reply: Option<Reply>,
}

/// The line, between the callers and the writer.
#[derive(Default)]
struct Queue {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    callers: usize,
    is_closed: bool,
}

/// A caller's end.
struct Sender(Arc<Queue>);

impl Sender {
    fn new(queue: &Arc<Queue>) -> Sender {
        queue.state.lock().unwrap().callers += 1;
        Sender(queue.clone())
    }

    /// Drops the request when the writer has gone.
    fn send(&self, request: Request) {
        let mut state = self.0.state.lock().unwrap();
        if state.is_closed {
            drop(state);
            drop(request);
            return;
        }
        state.requests.push_back(request);
        self.0.changed.notify_one();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().callers -= 1;
        self.0.changed.notify_one();
    }
}

/// The writer's end.
struct Requests(Arc<Queue>);

impl Line for Requests {
    type Request = Request;

    fn next(&mut self) -> Option<Request> {
        let mut state = self.0.state.lock().unwrap();
        while state.requests.is_empty() && state.callers > 0 {
            state = self.0.changed.wait(state).unwrap();
        }
        state.requests.pop_front()
    }

    fn waiting(&mut self) -> Option<Request> {
        self.0.state.lock().unwrap().requests.pop_front()
    }

    /// The time is always over at once: what came in it comes next.
    fn soon(&mut self, _time: Duration) -> Option<Request> {
        self.waiting()
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap();
        state.is_closed = true;
        let left = std::mem::take(&mut state.requests);
        drop(state);
        drop(left);
    }
}

/// What the device holds for certain, and whether it has failed.
#[derive(Default)]
struct Device {
    synced: AtomicUsize,
    has_failed: AtomicBool,
}

/// Bits in memory over a device that fails at its `fails_at`th write.
struct Bits {
    memory: usize,
    writes: usize,
    fails_at: usize,
    device: Arc<Device>,
}

impl Ledger for Bits {
    type Request = Request;
    type Answer = Reply;
    type Failure = ();

    fn apply(&mut self, request: Request) -> Option<Reply> {
        self.memory |= request.bit;
        request.reply
    }

    fn write(&mut self) -> Result<(), ()> {
        let has_failed = self.device.has_failed.load(Ordering::Acquire);
        assert!(!has_failed, "a failed device is written to again");
        self.writes += 1;
        if self.writes == self.fails_at {
            self.device.has_failed.store(true, Ordering::Release);
            return Err(());
        }
        self.device.synced.store(self.memory, Ordering::Release);
        Ok(())
    }

    fn announce(&mut self) {
        let synced = self.device.synced.load(Ordering::Acquire);
        assert_eq!(synced, self.memory, "announced before it was written");
    }

    fn answer(&mut self, mut reply: Reply, written: Result<(), &()>) {
        reply.tell(match written {
            Ok(()) => Told::Written,
            Err(()) => Told::Failed,
        });
    }
}

/// Asks once, and checks at once what the answer promises. Answers what was told.
fn ask(requests: &Sender, device: &Device, bit: usize) -> Told {
    let had_failed = device.has_failed.load(Ordering::Acquire);
    let place = Arc::new(Place::default());
    let reply = Reply {
        place: place.clone(),
        is_told: false,
    };
    let reply = Some(reply);
    requests.send(Request { bit, reply });
    let told = place.wait();
    let is_synced = device.synced.load(Ordering::Acquire) & bit != 0;
    match told[..] {
        [Told::Written] => assert!(is_synced && !had_failed),
        [_] => assert!(!is_synced),
        _ => panic!("told {told:?}"),
    }
    told[0]
}

/// Callers that each ask `times` times, on a device that fails at its `fails_at`th write.
fn ask_all(callers: usize, times: usize, fails_at: usize) {
    crate::explore(2, move || {
        let queue = Arc::new(Queue::default());
        let device = Arc::new(Device::default());
        // All are there before the writer looks whether any is.
        let senders: Vec<Sender> = (0..callers).map(|_| Sender::new(&queue)).collect();
        let writer = {
            let (device, mut requests) = (device.clone(), Requests(queue.clone()));
            thread::spawn(move || {
                let mut bits = Bits {
                    memory: 0,
                    writes: 0,
                    fails_at,
                    device,
                };
                serve(&mut requests, &mut bits).is_err()
            })
        };
        let callers: Vec<_> = senders
            .into_iter()
            .enumerate()
            .map(|(caller, sender)| {
                let device = device.clone();
                let bits = (caller * times..(caller + 1) * times).map(|bit| 1 << bit);
                thread::spawn(move || -> Vec<Told> {
                    bits.map(|bit| ask(&sender, &device, bit)).collect()
                })
            })
            .collect();
        let told: Vec<Vec<Told>> = callers.into_iter().map(|it| it.join().unwrap()).collect();
        let failed = writer.join().unwrap();
        let all = |told: Told| move |it: &Vec<Told>| it.iter().all(|it| *it == told);
        if !failed {
            assert!(told.iter().all(all(Told::Written)), "{told:?}");
        }
        for told in &told {
            let after = told.iter().skip_while(|it| **it == Told::Written);
            assert!(after.into_iter().all(|it| *it != Told::Written), "{told:?}");
        }
    });
}

#[test]
fn callers_are_answered_once_and_after_their_write() {
    ask_all(2, 1, usize::MAX);
    ask_all(1, 2, usize::MAX);
}

#[test]
fn nothing_is_acknowledged_once_a_write_has_failed() {
    ask_all(2, 1, 1);
    ask_all(2, 1, 2);
    ask_all(1, 2, 2);
}

/// Beside a caller who waits, before or after it.
#[test]
fn what_nobody_waits_for_is_written_too() {
    crate::explore(2, || {
        let queue = Arc::new(Queue::default());
        let device = Arc::new(Device::default());
        let senders = [Sender::new(&queue), Sender::new(&queue)];
        let writer = {
            let (device, mut requests) = (device.clone(), Requests(queue.clone()));
            thread::spawn(move || {
                let mut bits = Bits {
                    memory: 0,
                    writes: 0,
                    fails_at: usize::MAX,
                    device,
                };
                serve(&mut requests, &mut bits).unwrap();
            })
        };
        let [silent, asks] = senders;
        let silent = thread::spawn(move || {
            silent.send(Request {
                bit: 1,
                reply: None,
            });
        });
        assert_eq!(ask(&asks, &device, 2), Told::Written);
        drop(asks);
        silent.join().unwrap();
        writer.join().unwrap();
        assert_eq!(device.synced.load(Ordering::Acquire), 3);
    });
}
