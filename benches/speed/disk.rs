//! How long the disk itself takes: what is embedded tells nobody of a transition before it is synced.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{Bench, Fallible, stage::Kind};

/// What the tables call the longest of those beside a workload.
pub(crate) const LONGEST_SYNC: &str = "longest fsync of 4 KiB meanwhile, ms";
/// A page, as short as a journal's writes get.
const BYTES: [u8; 4_096] = [b'x'; 4_096];
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(20);

/// Overwrites and syncs one page of a file of its own again and again, until it is dropped.
#[derive(Debug)]
pub(crate) struct Probe {
    stop: Stop,
    thread: JoinHandle<io::Result<Vec<f64>>>,
}

/// Tells the thread to stop once nobody waits for it.
#[derive(Debug, Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Probe {
    /// On the disk of this folder.
    pub(crate) fn start(folder: &Path) -> Fallible<Probe> {
        let file = tempfile::tempfile_in(folder)?;
        // Later ones find its place on the disk.
        file.write_all_at(&BYTES, 0)?;
        file.sync_all()?;
        let stop = Stop::default();
        let told = stop.0.clone();
        let thread = thread::Builder::new()
            .name("disk-probe".to_owned())
            .spawn(move || sync(&file, &told))?;
        Ok(Probe { stop, thread })
    }

    /// Beside a workload whose transitions wait for the disk; none for other stores.
    pub(crate) fn beside(bench: &Bench, kind: Kind) -> Fallible<Option<Probe>> {
        let is_disk = kind == Kind::Embedded;
        is_disk.then(|| Probe::start(&bench.folder)).transpose()
    }

    /// Milliseconds that each took.
    pub(crate) fn finish(self) -> Fallible<Vec<f64>> {
        drop(self.stop);
        let millis = self.thread.join().map_err(|_| "the disk's probe failed")?;
        Ok(millis?)
    }

    /// The longest of them.
    pub(crate) fn longest(self) -> Fallible<Option<f64>> {
        Ok(self.finish()?.into_iter().reduce(f64::max))
    }
}

fn sync(file: &File, stop: &AtomicBool) -> io::Result<Vec<f64>> {
    let mut millis = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        file.write_all_at(&BYTES, 0)?;
        file.sync_data()?;
        millis.push(began.elapsed().as_secs_f64() * 1e3);
        thread::sleep(PAUSE);
    }
    Ok(millis)
}
