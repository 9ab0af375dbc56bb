//! Tasks in a directory of this machine: the default, which needs no server.
//!
//! What is in memory is behind one lock (`machine`). One writer thread groups the requests that change it into durable
//! writes (`writer`, `flight`); tasks alone are acquired by the callers themselves, who need not wait for that. Reads go straight to the database (`read`). Payloads stay on disk: of a live task memory holds
//! only what its queue needs (`index`), of a terminal one nothing.

mod acquire;
mod ahead;
mod begun;
mod boot;
mod commit;
mod config;
mod disk;
mod expiry;
mod flight;
mod group;
mod index;
mod inspect;
mod journal;
mod lead;
mod machine;
mod manifest;
mod map;
mod news;
mod open;
mod output;
mod overlay;
mod promise;
mod read;
mod recent;
mod submit;
mod sweep;
mod vigil;
mod writer;

use std::{
    fmt,
    sync::{Arc, atomic::Ordering, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{Clock, Timestamp},
    model::{Batch, BatchId, CacheKey, Task, TaskId, WorkerId},
    store::{
        Accepted, Acquired, Amendment, Bid, Change, Commit, Cursor, Durability, Error, Extension,
        Info, Lead, Listing, Log, Lookup, Output, Recent as Told, Renewal, Slot, Stats, Store,
        Submission, Swap, Verdict, slot::Slots,
    },
};

use begun::Begun;
use disk::Disk;
use machine::Machine;
use map::{Map, Progress, Set};
use output::Outputs;
use read::View;
use recent::Recent;
use submit::Prepared;
use vigil::Vigil;
use writer::{Fuse, Health, Request, Writer};

pub use config::Config;
pub use open::OpenError;

/// Changes that a slow listener may be behind before it is told of a gap.
const CHANGES_LEN: usize = 4_096;
/// Reads of so few records take microseconds, from memory or the page cache; more are kept off the async threads.
const INLINE_READS: usize = 32;
/// So many entries of a log, which lie side by side, take about as long as one record.
const ENTRIES_A_READ: usize = 8;

/// A store in a directory.
pub struct EmbeddedStore {
    info: Info,
    clock: Arc<dyn Clock>,
    changes: broadcast::Sender<Change>,
    health: Arc<Health>,
    progress: Progress,
    outputs: Outputs,
    recent: Arc<Recent>,
    told: Arc<Told>,
    /// In memory: one process serves a directory, so it has nobody to agree with.
    slots: Slots,
    /// None once closed.
    open: RwLock<Option<Open>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Clone)]
struct Open {
    disk: Arc<Disk>,
    machine: Arc<Mutex<Machine>>,
    requests: mpsc::Sender<Request>,
}

impl EmbeddedStore {
    /// Opens the store, making it when there is none. Tasks that were processing are queued again or, after too many
    /// lost workers, ended. Blocks while it reads the disk.
    ///
    /// # Errors
    /// The directory cannot be used, is used by another process, holds something else, or is damaged.
    pub fn open(config: Config, clock: Arc<dyn Clock>) -> Result<EmbeddedStore, OpenError> {
        let (disk, mut promise) = open::open(&config.path, config.accept_data_loss)?;
        let unreadable = |error| open::unreadable(&config.path, &error);
        let disk = Arc::new(disk);
        let vigil = Vigil::new(&config.path);
        let (begun, lost) =
            Begun::open(&config.path).map_err(|error| open::refused(&config.path, error))?;
        let mut machine = Machine::new(disk.clone(), vigil, begun, clock.clone(), config.capacity)
            .map_err(unreadable)?;
        machine.boot(&mut promise, &lost).map_err(unreadable)?;
        let (progress, outputs) = (machine.progress.clone(), machine.outputs.clone());
        let recent = machine.recent.clone();
        let info = Info {
            name: "embedded",
            durability: Durability::Fsync,
            partitions: 1,
            epoch: machine.disk.epoch,
        };
        let (requests, receiver) = mpsc::channel();
        let (changes, _) = broadcast::channel(CHANGES_LEN);
        let health = Arc::new(Health::default());
        let machine = Arc::new(Mutex::new(machine));
        let told = Arc::new(Told::hearing());
        let writer = Writer::new(
            machine.clone(),
            promise,
            told.clone(),
            changes.clone(),
            health.clone(),
        );
        let writer = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(receiver))
            .map_err(|source| OpenError::Directory {
                path: config.path,
                source,
            })?;
        Ok(EmbeddedStore {
            info,
            clock,
            changes,
            health,
            progress,
            outputs,
            recent,
            told,
            slots: Slots::default(),
            open: RwLock::new(Some(Open {
                disk,
                machine,
                requests,
            })),
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Finishes the requests that wait, writes everything to disk and releases the directory. Later calls are
    /// [`Error::Unavailable`]. Blocks until done; dropping the store does the same.
    pub fn close(&self) {
        self.open.write().take();
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
    }

    /// Cancelled when a write or sync has failed: the process should exit, only a fresh start can tell what is on disk.
    pub fn failed(&self) -> CancellationToken {
        self.health.failed.clone()
    }

    /// How many durable writes there were since the start.
    pub fn commits(&self) -> u64 {
        self.health.commits.load(Ordering::Relaxed)
    }

    fn opened(&self) -> Result<Open, Error> {
        if let Some(broken) = self.health.broken.get() {
            return Err(broken.refusal());
        }
        let open = self.open.read().clone();
        open.ok_or_else(|| Error::Unavailable("it is closed".into()))
    }

    /// Has the writer do `work`, durably.
    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Machine) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let requests = self.opened()?.requests;
        let (request, answer) = writer::request(work);
        let gone = || match self.health.broken.get() {
            Some(broken) => broken.refusal(),
            None => Error::Unavailable("it is closing".into()),
        };
        requests.send(request).map_err(|_| gone())?;
        drop(requests);
        answer.await.map_err(|_| gone())?
    }

    /// Returns once all that was changed before is on disk.
    async fn settle(&self) -> Result<(), Error> {
        self.ask(|_| Ok(())).await
    }

    /// Reads about `count` records as of one instant.
    async fn read<T: Send + 'static>(
        &self,
        count: usize,
        work: impl FnOnce(&View<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let disk = self.opened()?.disk;
        if count <= INLINE_READS {
            return work(&View::new(&disk));
        }
        tokio::task::spawn_blocking(move || work(&View::new(&disk)))
            .await
            .map_err(|error| Error::Unavailable(format!("a read did not end: {error}")))?
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore")
            .field("info", &self.info)
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn info(&self) -> Info {
        self.info.clone()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    fn recent(&self) -> Option<&Told> {
        Some(&self.told)
    }

    async fn submit(&self, submission: Submission) -> Result<Accepted, Error> {
        let prepared = Prepared::new(submission);
        self.ask(|machine| machine.submit(prepared)).await
    }

    async fn acquire(
        &self,
        worker: WorkerId,
        max: usize,
        lease: Duration,
    ) -> Result<Acquired, Error> {
        let open = self.opened()?;
        let taken = {
            let _fuse = Fuse(self.health.clone());
            open.machine.lock().acquire(worker, max, lease)?
        };
        if taken.is_news {
            // A writer that has gone is one that failed or wrote everything.
            let _ = open.requests.send(writer::news());
        }
        drop(open);
        if taken.must_wait {
            self.settle().await?;
        }
        Ok(taken.acquired)
    }

    async fn commit(&self, commits: Vec<Commit>) -> Result<Vec<Verdict>, Error> {
        self.ask(|machine| machine.commit(commits)).await
    }

    async fn renew(&self, renewals: &[Renewal], lease: Duration) -> Result<Vec<bool>, Error> {
        let asked = renewals.to_vec();
        let renewed = self.ask(move |machine| machine.renew(&asked, lease)).await;
        // Whatever came of it: it may have been carried out.
        self.told.progressed(renewals);
        renewed
    }

    async fn extend(&self, extensions: &[Extension]) -> Result<Vec<bool>, Error> {
        let extensions = extensions.to_vec();
        self.ask(move |machine| Ok(machine.extend(&extensions)))
            .await
    }

    async fn output(&self, id: TaskId, from: u64) -> Result<Option<Output>, Error> {
        self.opened()?;
        Ok(output::read(&self.outputs, id, from))
    }

    async fn overdue(&self, max: usize) -> Result<Vec<Task>, Error> {
        self.ask(move |machine| machine.overdue(max)).await
    }

    async fn tasks(&self, ids: &[TaskId]) -> Result<Vec<Lookup>, Error> {
        self.opened()?;
        let now = self.now();
        let progress = self.progress.clone();
        let recent = self
            .recent
            .look(ids, |task| read::found(task.clone(), now, &progress));
        let others = ids.iter().zip(&recent).filter(|(_, found)| found.is_none());
        let others: Vec<TaskId> = others.map(|(id, _)| *id).collect();
        if others.is_empty() {
            return Ok(recent.into_iter().flatten().collect());
        }
        let read = self.read(others.len(), move |view| {
            let found = others.iter().map(|id| view.lookup(*id, now, &progress));
            found.collect::<Result<Vec<_>, _>>()
        });
        let mut others = read.await?.into_iter();
        let found = recent.into_iter().map(|it| it.or_else(|| others.next()));
        Ok(found.flatten().collect())
    }

    async fn batch(&self, id: BatchId) -> Result<Option<Batch>, Error> {
        let now = self.now();
        self.read(1, move |view| read::batch(view, id, now)).await
    }

    async fn log(&self, id: BatchId, from: u64, max: usize) -> Result<Option<Log>, Error> {
        let now = self.now();
        let reads = max.div_ceil(ENTRIES_A_READ);
        self.read(reads, move |view| view.log(id, from, max, now))
            .await
    }

    async fn list(
        &self,
        batch: Option<BatchId>,
        cursor: Option<Cursor>,
        max: usize,
    ) -> Result<Listing, Error> {
        let now = self.now();
        self.read(max, move |view| view.list(batch, cursor, max, now))
            .await
    }

    async fn amend(&self, id: BatchId, amendment: Amendment) -> Result<Option<Batch>, Error> {
        self.ask(move |machine| machine.amend(id, amendment)).await
    }

    async fn bid(&self, bid: Bid) -> Result<Lead, Error> {
        self.ask(move |machine| machine.bid(&bid)).await
    }

    async fn forget(&self, keys: &[CacheKey]) -> Result<usize, Error> {
        let keys = keys.to_vec();
        self.ask(move |machine| machine.forget(&keys)).await
    }

    async fn sweep(&self) -> Result<usize, Error> {
        self.ask(Machine::sweep).await
    }

    async fn swap(&self, swap: Swap) -> Result<Slot, Error> {
        self.opened()?;
        Ok(self.slots.swap(swap, self.now()))
    }

    async fn stats(&self) -> Result<Stats, Error> {
        self.ask(|machine| Ok(machine.stats())).await
    }
}
