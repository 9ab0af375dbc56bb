//! Taking possession of a directory: one process, one store, a layout that is known.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{
    begun::BEGUN,
    disk::{Disk, OpenFault},
    inspect::{Loss, Survey},
    promise::{Mark, PROMISE, Promise},
};
use crate::store::Error;

/// The layout this program writes: 2 since one entry of what expires is about many tasks. It reads 1 as well, whose
/// programs do not know such entries.
const SCHEMA: u32 = 2;
/// Says that the directory holds a store that was made whole, and of which layout.
const MARKER: &str = "tidings-store";
/// The marker while it is written.
const DRAFT: &str = "tidings-store.new";
/// Held locked for as long as the store is open.
const LOCK: &str = "lock";
/// The database's own directory; only its owner may look into it.
const DATABASE: &str = "db";
/// What a directory may hold before a store is made in it.
const EXPECTED: [&str; 7] = [MARKER, DRAFT, LOCK, DATABASE, PROMISE, BEGUN, "lost+found"];

/// What a person can do about a loss.
const WAY_OUT: &str =
    "restore a backup, or start once with --accept-data-loss to go on with what is left";

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
        "open {}: {missing} acknowledged commits are missing, so the journal is damaged; {WAY_OUT}", path.display()
    )]
    Lost {
        /// The directory.
        path: PathBuf,
        /// How many are missing.
        missing: u64,
    },
    /// It cannot be told whether commits are missing that callers were told of.
    #[error(
        "open {}: {reason}, so acknowledged commits may be missing; {WAY_OUT}", path.display()
    )]
    Unproven {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
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

/// Opens the store in `path`, making it when there is none. A loss is refused unless it is accepted; then the next
/// epoch begins.
pub(super) fn open(path: &Path, accept_loss: bool) -> Result<(Disk, Promise), OpenError> {
    let refused = |source| OpenError::Directory {
        path: path.to_owned(),
        source,
    };
    let lock = take_possession(path)?;
    let database = path.join(DATABASE);
    let layout = check_layout(path)?;
    let is_new = layout.is_none();
    if is_new {
        begin_again(path, &database)?;
    }
    let (mark, mut loss) = match is_new {
        true => (Mark::default(), None),
        false => survey(path, &database, accept_loss)?,
    };
    let mut disk = Disk::open(&database, lock).map_err(|fault| engine(path, fault))?;
    let found = disk
        .commit_seq()
        .map_err(|error| unreadable(path, &error))?;
    // What the journals do not hold any more has to be in the tables.
    if loss.is_none() && found < mark.acked {
        loss = Some(Loss::Commits(mark.acked - found));
        refuse(path, loss.as_ref(), accept_loss)?;
    }
    let mark = match loss {
        None => Mark {
            acked: found,
            ..mark
        },
        Some(loss) => {
            disk.bump_epoch().map_err(|fault| engine(path, fault))?;
            tracing::error!(
                "{}; going on without them, as --accept-data-loss says: the last of {} acknowledged commits found is \
                 number {found}, and epoch {} begins",
                refusal(path, &loss),
                mark.acked,
                disk.epoch
            );
            Mark {
                acked: found,
                floor: found,
            }
        }
    };
    let promise = Promise::open(path, mark).map_err(refused)?;
    // Before anything is written in it.
    if layout != Some(SCHEMA) {
        self::mark(path).map_err(refused)?;
    }
    Ok((disk, promise))
}

/// Makes the directory, and locks it.
fn take_possession(path: &Path) -> Result<File, OpenError> {
    let refused = |source| OpenError::Directory {
        path: path.to_owned(),
        source,
    };
    private_directory(path).map_err(refused)?;
    let lock = private_file(&path.join(LOCK)).map_err(refused)?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::InUse {
            path: path.to_owned(),
        },
        TryLockError::Error(source) => refused(source),
    })?;
    Ok(lock)
}

/// Clears away a first start that was cut short: there was no marker yet, so nothing was ever accepted. Where
/// something was, it is the marker that has gone.
fn begin_again(path: &Path, database: &Path) -> Result<(), OpenError> {
    let refused = |source| OpenError::Directory {
        path: path.to_owned(),
        source,
    };
    if database.try_exists().map_err(refused)? {
        let survey = Survey::take(path, database).map_err(refused)?;
        if survey.has_commits() {
            return Err(OpenError::Corrupt {
                path: path.to_owned(),
                reason: format!(
                    "the file `{MARKER}` is missing; restore it, with the line `{SCHEMA}`"
                ),
            });
        }
        remove_if_there(database).map_err(refused)?;
    }
    private_directory(database).map_err(refused)
}

/// Looks for what was promised, and refuses what is missing; then the journals are left as they are.
fn survey(
    path: &Path,
    database: &Path,
    accept_loss: bool,
) -> Result<(Mark, Option<Loss>), OpenError> {
    let refused = |source| OpenError::Directory {
        path: path.to_owned(),
        source,
    };
    let survey = Survey::take(path, database).map_err(refused)?;
    if let Some(reason) = survey.fault {
        let path = path.to_owned();
        return Err(OpenError::Corrupt { path, reason });
    }
    let loss = survey.loss();
    refuse(path, loss.as_ref(), accept_loss)?;
    survey.cut().map_err(refused)?;
    Ok((survey.mark(), loss))
}

fn refuse(path: &Path, loss: Option<&Loss>, accept_loss: bool) -> Result<(), OpenError> {
    match loss {
        Some(loss) if !accept_loss => Err(refusal(path, loss)),
        _ => Ok(()),
    }
}

fn refusal(path: &Path, loss: &Loss) -> OpenError {
    let path = path.to_owned();
    match loss {
        Loss::Commits(missing) => OpenError::Lost {
            path,
            missing: *missing,
        },
        Loss::Journal(name) => OpenError::Unproven {
            path,
            reason: format!("the journal {name} is damaged"),
        },
        Loss::Promise(reason) => OpenError::Unproven {
            path,
            reason: format!("the file `{PROMISE}`, which tells the last one, {reason}"),
        },
    }
}

/// The layout of the store, if there is one; fails when there is something else.
fn check_layout(path: &Path) -> Result<Option<u32>, OpenError> {
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
            Ok(Some(found))
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
            Ok(None)
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

/// The error of a start that could not use a file.
pub(super) fn refused(path: &Path, source: io::Error) -> OpenError {
    let path = path.to_owned();
    OpenError::Directory { path, source }
}

/// The error of a start that could not make sense of what it read.
pub(super) fn unreadable(path: &Path, error: &Error) -> OpenError {
    OpenError::Corrupt {
        path: path.to_owned(),
        reason: format!("failed to {error}"),
    }
}

fn engine(path: &Path, fault: OpenFault) -> OpenError {
    let error = match fault {
        OpenFault::Content(error) => return unreadable(path, &error),
        OpenFault::Engine(error) => error,
    };
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

fn private_directory(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path)
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
