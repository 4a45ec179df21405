//! Folders that hang, that are slow, and that contain one file that hangs.

use super::*;
use std::sync::mpsc;

fn test_reader(stall_ms: u64, timeout_ms: u64, readers: usize) -> Arc<LibraryReader> {
    let settings = Settings {
        read_stall_timeout: Duration::from_millis(stall_ms),
        read_timeout: Duration::from_millis(timeout_ms),
        max_library_readers: readers,
        ..Settings::default()
    };
    LibraryReader::new("x", PathBuf::from("/nowhere"), &settings)
}

/// Starts a read that hangs until the sender is dropped, as on a mount whose server is unreachable.
fn start_hanging_read(
    folder: &Arc<LibraryReader>,
) -> (
    mpsc::Sender<()>,
    tokio::task::JoinHandle<Result<(), FolderUnavailable>>,
) {
    let (release, released) = mpsc::channel::<()>();
    let folder = folder.clone();
    let read = tokio::spawn(async move {
        folder
            .run_blocking(move |_, _| {
                let _ = released.recv();
            })
            .await
    });
    (release, read)
}

/// Waits until no thread works in the folder.
async fn wait_until_idle(folder: &Arc<LibraryReader>) {
    let ended = async {
        let threads = || {
            let state = folder.health.lock_state();
            state.active + state.leaked
        };
        while threads() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended)
        .await
        .expect("all threads end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_folder_defers_reads_and_recovers() {
    let hung = test_reader(50, 4_000, 2);
    let other = test_reader(50, 400, 2);
    let (first, first_read) = start_hanging_read(&hung);
    let (second, second_read) = start_hanging_read(&hung);
    while hung.health.lock_state().active < 2 {
        tokio::task::yield_now().await;
    }
    // Requests for a permit fail soon, and another folder is not affected.
    let begun = Instant::now();
    assert!(hung.run_blocking(|_, _| ()).await.is_err());
    assert!(begun.elapsed() < Duration::from_millis(3_500));
    assert_eq!(other.run_blocking(|_, _| 7).await, Ok(7));
    // The hanging reads fail after their timeout.
    assert!(first_read.await.unwrap().is_err());
    assert!(second_read.await.unwrap().is_err());
    assert_eq!(hung.health.lock_state().leaked, 2);
    assert!(
        hung.run_blocking(|_, _| ()).await.is_err(),
        "no reader is free"
    );
    // The mount is back.
    drop((first, second));
    let back = async {
        while hung.run_blocking(|_, _| 7).await != Ok(7) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), back)
        .await
        .unwrap();
    wait_until_idle(&hung).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_that_hangs_does_not_close_its_folder() {
    let folder = test_reader(50, 10_000, 2);
    let (release, read) = start_hanging_read(&folder);
    tokio::time::sleep(Duration::from_millis(120)).await;
    // Stalled by now: the next read is a probe, and its success ends the stall.
    for _ in 0..20 {
        assert_eq!(folder.run_blocking(|_, _| 7).await, Ok(7));
    }
    drop(release);
    assert_eq!(read.await.unwrap(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_is_not_hanging() {
    let folder = test_reader(60_000, 4_000, 1);
    // Longer than the timeout, with heartbeats in between.
    let slow = folder.run_blocking(|_, heartbeat| {
        for _ in 0..9 {
            std::thread::sleep(Duration::from_millis(500));
            heartbeat.record_progress();
        }
        7
    });
    assert_eq!(slow.await, Ok(7));
}

/// Takes a lease on a file: a process that opens it blocks in the system call, as on a mount whose
/// server is unreachable, until the lease is released (or the system breaks it, after 45 s).
#[cfg(target_os = "linux")]
fn lease_file(path: &Path) -> std::fs::File {
    use std::os::fd::AsRawFd as _;
    // Linux' F_SETSIG, for which libc has no name.
    const SET_SIGNAL: libc::c_int = 10;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    // Openers are announced by a signal that is ignored; the default one would end the process.
    // SAFETY: both calls take numbers only, for a descriptor that is open.
    let (signal, lease) = unsafe {
        (
            libc::fcntl(file.as_raw_fd(), SET_SIGNAL, libc::SIGURG),
            libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK),
        )
    };
    assert_eq!(
        (signal, lease),
        (0, 0),
        "{}",
        std::io::Error::last_os_error()
    );
    file
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn reads_that_the_system_holds_back_stop_no_other_library() {
    let settings = Settings {
        read_stall_timeout: Duration::from_millis(100),
        read_timeout: Duration::from_millis(500),
        max_library_readers: 4,
        ..Settings::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let mut leases = Vec::new();
    for n in 0..8 {
        let path = dir.path().join(format!("{n}"));
        std::fs::write(&path, b"picture").unwrap();
        leases.push(lease_file(&path));
    }
    std::fs::write(dir.path().join("free"), b"picture").unwrap();
    let hung = LibraryReader::new("hung", dir.path().to_owned(), &settings);
    let other = LibraryReader::new("other", dir.path().to_owned(), &settings);
    let read = |folder: &Arc<LibraryReader>, name: String| {
        let folder = folder.clone();
        async move {
            folder
                .run_blocking(move |root, _| std::fs::read(root.join(name)))
                .await
        }
    };
    let begun = Instant::now();
    let reads: Vec<_> = (0..8)
        .map(|n| tokio::spawn(read(&hung, n.to_string())))
        .collect();
    let free = read(&other, "free".into()).await.unwrap().unwrap();
    assert_eq!(free, b"picture");
    for read in reads {
        assert!(read.await.unwrap().is_err(), "it is deferred");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        hung.health.lock_state().leaked,
        4,
        "as many as there are readers"
    );
    // The server is back: the hanging reads end, and all files can be read.
    drop(leases);
    let back = async {
        for n in 0..8 {
            while read(&hung, n.to_string()).await.is_err() {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back)
        .await
        .unwrap();
    wait_until_idle(&hung).await;
}

#[test]
fn probes_get_rarer_until_a_heartbeat() {
    let folder = test_reader(1_000, 60_000, 8);
    let begun = Instant::now();
    let heartbeat = ReadHeartbeat::start_task(&folder.health);
    let ms = |ms| begun + Duration::from_millis(ms);
    let stall = folder.health.stall_timeout;
    let ask = |at| folder.health.lock_state().admit_read(stall, at);
    assert_eq!(ask(ms(500)), ReadAdmission::Allowed);
    assert_eq!(ask(ms(2_000)), ReadAdmission::Allowed, "the first probe");
    assert_eq!(ask(ms(2_500)), ReadAdmission::WaitUntil(ms(3_000)));
    let mut now = ms(3_000);
    let mut probes = 0;
    while now < ms(300_000) {
        if ask(now) == ReadAdmission::Allowed {
            probes += 1;
        }
        now += Duration::from_millis(100);
    }
    assert!((4..=20).contains(&probes), "{probes}");
    heartbeat.record_progress();
    assert_eq!(ask(Instant::now()), ReadAdmission::Allowed);
    assert_eq!(folder.health.lock_state().backoff.attempts(), 0);
}
