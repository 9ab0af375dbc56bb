use std::sync::Arc;

use tempfile::TempDir;

use super::{
    super::{begun::Begun, open, promise::Promise, submit::Prepared, vigil::Vigil},
    *,
};
use crate::{
    clock::ManualClock,
    model::{IdRange, Spec},
    store::{Append, Capacity, Commit, Guard, Submission, Verdict},
};

const NOW: Timestamp = Timestamp(1_000);
const LEASE: Duration = Duration::from_secs(15);

pub(in crate::store::embedded) struct Desk {
    machine: Machine,
    promise: Promise,
    _home: TempDir,
}

impl Desk {
    pub(in crate::store::embedded) fn new() -> Desk {
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
    pub(in crate::store::embedded) fn submit(
        &mut self,
        number: u64,
        count: u32,
        cost: u32,
    ) -> Vec<TaskId> {
        let spec = Arc::new(Spec {
            deadline: NOW + LEASE,
            max_cost_micros: cost,
            ..Spec::of_prompt("x", NOW)
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

    pub(in crate::store::embedded) fn acquire(&mut self, max: usize) -> Taken {
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

pub(in crate::store::embedded) fn ids(taken: &Taken) -> Vec<TaskId> {
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

#[test]
fn tasks_that_were_read_ahead_start_as_they_are_by_then() {
    let mut desk = Desk::new();
    let all = desk.submit(1, 4, 0);
    desk.write(|_| ());
    desk.machine.recent = Arc::default();
    // Those two, and a third one ahead.
    assert_eq!(ids(&desk.acquire(2)), all[..2]);
    let third = desk.machine.task(all[2]).unwrap().unwrap();
    desk.machine.recent.keep([third], NOW);
    let third = desk.acquire(1).acquired.tasks.remove(0);
    let mut released = third.clone();
    released.apply(Event::Released, NOW).unwrap();
    let commit = Commit {
        fence: third.fence(),
        from: Status::Processing,
        guard: Guard::None,
        park: None,
        task: released,
    };
    let verdicts = desk.machine.commit(vec![commit]).unwrap();
    assert_eq!(verdicts, [Verdict::Applied]);
    desk.write(|_| ());
    desk.machine.recent = Arc::default();
    let taken = desk.acquire(9).acquired.tasks;
    let revisions: Vec<_> = taken.iter().map(|it| (it.id, it.revision())).collect();
    assert_eq!(revisions, [(all[2], 4), (all[3], 2)]);
}

#[test]
fn a_row_that_is_read_ends_where_a_task_does_not_wait() {
    let mut desk = Desk::new();
    let all = desk.submit(1, 6, 0);
    desk.write(|_| ());
    let view = |desk: &Desk, first: TaskId, max| -> Vec<TaskId> {
        let row = View::new(&desk.machine.disk).row(first, max);
        row.iter().map(|task| task.id).collect()
    };
    assert_eq!(view(&desk, all[1], 4), all[1..5]);
    assert_eq!(view(&desk, all[4], 4), all[4..]);
    assert_eq!(ids(&desk.acquire(3)), all[..3]);
    desk.write(|_| ());
    assert_eq!(view(&desk, all[3], 9), all[3..]);
    assert!(view(&desk, all[2], 9).is_empty());
    let spec = &desk.machine.disk.spec;
    spec.remove(all[4].as_bytes()).unwrap();
    assert_eq!(view(&desk, all[3], 9), [all[3]]);
    assert!(view(&desk, all[4], 9).is_empty());
}
