//! A look at the lists of tables before the database itself reads them: it does not compare them with their
//! checksums, takes a keyspace without one for half made, and removes whatever they do not name.
//!
//! `keyspaces/N/current` is `u64 version | u128 xxh3 of the file | u8 0`, little-endian; the list is in `keyspaces/N/vVERSION`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_128;

/// What a database has that was ever made whole.
const VERSION: &str = "version";

/// What is wrong with the database's lists of tables, if anything.
pub(super) fn fault(database: &Path) -> io::Result<Option<String>> {
    let keyspaces = database.join("keyspaces");
    for needed in [database.join(VERSION), keyspaces.join("0/current")] {
        if !needed.try_exists()? {
            return Ok(Some(format!("{} is missing", needed.display())));
        }
    }
    for entry in fs::read_dir(keyspaces)? {
        let entry = entry?;
        if entry.file_type()?.is_dir()
            && let Some(fault) = keyspace_fault(&entry.path())?
        {
            return Ok(Some(fault));
        }
    }
    Ok(None)
}

fn keyspace_fault(keyspace: &Path) -> io::Result<Option<String>> {
    let current = keyspace.join("current");
    let Some(bytes) = read(&current)? else {
        return Ok(Some(format!("{} is missing", current.display())));
    };
    let damaged = |path: PathBuf| Ok(Some(format!("{} is damaged", path.display())));
    let Some((version, rest)) = bytes.split_first_chunk::<8>() else {
        return damaged(current);
    };
    let Some((checksum, &[0])) = rest.split_first_chunk::<16>() else {
        return damaged(current);
    };
    let list = keyspace.join(format!("v{}", u64::from_le_bytes(*version)));
    match read(&list)? {
        Some(bytes) if xxh3_128(&bytes) == u128::from_le_bytes(*checksum) => Ok(None),
        Some(_) => damaged(list),
        None => Ok(Some(format!("{} is missing", list.display()))),
    }
}

/// None when there is no such file.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        bytes => bytes.map(Some),
    }
}
