//! Damaged files: every acknowledged task is there, or the store refuses to start, or it names the task that cannot be
//! read. Never silence.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tempfile::TempDir;
use tidings::{
    clock::ManualClock,
    model::{Batch, BatchId, Event, Outcome, Spec, Task, TaskId, Work},
    store::{Error, Log, Lookup, Store, Submission, Verdict, embedded::OpenError},
};

use super::{Home, START, answered, open, spec};
use crate::support::{
    eventually,
    report::{Row, repeat},
    scale::scale,
};

const SEED: u64 = 0x7164_696e_6773;
/// Large enough that the database writes tables, of a text that takes no room on disk.
const LARGE: usize = 1 << 20;
const LARGE_TASKS: u32 = 40;
const SOON: Duration = Duration::from_secs(60);

/// A closed store, and what it acknowledged.
struct Pristine {
    home: TempDir,
    files: Vec<PathBuf>,
    tasks: BTreeMap<TaskId, Task>,
    batches: BTreeMap<BatchId, (Batch, Log)>,
    keyed: Vec<Submission>,
}

impl Pristine {
    async fn new() -> Pristine {
        let mut home = Home::new();
        let keyed = fill(&mut home).await;
        let mut tasks = BTreeMap::new();
        let mut batches = BTreeMap::new();
        let listing = home.store().list(None, None, 1_000).await.unwrap();
        for id in listing.ids {
            let task = home.found(id).await;
            let batch = home.store().batch(task.batch_id).await.unwrap().unwrap();
            let log = home.store().log(task.batch_id, 0, 1_000).await.unwrap();
            batches.insert(task.batch_id, (batch, log.unwrap()));
            tasks.insert(id, task);
        }
        home.store.take().unwrap().close();
        let mut files = Vec::new();
        list_files(home.path(), Path::new(""), &mut files);
        files.sort();
        Pristine {
            home: home.directory,
            files,
            tasks,
            batches,
            keyed,
        }
    }

    fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        for file in &self.files {
            let to = copy.path().join(file);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(self.home.path().join(file), to).unwrap();
        }
        copy
    }

    /// Opens a damaged copy, and looks for all that was acknowledged.
    async fn judge(&self, home: &Path) -> Judgement {
        let clock = Arc::new(ManualClock::new(START));
        let store = match open(home, clock) {
            Ok(store) => store,
            Err(OpenError::Directory { source, .. }) => {
                return Judgement::Refused(source.to_string());
            }
            Err(error) => return Judgement::Refused(error.to_string()),
        };
        let mut faults = 0;
        for (id, task) in &self.tasks {
            match store.tasks(&[*id]).await.map(|mut found| found.remove(0)) {
                Ok(Lookup::Found(found)) if *found == *task => {}
                Ok(Lookup::Fault(_)) => faults += 1,
                other => return Judgement::Silent(format!("task {id} is {other:?}")),
            }
        }
        for (id, (batch, log)) in &self.batches {
            match (store.batch(*id).await, store.log(*id, 0, 1_000).await) {
                (Ok(Some(found)), Ok(Some(read))) if found == *batch && read == *log => {}
                (Err(Error::Corrupt(_)), _) | (_, Err(Error::Corrupt(_))) => faults += 1,
                other => return Judgement::Silent(format!("batch {id} is {other:?}")),
            }
        }
        for submission in &self.keyed {
            match store.submit(submission.clone()).await {
                Ok(made) if made.ids == submission.ids => {}
                Err(Error::Corrupt(_)) => faults += 1,
                other => return Judgement::Silent(format!("a key gives {other:?}")),
            }
        }
        match faults {
            0 => Judgement::Unharmed,
            count => Judgement::Named(count),
        }
    }
}

#[derive(Debug)]
enum Judgement {
    Refused(String),
    /// So many records are said to be unreadable.
    Named(usize),
    Unharmed,
    Silent(String),
}

/// Tasks small and large, queued and done, with and without keys.
async fn fill(home: &mut Home) -> Vec<Submission> {
    let mut keyed = Vec::new();
    for number in 0..20_u8 {
        let mut submission = home.submission(2);
        submission.idempotency = Some(tidings::store::Idempotency {
            key: format!("tenant/{number}"),
            hash: [number; 32],
        });
        home.store().submit(submission.clone()).await.unwrap();
        keyed.push(submission);
    }
    for task in home.acquire(12).await {
        assert_eq!(home.move_on(&task, answered()).await, Verdict::Applied);
    }
    for letter in ["a", "b"] {
        let mut submission = home.submission(LARGE_TASKS / 2);
        let text = letter.repeat(LARGE);
        let large = Spec {
            work: Work::Prompt { text },
            priority: tidings::model::Priority::High,
            ..spec(START)
        };
        submission.specs.fill(Arc::new(large));
        home.store().submit(submission).await.unwrap();
    }
    for task in home.acquire(LARGE_TASKS as usize).await {
        let text = "c".repeat(LARGE);
        let outcome = Outcome {
            text,
            ..Outcome::default()
        };
        let event = Event::Succeeded(Box::new(outcome));
        assert_eq!(home.move_on(&task, event).await, Verdict::Applied);
    }
    let tables = |home: &Home| {
        let mut files = Vec::new();
        list_files(&home.path().join("db"), Path::new(""), &mut files);
        let is_table = |file: &&PathBuf| file.parent().is_some_and(|it| it.ends_with("tables"));
        files.iter().filter(is_table).count()
    };
    // The lists of keyspaces are a table from the beginning; specs and outcomes follow.
    let own = tables(&Home::new());
    eventually("the database writes tables", SOON, async || {
        (tables(home) >= own + 2).then_some(())
    })
    .await;
    home.reopen();
    keyed
}

fn list_files(root: &Path, below: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => list_files(root, &path, files),
            false => files.push(path),
        }
    }
}

/// Damages a file; answers how.
fn damage(path: &Path, random: &mut SmallRng) -> String {
    let mut bytes = fs::read(path).unwrap();
    let kind = match bytes.len() {
        0 => 4,
        _ => random.random_range(0..6),
    };
    let at = random.random_range(0..bytes.len().max(1));
    let said = match kind {
        0 | 1 => {
            let bit = random.random_range(0..8);
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at} flipped")
        }
        2 => {
            let start = at / 512 * 512;
            let end = (start + 512).min(bytes.len());
            bytes[start..end].fill(0);
            format!("the sector at {start} zeroed")
        }
        3 => {
            bytes.truncate(at);
            format!("cut to {at} bytes")
        }
        4 => {
            fs::remove_file(path).unwrap();
            return "removed".into();
        }
        _ => {
            let end = (at + 64).min(bytes.len());
            random.fill(&mut bytes[at..end]);
            format!("bytes {at} to {end} replaced")
        }
    };
    fs::write(path, bytes).unwrap();
    said
}

#[tokio::test]
async fn no_damage_to_any_file_goes_unnoticed() {
    let pristine = Pristine::new().await;
    assert_eq!(pristine.tasks.len(), 80);
    let untouched = pristine.judge(pristine.copy().path()).await;
    assert!(matches!(untouched, Judgement::Unharmed), "{untouched:?}");
    let cases = scale(60, 400);
    let (mut refused, mut named, mut unharmed) = (0, 0, 0);
    for case in 0..cases {
        let mut random = SmallRng::seed_from_u64(SEED + case as u64);
        let copy = pristine.copy();
        // In turns, so that every file gets its share.
        let file = &pristine.files[case % pristine.files.len()];
        let said = damage(&copy.path().join(file), &mut random);
        let said = format!("case {case} of seed {SEED:#x}: {}: {said}", file.display());
        match pristine.judge(copy.path()).await {
            Judgement::Silent(fault) => panic!("{said}: {fault}"),
            Judgement::Refused(reason) => {
                assert!(!reason.is_empty(), "{said}");
                refused += 1;
            }
            Judgement::Named(count) => {
                assert!(count > 0, "{said}");
                named += 1;
            }
            Judgement::Unharmed => unharmed += 1,
        }
    }
    let row = Row {
        fault: "one file of the store damaged while it is closed".into(),
        on: "embedded, the store alone".into(),
        times: cases,
        tasks: Some(pristine.tasks.len()),
        // Whatever is missing without a word ends the test.
        lost: Some(0),
        note: format!(
            "{refused} refused to open, {named} opened and named what cannot be read, {unharmed} without effect, 0 silent"
        ),
        repeat: repeat("no_damage_to_any_file_goes_unnoticed"),
        ..Row::default()
    };
    row.report();
    assert!(refused > 0 && named > 0 && unharmed > 0);
}

/// What a power cut leaves of a write that nobody was told of.
#[tokio::test]
async fn a_torn_end_that_nobody_was_told_of_is_accepted() {
    let mut home = Home::new();
    let (_, kept) = home.submit(5).await;
    home.store.take().unwrap().close();
    let journal = home.path().join("db/0.jnl");
    home.reopen();
    home.store.take().unwrap().close();
    let before = fs::read(&journal).unwrap();
    let promise = fs::read(home.path().join("acked")).unwrap();
    home.reopen();
    let (_, torn) = home.submit(5).await;
    home.store.take().unwrap().close();
    let after = fs::read(&journal).unwrap();
    assert!(after.starts_with(&before) && after.len() > before.len());
    let mut random = SmallRng::seed_from_u64(SEED);
    for case in 0..scale(40, 200) {
        let mut bytes = after.clone();
        let at = random.random_range(before.len()..after.len());
        match case % 3 {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << random.random_range(0..8),
            // A later page arrived and an earlier one did not.
            _ => bytes[before.len()..at].fill(0),
        }
        fs::write(&journal, bytes).unwrap();
        fs::write(home.path().join("acked"), &promise).unwrap();
        let store = home.reopen();
        for id in &kept {
            home.found(*id).await;
        }
        let found = store.tasks(&torn).await.unwrap();
        let is_whole = |found: &Lookup| matches!(found, Lookup::Found(_));
        let whole = found.iter().filter(|it| is_whole(it)).count();
        assert!(
            whole == 0 || whole == torn.len(),
            "case {case}: {whole} of a submit"
        );
        // The store takes what comes next.
        let (_, next) = home.submit(1).await;
        home.reopen();
        home.found(next[0]).await;
        home.store.take().unwrap().close();
    }
}

/// The database goes on with the next journal when an older one ends early.
#[tokio::test]
async fn damage_to_a_journal_that_was_closed_is_refused_although_the_next_one_is_whole() {
    let mut home = Home::new();
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.extend(home.submit(2).await.1);
    }
    home.store.take().unwrap().close();
    home.reopen();
    home.store.take().unwrap().close();
    let whole = fs::read(home.path().join("db/0.jnl")).unwrap();
    let ends: Vec<usize> = whole
        .windows(5)
        .enumerate()
        .filter(|(_, bytes)| *bytes == b"FJL\x03\x01")
        .map(|(at, _)| at + 4)
        .collect();
    assert_eq!(ends.len(), 19);
    let split = |first: &[u8]| {
        fs::write(home.path().join("db/0.jnl"), first).unwrap();
        fs::write(home.path().join("db/1.jnl"), &whole[ends[9]..]).unwrap();
    };
    for at in [ends[4] + 1, ends[4] + 40, ends[8] + 100] {
        let mut first = whole[..ends[9]].to_vec();
        first[at] ^= 0x10;
        split(&first);
        let error = open(home.path(), home.clock.clone()).unwrap_err();
        let refused = matches!(error, OpenError::Lost { .. } | OpenError::Unproven { .. });
        assert!(refused, "{error:?}");
    }
    split(&whole[..ends[8]]);
    let error = open(home.path(), home.clock.clone()).unwrap_err();
    assert!(
        matches!(error, OpenError::Lost { missing: 1, .. }),
        "{error:?}"
    );
    split(&whole[..ends[9]]);
    home.reopen();
    for id in ids {
        home.found(id).await;
    }
}
