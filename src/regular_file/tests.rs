//! Tests with real files, and with a scripted reader in place of a hung file system.

use std::{
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::UnixListener,
    },
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use rustix::fs::{CWD, FileType as Kind, Mode, mknodat};
use tempfile::TempDir;

use super::*;
use crate::clock::manual::ManualClock;

fn content(path: &Path, limit: u64) -> Result<String, ReadError> {
    let content = read_blocking(path, limit)?;
    Ok(String::from_utf8(content.to_vec()).unwrap())
}

fn fifo(path: &Path) {
    mknodat(CWD, path, Kind::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

#[test]
fn regular_files_are_read_through_symlinks_up_to_the_limit() {
    let directory = TempDir::new().unwrap();
    let (file, link) = (directory.path().join("file"), directory.path().join("link"));
    symlink("file", &link).unwrap();
    for path in [&file, &link] {
        for (text, expected) in [
            ("", Ok(String::new())),
            ("12345", Ok("12345".to_owned())),
            ("123456", Err(ReadError::TooLarge(5))),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(content(path, 5), expected, "{text}");
        }
    }
    let large = "x".repeat(200_000);
    fs::write(&file, &large).unwrap();
    assert_eq!(content(&file, 200_000), Ok(large));
}

#[test]
fn other_kinds_of_files_are_rejected_without_blocking() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    fifo(&at("fifo"));
    symlink("fifo", at("link")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    let _listener = UnixListener::bind(at("socket")).unwrap();
    fs::write(at("file"), "x").unwrap();
    for (path, expected) in [
        (at("fifo"), ReadError::NotRegular("a FIFO")),
        (at("link"), ReadError::NotRegular("a FIFO")),
        (at("socket"), ReadError::NotRegular("a socket")),
        (at(""), ReadError::NotRegular("a directory")),
        ("/dev/null".into(), ReadError::NotRegular("a device")),
        (at("missing"), ReadError::NoFile),
        (at("dangling"), ReadError::NoFile),
        (at("no/such/file"), ReadError::NoDirectory),
        ("missing".into(), ReadError::NoFile),
        (at("file/x"), ReadError::Other(io::ErrorKind::NotADirectory)),
        ("a\0b".into(), ReadError::Other(io::ErrorKind::InvalidInput)),
    ] {
        assert_eq!(content(&path, 5), Err(expected), "{}", path.display());
    }
}

#[test]
fn fifo_in_place_of_a_file_is_opened_without_blocking() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("fifo");
    fifo(&path);
    let opened = open(&path).unwrap();
    let found = regular(opened.metadata().unwrap().file_type());
    assert_eq!(found, Err(ReadError::NotRegular("a FIFO")));
}

#[test]
fn unreadable_file_is_reported_as_permission_denied() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    let denied = content(file.path(), 5);
    // Root may read any file.
    assert!(rustix::process::geteuid().is_root() || denied == Err(ReadError::Denied), "{denied:?}");
    let error = io::Error::from(io::ErrorKind::PermissionDenied);
    assert_eq!(classify(file.path(), &error), ReadError::Denied);
}

/// Yields until all tasks wait.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn hanging_read_times_out_and_blocks_no_other_file() {
    static STARTED_READS: AtomicUsize = AtomicUsize::new(0);
    let clock = Arc::new(ManualClock::at("2026-01-01T00:00:00Z"));
    let path = Path::new("a file of this test alone");
    let (release, released) = mpsc::channel();
    let hanging = move |_: &Path, _: u64| {
        STARTED_READS.fetch_add(1, Ordering::Relaxed);
        released.recv().unwrap();
        Ok(Content::new(b"late".to_vec()))
    };
    let read_in_thread = |clock: Arc<ManualClock>| {
        tokio::spawn(async move {
            let reader = |_: &Path, _: u64| {
                STARTED_READS.fetch_add(1, Ordering::Relaxed);
                Ok(Content::new(b"fresh".to_vec()))
            };
            read_by(reader, path, 5, &*clock).await
        })
    };
    let first = {
        let clock = Arc::clone(&clock);
        tokio::spawn(async move { read_by(hanging, path, 5, &*clock).await })
    };
    settle().await;
    clock.advance(TIMEOUT);
    assert_eq!(first.await.unwrap(), Err(ReadError::TimedOut));
    for _ in 0..3 {
        let next = read_in_thread(Arc::clone(&clock));
        settle().await;
        clock.advance(TIMEOUT / 2);
        settle().await;
        assert!(!next.is_finished(), "the earlier read may end yet");
        clock.advance(TIMEOUT / 2);
        assert_eq!(next.await.unwrap(), Err(ReadError::TimedOut));
    }
    // Reads of other files continue.
    let other = Path::new("another file of this test alone");
    let elsewhere = read_by(|_, _| Ok(Content::default()), other, 5, &*clock).await;
    assert_eq!(elsewhere, Ok(Content::default()));

    let next = read_in_thread(Arc::clone(&clock));
    settle().await;
    release.send(()).unwrap();
    assert_eq!(next.await.unwrap(), Ok(Content::new(b"fresh".to_vec())), "and not what came late");
    assert_eq!(STARTED_READS.load(Ordering::Relaxed), 2, "none began while the first hung");
}

#[test]
fn blocking_read_times_out() {
    assert_eq!(block_on(std::future::pending::<()>(), Duration::from_millis(1)), None);
    assert_eq!(block_on(async { 7 }, Duration::ZERO), Some(7));
    let (sender, receiver) = oneshot::channel();
    thread::spawn(move || sender.send(7));
    assert_eq!(block_on(receiver, Duration::from_mins(1)), Some(Ok(7)));
}
