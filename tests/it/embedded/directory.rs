//! One process, one store, one directory; and what is refused rather than guessed at.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::Arc,
};

use tidings::{
    clock::ManualClock,
    store::{Store, embedded::OpenError},
};

use super::{Home, START, open};

#[tokio::test]
async fn a_second_store_on_the_same_directory_is_refused_and_told_why() {
    let mut home = Home::new();
    let error = open(home.path(), home.clock.clone()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains(&home.path().display().to_string()));
    assert!(message.contains("one process serves a directory"));
    home.reopen();
}

#[test]
fn a_store_that_another_process_has_open_is_refused_too() {
    let home = Home::new();
    let lock = home.path().join("lock");
    let flock = |then: &str| {
        let mut command = Command::new("flock");
        command
            .arg("--nonblock")
            .arg(&lock)
            .args(["sh", "-c", then]);
        command
    };
    let status = flock("true").status().unwrap();
    assert!(!status.success(), "the open store holds the lock");
    home.store().close();
    let mut other = flock("echo held; cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let output = other.stdout.take().unwrap();
    BufReader::new(output).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    let error = open(home.path(), home.clock.clone()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error:?}");
    drop(other.stdin.take());
    other.wait().unwrap();
    open(home.path(), home.clock.clone()).unwrap();
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let path = file.join("below");
    let error = open(&path, Arc::new(ManualClock::new(START))).unwrap_err();
    assert!(matches!(error, OpenError::Directory { .. }), "{error:?}");
    assert!(error.to_string().contains(&path.display().to_string()));
}

#[test]
fn a_directory_with_other_things_in_it_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.tex"), "").unwrap();
    let error = open(directory.path(), Arc::new(ManualClock::new(START))).unwrap_err();
    assert!(error.to_string().contains("`thesis.tex`"), "{error}");
}

#[tokio::test]
async fn a_store_of_the_layout_before_is_taken_over_before_anything_is_written() {
    let mut home = Home::new();
    let (_, ids) = home.submit(1).await;
    home.acquire(1).await;
    home.store.take().unwrap().close();
    let marker = home.path().join("tidings-store");
    fs::write(&marker, "1\n").unwrap();
    home.reopen();
    // Whoever knows the one before alone refuses it from now on.
    assert_eq!(fs::read_to_string(&marker).unwrap(), "2\n");
    assert_eq!(home.found(ids[0]).await.revision(), 3);
}

#[test]
fn a_store_of_a_newer_layout_is_refused() {
    let home = Home::new();
    home.store().close();
    fs::write(home.path().join("tidings-store"), "9\n").unwrap();
    let error = open(home.path(), home.clock.clone()).unwrap_err();
    assert!(matches!(error, OpenError::NewerSchema { found: 9, .. }));
}

/// Damage in the middle of the journal must not look like its torn end, and silently drop what follows.
#[tokio::test]
async fn a_damaged_journal_is_refused_and_never_shortened_in_silence() {
    let home = Home::new();
    for _ in 0..20 {
        home.submit(5).await;
    }
    home.store().close();
    let journal = home.path().join("db/0.jnl");
    let whole = fs::read(&journal).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    for part in 1..10 {
        let mut bytes = whole.clone();
        bytes[used * part / 10] ^= 0x40;
        fs::write(&journal, bytes).unwrap();
        let error = open(home.path(), home.clock.clone()).unwrap_err();
        let refused = matches!(error, OpenError::Lost { .. } | OpenError::Corrupt { .. });
        assert!(refused, "{error:?}");
    }
    fs::write(&journal, whole).unwrap();
    let store = open(home.path(), home.clock.clone()).unwrap();
    assert_eq!(store.stats().await.unwrap().ready, 100);
}

#[test]
fn a_first_start_that_was_cut_short_is_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("db")).unwrap();
    fs::write(directory.path().join("db/0.jnl"), "").unwrap();
    fs::write(directory.path().join("tidings-store.new"), "").unwrap();
    open(directory.path(), Arc::new(ManualClock::new(START))).unwrap();
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_look_inside() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let mode = |name: &str| {
        let metadata = fs::metadata(home.path().join(name)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode("db"), 0o700);
    for file in ["lock", "acked", "tidings-store"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
}
