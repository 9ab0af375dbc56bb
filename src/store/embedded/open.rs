//! Taking possession of a directory: one process, one store, a layout that is known.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{
    disk::Disk,
    vigil::{PROMISE, Vigil},
};
use crate::store::Error;

/// The layout this program writes.
const SCHEMA: u32 = 1;
/// Says that the directory holds a store that was made whole, and of which layout.
const MARKER: &str = "tidings-store";
/// The marker while it is written.
const DRAFT: &str = "tidings-store.new";
/// Held locked for as long as the store is open.
const LOCK: &str = "lock";
/// The database's own directory; only its owner may look into it.
const DATABASE: &str = "db";
/// What a directory may hold before a store is made in it.
const EXPECTED: [&str; 6] = [MARKER, DRAFT, LOCK, DATABASE, PROMISE, "lost+found"];

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made or written to.
    #[error("use {} as the data directory: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the directory open.
    #[error(
        "open {}: another process is using it, and one process serves a directory; \
         stop that one or choose another directory", path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds something else.
    #[error(
        "open {}: it holds `{found}` and no store; choose an empty directory", path.display()
    )]
    NotAStore {
        /// The directory.
        path: PathBuf,
        /// A file in it that no store has.
        found: String,
    },
    /// The store was written by a newer version.
    #[error(
        "open {}: its layout is {found} and this version knows up to {SCHEMA}; use a newer version",
        path.display()
    )]
    NewerSchema {
        /// The directory.
        path: PathBuf,
        /// The layout found.
        found: u32,
    },
    /// Commits that callers were told of are not there any more.
    #[error(
        "open {}: {missing} acknowledged commits are missing, so the journal is damaged; restore a backup, \
         or remove the file `{PROMISE}` in it to go on without them", path.display()
    )]
    Lost {
        /// The directory.
        path: PathBuf,
        /// How many are missing.
        missing: u64,
    },
    /// What is stored cannot be read.
    #[error("open {}, which is damaged: {reason}", path.display())]
    Corrupt {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Opens the store in `path`, making it when there is none.
pub(super) fn open(path: &Path) -> Result<(Disk, Vigil), OpenError> {
    let refused = |source| OpenError::Directory {
        path: path.to_owned(),
        source,
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(refused)?;
    let lock = private_file(&path.join(LOCK)).map_err(refused)?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::InUse {
            path: path.to_owned(),
        },
        TryLockError::Error(source) => refused(source),
    })?;
    let is_new = !check_layout(path)?;
    let database = path.join(DATABASE);
    if is_new {
        // A first start that was cut short: there was no marker yet, so nothing was ever accepted.
        remove_if_there(&database).map_err(refused)?;
    }
    builder.create(&database).map_err(refused)?;
    let vigil = Vigil::open(path).map_err(refused)?;
    let disk = Disk::open(&database, lock).map_err(|error| engine(path, error))?;
    if is_new {
        mark(path).map_err(refused)?;
    }
    check_promise(path, &disk, &vigil)?;
    Ok((disk, vigil))
}

/// Whether there is a store; fails when there is something else.
fn check_layout(path: &Path) -> Result<bool, OpenError> {
    let refused = |source| OpenError::Directory {
        path: path.to_owned(),
        source,
    };
    match fs::read_to_string(path.join(MARKER)) {
        Ok(text) => {
            let found = text.trim().parse().map_err(|_| OpenError::Corrupt {
                path: path.to_owned(),
                reason: format!("the file `{MARKER}` does not hold the number of a layout"),
            })?;
            if found > SCHEMA {
                let path = path.to_owned();
                return Err(OpenError::NewerSchema { path, found });
            }
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            for entry in fs::read_dir(path).map_err(refused)? {
                let name = entry.map_err(refused)?.file_name();
                let found = name.to_string_lossy().into_owned();
                if !EXPECTED.contains(&found.as_str()) {
                    let path = path.to_owned();
                    return Err(OpenError::NotAStore { path, found });
                }
            }
            Ok(false)
        }
        Err(error) => Err(refused(error)),
    }
}

/// Says that the store is whole, in a way that a crash cannot leave half done.
fn mark(path: &Path) -> io::Result<()> {
    let draft = path.join(DRAFT);
    let mut file = private_file(&draft)?;
    file.set_len(0)?;
    writeln!(file, "{SCHEMA}")?;
    file.sync_all()?;
    fs::rename(&draft, path.join(MARKER))?;
    File::open(path)?.sync_all()
}

fn check_promise(path: &Path, disk: &Disk, vigil: &Vigil) -> Result<(), OpenError> {
    let found = disk
        .number("commit_seq")
        .map_err(|error| unreadable(path, &error))?
        .unwrap_or(0);
    match vigil.promised().checked_sub(found) {
        None | Some(0) => Ok(()),
        Some(missing) => Err(OpenError::Lost {
            path: path.to_owned(),
            missing,
        }),
    }
}

/// The error of a start that could not make sense of what it read.
pub(super) fn unreadable(path: &Path, error: &Error) -> OpenError {
    OpenError::Corrupt {
        path: path.to_owned(),
        reason: format!("failed to {error}"),
    }
}

fn engine(path: &Path, error: fjall::Error) -> OpenError {
    let path = path.to_owned();
    match error {
        fjall::Error::Locked => OpenError::InUse { path },
        fjall::Error::Io(source) => OpenError::Directory { path, source },
        other => OpenError::Corrupt {
            path,
            reason: other.to_string(),
        },
    }
}

fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600).open(path)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
