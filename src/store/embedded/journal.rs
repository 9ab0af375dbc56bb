//! A look at the database's journals before the database itself opens them: it takes whatever it cannot read for a
//! torn end, cuts it off and goes on. Which of the two it is shows only by the numbers of the commits, which every
//! write carries.
//!
//! ```text
//! start: u8 1 | u32 items | u64 sequence number
//! item:  u8 2 | u8 kind | u8 compression | u64 keyspace | u16 key length | u32 length | u32 stored length | key | value
//! clear: u8 4 | u64 keyspace
//! end:   u8 3 | u64 xxh3 of items and clears | "FJL" 3
//! ```
//!
//! Numbers are little-endian, but for the commit's own.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::Xxh3;

/// The key under which a write carries its number.
pub(super) const COMMIT_SEQ: &str = "commit_seq";
/// Ends a whole write.
const TRAILER: [u8; 4] = *b"FJL\x03";
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// One journal, as far as it can be read.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) path: PathBuf,
    /// The numbers of the commits in it, as runs without a gap: first and last.
    pub(super) runs: Vec<(u64, u64)>,
    /// Where the last whole write ends.
    pub(super) end: u64,
    /// Whether there is more than zeros after that.
    pub(super) is_torn: bool,
}

/// All journals of a database, the oldest first.
pub(super) fn read_all(database: &Path) -> io::Result<Vec<Journal>> {
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(database)? {
        let path = entry?.path();
        let number = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(number) = number
            && path.extension().is_some_and(|end| end == "jnl")
        {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    found
        .into_iter()
        .map(|(_, path)| Journal::read(path))
        .collect()
}

impl Journal {
    fn read(path: PathBuf) -> io::Result<Journal> {
        let mut reader = Reader {
            input: BufReader::with_capacity(64 << 10, File::open(&path)?),
            hash: Xxh3::new(),
            at: 0,
        };
        let mut journal = Journal {
            path,
            runs: Vec::new(),
            end: 0,
            is_torn: false,
        };
        while let Some(number) = whole(reader.write())? {
            journal.end = reader.at;
            match (number, journal.runs.last_mut()) {
                (None, _) => {}
                (Some(number), Some((_, last))) if number == *last + 1 => *last = number,
                (Some(number), _) => journal.runs.push((number, number)),
            }
        }
        let mut file = reader.input.into_inner();
        file.seek(SeekFrom::Start(journal.end))?;
        journal.is_torn = !is_zero(&mut file)?;
        Ok(journal)
    }

    /// Cuts off what cannot be read.
    pub(super) fn cut(&self) -> io::Result<()> {
        let file = File::options().write(true).open(&self.path)?;
        file.set_len(self.end)?;
        file.sync_all()
    }
}

/// Why a write could not be read.
enum Bad {
    /// Its bytes are something else, or too few.
    Torn,
    Io(io::Error),
}

impl From<io::Error> for Bad {
    fn from(error: io::Error) -> Bad {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Bad::Torn,
            _ => Bad::Io(error),
        }
    }
}

/// None where what follows is no whole write.
fn whole<T>(read: Result<T, Bad>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(Bad::Torn) => Ok(None),
        Err(Bad::Io(error)) => Err(error),
    }
}

struct Reader {
    input: BufReader<File>,
    hash: Xxh3,
    at: u64,
}

impl Reader {
    /// Reads one write; answers the number it carries.
    fn write(&mut self) -> Result<Option<u64>, Bad> {
        let [tag] = self.take()?;
        if tag != 1 {
            return Err(Bad::Torn);
        }
        let items = u32::from_le_bytes(self.take()?);
        let _sequence: [u8; 8] = self.take()?;
        self.hash.reset();
        let mut number = None;
        for _ in 0..items {
            number = self.item()?.or(number);
        }
        let hash = self.hash.digest();
        let [tag] = self.take()?;
        let expected = u64::from_le_bytes(self.take()?);
        let trailer: [u8; 4] = self.take()?;
        if tag != 3 || expected != hash || trailer != TRAILER {
            return Err(Bad::Torn);
        }
        Ok(number)
    }

    /// Reads one item or clear; answers the commit's number when it is that.
    fn item(&mut self) -> Result<Option<u64>, Bad> {
        let [tag] = self.take()?;
        match tag {
            4 => {
                let _keyspace: [u8; 8] = self.take()?;
                Ok(None)
            }
            2 => {
                let _kinds_and_keyspace: [u8; 10] = self.take()?;
                let key = u16::from_le_bytes(self.take()?);
                let _length: [u8; 4] = self.take()?;
                let stored = u32::from_le_bytes(self.take()?);
                let key = self.take_many(u64::from(key))?;
                if key == COMMIT_SEQ.as_bytes() && stored == 8 {
                    return Ok(Some(u64::from_be_bytes(self.take()?)));
                }
                self.skip(u64::from(stored))?;
                Ok(None)
            }
            _ => Err(Bad::Torn),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Bad> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.hash.update(&bytes);
        self.at += N as u64;
        Ok(bytes)
    }

    fn take_many(&mut self, count: u64) -> Result<Vec<u8>, Bad> {
        let mut bytes = Vec::new();
        (&mut self.input).take(count).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < count {
            return Err(Bad::Torn);
        }
        self.hash.update(&bytes);
        self.at += count;
        Ok(bytes)
    }

    fn skip(&mut self, mut count: u64) -> Result<(), Bad> {
        while count > 0 {
            let piece = count.min(ZEROS.len() as u64);
            self.take_many(piece)?;
            count -= piece;
        }
        Ok(())
    }
}

fn is_zero(file: &mut File) -> io::Result<bool> {
    let mut buffer = vec![0; ZEROS.len()];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(true),
            count if buffer[..count] != ZEROS[..count] => return Ok(false),
            _ => {}
        }
    }
}
