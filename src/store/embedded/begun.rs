//! Attempts that workers began before that was on disk, in a small file beside the database. It is written before every
//! answer and never synced: it outlives the process and not the machine. So a task that takes its process down with it
//! has lost a worker, every time, and comes to its end.
//!
//! ```text
//! 16 bytes task | u64 worker | u32 revision | u32 check
//! ```
//!
//! An entry counts where its task has not come to that revision; all others are old.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use xxhash_rust::xxh3::xxh3_64;

use super::Map;
use crate::model::{Task, TaskId, WorkerId};

/// The file.
pub(super) const BEGUN: &str = "begun";
const ENTRY_LEN: usize = 32;
const CHECKED: usize = ENTRY_LEN - 4;
/// What one group may have; who acquires more of it waits for the disk.
const HALF: usize = 64 << 10;

/// By task, the revision with which a worker began it.
pub(super) type Lost = Map<TaskId, (u64, WorkerId)>;

/// The open file: one half for the group that is written, the other for the one that fills.
#[derive(Debug)]
pub(super) struct Begun {
    file: File,
    half: usize,
    used: usize,
}

impl Begun {
    /// Opens the file in `directory`. Answers what it says as well.
    pub(super) fn open(directory: &Path) -> io::Result<(Begun, Lost)> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.mode(0o600).open(directory.join(BEGUN))?;
        let mut bytes = Vec::new();
        (&mut file).take(2 * HALF as u64).read_to_end(&mut bytes)?;
        let (entries, _cut) = bytes.as_chunks::<ENTRY_LEN>();
        let mut known = Lost::default();
        for (id, revision, worker) in entries.iter().filter_map(decode) {
            let newest = known.entry(id).or_insert((revision, worker));
            *newest = (*newest).max((revision, worker));
        }
        let begun = Begun {
            file,
            half: 0,
            used: 0,
        };
        Ok((begun, known))
    }

    /// Notes what a worker begins. False when it could not be noted.
    pub(super) fn note(&mut self, tasks: &[Task]) -> bool {
        let bytes: Vec<u8> = tasks.iter().flat_map(encode).collect();
        let at = self.half * HALF + self.used;
        let fits = self.used + bytes.len() <= HALF;
        let is_noted = fits && self.file.write_all_at(&bytes, at as u64).is_ok();
        if is_noted {
            self.used += bytes.len();
        }
        is_noted
    }

    /// The group is about to be written, and the one before it is on disk.
    pub(super) fn take_off(&mut self) {
        self.half = 1 - self.half;
        self.used = 0;
    }
}

fn encode(task: &Task) -> [u8; ENTRY_LEN] {
    let mut bytes = [0; ENTRY_LEN];
    let worker = task.last().worker.map_or(0, |worker| worker.0);
    let revision = u32::try_from(task.revision()).unwrap_or(u32::MAX);
    bytes[..16].copy_from_slice(task.id.as_bytes());
    bytes[16..24].copy_from_slice(&worker.to_be_bytes());
    bytes[24..CHECKED].copy_from_slice(&revision.to_be_bytes());
    let check = xxh3_64(&bytes[..CHECKED]).to_be_bytes();
    bytes[CHECKED..].copy_from_slice(&check[4..]);
    bytes
}

/// None when it is cut or damaged.
fn decode(bytes: &[u8; ENTRY_LEN]) -> Option<(TaskId, u64, WorkerId)> {
    let check = xxh3_64(&bytes[..CHECKED]).to_be_bytes();
    if check[4..] != bytes[CHECKED..] {
        return None;
    }
    let (id, rest) = bytes.split_first_chunk::<16>()?;
    let (worker, rest) = rest.split_first_chunk::<8>()?;
    let (revision, _check) = rest.split_first_chunk::<4>()?;
    let worker = WorkerId(u64::from_be_bytes(*worker));
    let revision = u64::from(u32::from_be_bytes(*revision));
    Some((TaskId::from_bytes(*id), revision, worker))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::{
        super::acquire::tests::{Desk, ids},
        *,
    };

    /// Tasks that a worker has been given.
    fn begun(count: u32) -> Vec<Task> {
        let mut desk = Desk::new();
        let submitted = desk.submit(1, count, 0);
        let taken = desk.acquire(count as usize);
        assert_eq!(ids(&taken), submitted);
        taken.acquired.tasks
    }

    fn noted(home: &TempDir) -> Lost {
        Begun::open(home.path()).unwrap().1
    }

    #[test]
    fn what_a_group_began_is_known_until_the_one_after_the_next() {
        let home = TempDir::new().unwrap();
        let (mut file, known) = Begun::open(home.path()).unwrap();
        assert!(known.is_empty());
        let fit = (HALF / ENTRY_LEN) as u32;
        let tasks = begun(3 * fit);
        let groups: Vec<&[Task]> = tasks.chunks(fit as usize).collect();
        assert!(file.note(groups[0]));
        assert!(!file.note(&groups[1][..1]), "its half is full");
        file.take_off();
        assert!(file.note(groups[1]));
        let known = noted(&home);
        assert!(tasks[..2 * fit as usize].iter().all(|task| {
            let worker = task.last().worker.unwrap();
            known.get(&task.id) == Some(&(task.revision(), worker))
        }));
        // The first is on disk by now.
        file.take_off();
        assert!(file.note(groups[2]));
        let known = noted(&home);
        assert!(groups[0].iter().all(|task| !known.contains_key(&task.id)));
        assert_eq!(known.len(), 2 * fit as usize);
    }

    #[test]
    fn a_damaged_or_cut_entry_says_nothing() {
        let home = TempDir::new().unwrap();
        let tasks = begun(3);
        assert!(Begun::open(home.path()).unwrap().0.note(&tasks));
        let path = home.path().join(BEGUN);
        let mut bytes = fs::read(&path).unwrap();
        bytes[ENTRY_LEN + 20] ^= 1;
        bytes.truncate(3 * ENTRY_LEN - 1);
        fs::write(&path, bytes).unwrap();
        let known = noted(&home);
        assert_eq!(known.len(), 1);
        assert!(known.contains_key(&tasks[0].id));
    }
}
