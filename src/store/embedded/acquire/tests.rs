use std::sync::Arc;

use tempfile::TempDir;

use super::{
    super::{begun::Begun, open, promise::Promise, submit::Prepared, vigil::Vigil},
    *,
};
use crate::{
    clock::ManualClock,
    model::{IdRange, Priority, Spec, Work},
    store::{Append, Capacity, Submission},
};

const NOW: Timestamp = Timestamp(1_000);
const LEASE: Duration = Duration::from_secs(15);

struct Desk {
    machine: Machine,
    promise: Promise,
    _home: TempDir,
}

impl Desk {
    fn new() -> Desk {
        let home = TempDir::new().unwrap();
        let (disk, promise) = open::open(home.path(), false).unwrap();
        let clock = Arc::new(ManualClock::new(NOW));
        let vigil = Vigil::new(home.path());
        let capacity = Capacity::default();
        let (begun, _) = Begun::open(home.path()).unwrap();
        Desk {
            machine: Machine::new(Arc::new(disk), vigil, begun, clock, capacity).unwrap(),
            promise,
            _home: home,
        }
    }

    /// Each task may cost as much as its batch may spend.
    fn submit(&mut self, number: u64, count: u32, cost: u32) -> Vec<TaskId> {
        let spec = Arc::new(Spec {
            work: Work::Prompt { text: "x".into() },
            custom_id: String::new(),
            model: String::new(),
            priority: Priority::Normal,
            timeout_ms: 1,
            deadline: NOW + LEASE,
            not_before: None,
            status_retention_ms: 2,
            result_retention_ms: 3,
            max_attempts: 4,
            labels: [].into(),
            retry_of: None,
            create_time: NOW,
            caching: None,
            stream: false,
            max_cost_micros: cost,
            validation_retries: None,
        });
        let submission = Submission {
            batch_id: BatchId::new(NOW, 0, number),
            append: Append::New,
            keep_open: false,
            ids: IdRange::new(NOW, 0, number << 32, count),
            budget: (cost > 0).then(|| spec.max_cost()),
            specs: vec![spec; count as usize],
            idempotency: None,
        };
        let accepted = self.machine.submit(Prepared::new(submission)).unwrap();
        accepted.ids.iter().collect()
    }

    fn acquire(&mut self, max: usize) -> Taken {
        self.machine.acquire(WorkerId(7), max, LEASE).unwrap()
    }

    /// Writes a group, and does `meanwhile` while it is on its way.
    fn write<T>(&mut self, meanwhile: impl FnOnce(&mut Desk) -> T) -> T {
        let flight = self.machine.take_off();
        let done = meanwhile(self);
        let disk = self.machine.disk.clone();
        let landing = flight.write(&disk, &mut self.promise).unwrap();
        landing.keep(&self.machine.recent);
        landing.end(&mut self.machine);
        done
    }
}

fn ids(taken: &Taken) -> Vec<TaskId> {
    taken.acquired.tasks.iter().map(|task| task.id).collect()
}

#[test]
fn a_worker_waits_only_where_what_it_was_given_is_not_known_to_be_queued() {
    let mut desk = Desk::new();
    let first = desk.submit(1, 3, 0);
    let taken = desk.acquire(1);
    assert_eq!((ids(&taken), taken.must_wait), (vec![first[0]], true));
    // On its way to the disk is not on it.
    let taken = desk.write(|desk| desk.acquire(1));
    assert_eq!((ids(&taken), taken.must_wait), (vec![first[1]], true));
    desk.submit(2, 1, 0);
    let taken = desk.acquire(1);
    assert_eq!((ids(&taken), taken.must_wait), (vec![first[2]], false));
    assert!(desk.acquire(1).must_wait, "that of the second batch");
}

#[test]
fn the_writer_is_told_once_of_what_nobody_waits_for() {
    let mut desk = Desk::new();
    desk.submit(1, 3, 0);
    desk.write(|_| ());
    assert!(desk.acquire(1).is_news);
    assert!(!desk.acquire(1).is_news);
    let taken = desk.write(|desk| desk.acquire(1));
    assert!(taken.is_news, "that of another group");
    desk.write(|_| ());
    assert!(!desk.acquire(1).is_news, "there was nothing to take");
}

#[test]
fn a_batch_that_is_held_back_by_an_acquire_is_so_on_disk_before_that_is_answered() {
    let mut desk = Desk::new();
    desk.submit(1, 2, 5);
    desk.write(|_| ());
    assert!(!desk.acquire(1).must_wait);
    desk.write(|_| ());
    let taken = desk.acquire(1);
    assert!(taken.acquired.tasks.is_empty());
    assert!(taken.must_wait && taken.is_news);
}

#[test]
fn what_is_on_its_way_is_read_as_it_will_be() {
    let mut desk = Desk::new();
    let ids = desk.submit(1, 1, 0);
    desk.write(|desk| {
        let task = desk.machine.task(ids[0]).unwrap().unwrap();
        assert_eq!(task.status(), Status::Queued);
        desk.acquire(1);
        let task = desk.machine.task(ids[0]).unwrap().unwrap();
        assert_eq!(task.status(), Status::Processing);
    });
    let task = desk.machine.task(ids[0]).unwrap().unwrap();
    assert_eq!(task.status(), Status::Processing);
    desk.write(|_| ());
    let batch = desk.machine.batch(task.batch_id).unwrap().unwrap();
    assert_eq!((batch.batch.counts.processing, batch.log_end), (1, 2));
}

#[test]
fn one_acquire_reads_no_more_from_disk_than_the_others_can_wait_for() {
    let mut desk = Desk::new();
    desk.submit(1, 300, 0);
    desk.write(|_| ());
    desk.machine.recent = Arc::default();
    let taken = desk.acquire(300);
    assert_eq!(taken.acquired.tasks.len(), MOST_READ);
    assert!(taken.acquired.more);
}
