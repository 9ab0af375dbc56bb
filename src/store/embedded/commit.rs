//! Writing tasks that have been moved.

use super::{
    disk::has_little,
    index::{Live, Seat},
    machine::Machine,
};
use crate::{
    clock::Timestamp,
    model::{BatchId, Cause, Parked, Status, Task},
    store::{Commit, Error, Guard, Verdict, record::encode_outcome},
};

impl Machine {
    /// Writes each task that is still at its fence.
    pub(super) fn commit(&mut self, commits: Vec<Commit>) -> Result<Vec<Verdict>, Error> {
        let now = self.now();
        let head = self.index.reserve_head(commits.len());
        let mut verdicts = Vec::with_capacity(commits.len());
        let mut batches: Vec<BatchId> = Vec::new();
        for (seat, commit) in (head..).zip(commits) {
            let batch = commit.task.batch_id;
            let verdict = self.commit_one(commit, seat, now)?;
            if verdict == Verdict::Applied && !batches.contains(&batch) {
                batches.push(batch);
            }
            verdicts.push(verdict);
        }
        for batch in batches {
            self.let_go_on(batch);
        }
        Ok(verdicts)
    }

    fn commit_one(&mut self, commit: Commit, head: i64, now: Timestamp) -> Result<Verdict, Error> {
        let live = self.index.get(commit.task.id);
        let Some(live) = live.filter(|live| commit.fence.holds(live.fence)) else {
            return self.repeated_commit(&commit);
        };
        let next = commit.task.revision() == commit.fence.revision + 1
            && commit.task.epoch == commit.fence.epoch
            && commit.task.batch_id == live.batch;
        if !next || live.status() != commit.from || !holds(commit.guard, &live, now) {
            return Ok(Verdict::Conflict);
        }
        let Commit {
            task, from, park, ..
        } = commit;
        if let Some(parked) = park {
            self.park(task.batch_id, parked)?;
        }
        self.account(&task, Some(from))?;
        self.requeue_or_end(&task, live, head, now);
        self.keep(task);
        Ok(Verdict::Applied)
    }

    /// The same commit again is `Applied` again; any other at an old fence is a conflict.
    fn repeated_commit(&self, commit: &Commit) -> Result<Verdict, Error> {
        match self.task(commit.task.id) {
            Ok(Some(stored)) => {
                let mut stored = Task::clone(&stored);
                // Every read tells the present epoch, whenever it was written.
                stored.epoch = commit.task.epoch;
                Ok(match stored == commit.task {
                    true => Verdict::Applied,
                    false => Verdict::Conflict,
                })
            }
            Ok(None) | Err(Error::Corrupt(_)) => Ok(Verdict::Conflict),
            Err(error) => Err(error),
        }
    }

    /// Moves a task in the index as its last transition says, and keeps its outcome.
    pub(super) fn requeue_or_end(&mut self, task: &Task, live: Live, head: i64, now: Timestamp) {
        if task.status() == Status::Queued {
            let seat = match task.last().cause {
                Cause::Released | Cause::LeaseExpired | Cause::Parked => Seat::At(head),
                _ => Seat::Tail,
            };
            let live = live.moved(task.fence(), task.due).since(self.group());
            self.index.queue(task.id, live, seat, now);
            return;
        }
        self.index.remove(task.id);
        if let Some(outcome) = &task.outcome
            && !has_little(task)
        {
            let writes = &mut self.overlay.writes;
            writes.insert(
                &self.disk.outcome,
                task.id.as_bytes(),
                encode_outcome(outcome),
            );
        }
        if let Some(time) = task.expire_time() {
            self.overlay.ended.entry(time).or_default().push(task.id);
        }
    }

    /// Holds a batch back, unless it is held back already: the first reason is the one to mend.
    pub(super) fn park(&mut self, id: BatchId, parked: Parked) -> Result<(), Error> {
        if let Some(record) = self.batch(id)?
            && record.batch.parked.is_none()
        {
            record.batch.parked = Some(parked);
            self.index.park(id);
            self.overlay.batches.insert(id);
            self.overlay.amended.push(id);
        }
        Ok(())
    }
}

fn holds(guard: Guard, live: &Live, now: Timestamp) -> bool {
    match guard {
        Guard::None => true,
        Guard::LeaseExpired => live.lease().is_some_and(|lease| lease <= now),
    }
}
