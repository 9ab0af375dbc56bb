//! Reads pages of batches' logs, with the tasks they are about: those who stand at the same place share them.
//!
//! Who asks while a page is read may know of more than that read can have seen, and shares the next one.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    mem,
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{light, stale};
use crate::{
    model::{Batch, BatchId, Task, TaskId},
    store::{Error, Log, Lookup, Moved, Part, Recent, Store},
};

/// A page ends with the task that makes it this heavy. With the number of its entries that bounds what a watcher that
/// has stopped reading holds in memory.
const HEAVY_PAGE: usize = 128 << 10;

/// A piece of a batch's log. Entries and tasks are as of one epoch, and every task has come as far as its entries say.
#[derive(Debug)]
pub(super) struct Page {
    /// The entries that were read, with what is told of them; or why the tasks could not be read.
    pub(super) entries: Result<Vec<Entered>, String>,
    /// There were more, and they would have made it too heavy.
    pub(super) cut: bool,
    /// The log had entries behind those that were read.
    pub(super) goes_on: bool,
    /// How many entries the log had in all, or at least where it goes on.
    pub(super) end: u64,
    /// The batch as of `end`.
    pub(super) batch: Batch,
    /// The epoch as of `end`.
    pub(super) epoch: u32,
}

/// An entry of the log, and its task; none when that is past its retention.
pub(super) type Entered = (Moved, Option<Arc<Task>>);

/// Where a page begins, and how it is come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    batch: BatchId,
    from: u64,
    /// From the store, whatever this process knows.
    afresh: bool,
}

type Answer = Result<Option<Arc<Page>>, Arc<Error>>;
/// How many entries somebody asks for, and whom to answer.
type Ask = (usize, oneshot::Sender<Answer>);
/// What is being read, and who has asked for it since.
type UnderWay = Arc<Mutex<HashMap<Place, Vec<Ask>>>>;

/// All reads under way.
pub(super) struct Pages {
    store: Arc<dyn Store>,
    under_way: UnderWay,
}

/// Has what is written of a batch kept in mind while somebody watches it.
pub(super) struct Following {
    store: Arc<dyn Store>,
    batch: BatchId,
}

impl Following {
    pub(super) fn new(store: Arc<dyn Store>, batch: BatchId) -> Self {
        if let Some(recent) = store.recent() {
            recent.follow(batch);
        }
        Following { store, batch }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        if let Some(recent) = self.store.recent() {
            recent.leave(self.batch);
        }
    }
}

impl Pages {
    /// Of that store.
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Pages {
            store,
            under_way: Arc::default(),
        }
    }

    /// Reads entries from position `from` on, up to `max` or as many as somebody else who reads them there wants. None
    /// when there is no such batch.
    pub(super) async fn read(
        &self,
        batch: BatchId,
        from: u64,
        max: usize,
    ) -> Result<Option<Arc<Page>>, Error> {
        match known(self.store.as_ref(), batch, from, max) {
            Some(page) => Ok(Some(Arc::new(page))),
            None => self.hear(batch, from, false, max).await,
        }
    }

    /// As [`Pages::read`], with an answer of the store: a watch does not begin while that is away.
    pub(super) async fn read_afresh(
        &self,
        batch: BatchId,
        from: u64,
        max: usize,
    ) -> Result<Option<Arc<Page>>, Error> {
        self.hear(batch, from, true, max).await
    }

    async fn hear(
        &self,
        batch: BatchId,
        from: u64,
        afresh: bool,
        max: usize,
    ) -> Result<Option<Arc<Page>>, Error> {
        let place = Place {
            batch,
            from,
            afresh,
        };
        let (answer, hears) = oneshot::channel();
        self.ask(place, (max, answer));
        let gone = |_| Error::Unavailable("the page was not read".into());
        hears.await.map_err(gone)?.map_err(|error| again(&error))
    }

    fn ask(&self, place: Place, ask: Ask) {
        match self.under_way.lock().entry(place) {
            Entry::Occupied(mut asked) => return asked.get_mut().push(ask),
            Entry::Vacant(free) => free.insert(Vec::new()),
        };
        // The lock is free by now: a runtime that shuts down drops the reading at once, which takes it.
        let reading = Reading {
            place,
            under_way: self.under_way.clone(),
            is_over: false,
        };
        tokio::spawn(reading.run(self.store.clone(), vec![ask]));
    }
}

/// Reads one place for as long as somebody asks for it. In a task of its own: who asks may be one that stops reading.
struct Reading {
    place: Place,
    under_way: UnderWay,
    is_over: bool,
}

impl Reading {
    async fn run(mut self, store: Arc<dyn Store>, mut asks: Vec<Ask>) {
        while let Some((max, _)) = asks.first() {
            let read = read(store.as_ref(), self.place, *max).await;
            let answer = read.map_err(Arc::new);
            for (_, reply) in asks {
                // Who has gone does not listen.
                let _ = reply.send(answer.clone());
            }
            asks = self.asked();
        }
    }

    /// Those who have asked since the read began and are still there; without any it is over.
    fn asked(&mut self) -> Vec<Ask> {
        let mut under_way = self.under_way.lock();
        let mut asks = under_way
            .get_mut(&self.place)
            .map(mem::take)
            .unwrap_or_default();
        asks.retain(|(_, reply)| !reply.is_closed());
        if asks.is_empty() {
            under_way.remove(&self.place);
            self.is_over = true;
        }
        asks
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if !self.is_over {
            // It was cut short: those who wait ask again.
            self.under_way.lock().remove(&self.place);
        }
    }
}

/// One error for each who asked: what cannot be read does not become readable by asking again.
fn again(error: &Error) -> Error {
    match error {
        Error::Unavailable(cause) => Error::Unavailable(cause.clone()),
        Error::Corrupt(cause) => Error::Corrupt(cause.clone()),
        other => Error::Unavailable(other.to_string()),
    }
}

/// The page of which this process knows everything, and need not read anything.
fn known(store: &dyn Store, batch: BatchId, from: u64, max: usize) -> Option<Page> {
    let recent = store.recent()?;
    let part = recent.part(batch, from, max)?;
    let tasks = recent.recall(&part.log.entries, part.log.epoch, store.now());
    let entered = part.log.entries.iter().copied().zip(tasks);
    let entries: Option<Vec<Entered>> = entered
        .map(|(entry, task)| Some((entry, Some(task?))))
        .collect();
    Some(page(store, part, Ok(entries?)))
}

async fn read(store: &dyn Store, place: Place, max: usize) -> Result<Option<Arc<Page>>, Error> {
    let Some(part) = part(store, place, max).await? else {
        return Ok(None);
    };
    let entries = match enter(store, &part.log).await {
        Ok(entries) => Ok(entries),
        Err(Error::Unavailable(cause)) => Err(cause),
        Err(other) => return Err(other),
    };
    Ok(Some(Arc::new(page(store, part, entries))))
}

/// The log from that place on: what is known of it, or what has to be read.
async fn part(store: &dyn Store, place: Place, max: usize) -> Result<Option<Part>, Error> {
    let Place { batch, from, .. } = place;
    let recent = store.recent();
    let knows = recent.filter(|_| !place.afresh);
    if let Some(part) = knows.and_then(|recent| recent.part(batch, from, max)) {
        return Ok(Some(part));
    }
    let began = recent.map(Recent::moment);
    let Some(log) = store.log(batch, from, max).await? else {
        return Ok(None);
    };
    if let (Some(recent), Some(began)) = (recent, began) {
        recent.read_log(&log, from, began);
    }
    let is_last = from + log.entries.len() as u64 >= log.end;
    Ok(Some(Part { log, is_last }))
}

/// As much of it as is not too heavy. What has been read beyond that is kept for the next page.
fn page(store: &dyn Store, part: Part, mut entries: Result<Vec<Entered>, String>) -> Page {
    let mut cut = false;
    if let Ok(entries) = &mut entries {
        let beyond = entries.split_off(lightest(entries));
        cut = !beyond.is_empty();
        if let Some(recent) = store.recent() {
            recent.read(beyond.iter().filter_map(|(_, task)| task.as_ref()));
        }
    }
    Page {
        entries,
        cut,
        goes_on: cut || !part.is_last,
        end: part.log.end,
        batch: part.log.batch,
        epoch: part.log.epoch,
    }
}

/// How many entries are not too heavy. A task weighs once.
fn lightest(entries: &[Entered]) -> usize {
    let mut weight = 0;
    let mut seen = HashSet::with_capacity(entries.len());
    for (index, (entry, task)) in entries.iter().enumerate() {
        if weight >= HEAVY_PAGE {
            return index;
        }
        if let Some(task) = task.as_ref().filter(|_| seen.insert(entry.task)) {
            weight += task.content();
        }
    }
    entries.len()
}

/// Puts the tasks to the entries: those that this process knows, and those that have to be read.
async fn enter(store: &dyn Store, log: &Log) -> Result<Vec<Entered>, Error> {
    let now = store.now();
    let known = match store.recent() {
        Some(recent) => recent.recall(&log.entries, log.epoch, now),
        None => vec![None; log.entries.len()],
    };
    let unknown = log.entries.iter().zip(&known);
    let unknown = unknown.filter(|(_, task)| task.is_none());
    let mut ids: Vec<TaskId> = unknown.map(|(entry, _)| entry.task).collect();
    ids.sort_unstable();
    ids.dedup();
    let (tasks, all_known) = if ids.is_empty() {
        (HashMap::new(), true)
    } else {
        tasks(store, &ids).await?
    };
    let undone = |entry: &Moved| {
        let task = tasks.get(&entry.task);
        task.is_some_and(|task| task.epoch > log.epoch || task.revision() < entry.revision)
    };
    // Writes may be lost between the two reads.
    let batch = log.batch.id;
    if log.entries.iter().any(undone)
        || !(all_known || is_still_at(store, batch, log.epoch).await?)
    {
        return Err(stale());
    }
    keep(store, log, &tasks);
    let entries = log.entries.iter().zip(known);
    let entered = entries.map(|(entry, known)| {
        let task = known.or_else(|| tasks.get(&entry.task).cloned());
        (*entry, task)
    });
    Ok(entered.collect())
}

/// Later entries are of the same tasks.
fn keep(store: &dyn Store, log: &Log, tasks: &HashMap<TaskId, Arc<Task>>) {
    let told: HashMap<TaskId, u64> = log
        .entries
        .iter()
        .map(|entry| (entry.task, entry.revision))
        .collect();
    let goes_on = |task: &&Arc<Task>| told.get(&task.id).is_some_and(|it| *it < task.revision());
    if let Some(recent) = store.recent() {
        recent.read(tasks.values().filter(goes_on));
    }
}

async fn is_still_at(store: &dyn Store, batch: BatchId, epoch: u32) -> Result<bool, Error> {
    let log = store.log(batch, 0, 0).await?;
    Ok(log.is_some_and(|log| log.epoch == epoch))
}

/// These tasks, and whether every one of them was known: one that is not is long past its retention, or was lost.
async fn tasks(
    store: &dyn Store,
    ids: &[TaskId],
) -> Result<(HashMap<TaskId, Arc<Task>>, bool), Error> {
    let lookups = store.tasks(ids).await?;
    let mut tasks = HashMap::with_capacity(ids.len());
    let mut all_known = true;
    for (id, lookup) in ids.iter().zip(lookups) {
        match lookup {
            Lookup::Found(task) => {
                tasks.insert(*id, light(*task));
            }
            Lookup::Missing => all_known = false,
            Lookup::Expired => {}
            Lookup::Fault(fault) => {
                tracing::error!(task = %id, fault, "a stored task cannot be read");
            }
        }
    }
    Ok((tasks, all_known))
}
