//! Watches of the system: which folders report, under which path, and what happens where a folder
//! cannot be watched.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use lookalike_bus::WatcherRequest;

use super::world::KeeperWorld;
use crate::inbox::HintKind;

/// A world whose only hints are the reports of the system.
fn world_with_reports(change: impl FnOnce(&mut crate::settings::Settings)) -> KeeperWorld {
    let mut w = KeeperWorld::with_settings(change);
    w.are_hints_muted = true;
    w.settle();
    w
}

#[test]
fn every_folder_reports_under_its_own_path() {
    let mut w = world_with_reports(|_| {});
    fs::create_dir_all(w.full_path("one/a/b/c")).unwrap();
    fs::create_dir_all(w.full_path("one/.hidden/x")).unwrap();
    fs::create_dir_all(w.full_path("one/ignored/x")).unwrap();
    fs::write(w.full_path("one/.lookalikeignore"), "ignored\n").unwrap();
    w.settle_with_reports();
    w.assert_all_watched();
    let check = |w: &mut KeeperWorld, what: &str, work: &dyn Fn(&KeeperWorld)| {
        work(w);
        w.settle_with_reports();
        eprintln!("{what}");
        w.assert_all_watched();
    };
    check(&mut w, "renamed", &|w| {
        fs::rename(w.full_path("one/a"), w.full_path("one/z")).unwrap();
    });
    check(&mut w, "renamed, and another one made in its place", &|w| {
        fs::rename(w.full_path("one/z"), w.full_path("one/y")).unwrap();
        fs::create_dir_all(w.full_path("one/z/b/c")).unwrap();
    });
    check(&mut w, "swapped", &|w| {
        fs::rename(w.full_path("one/z"), w.full_path("one/x")).unwrap();
        fs::rename(w.full_path("one/y"), w.full_path("one/z")).unwrap();
        fs::rename(w.full_path("one/x"), w.full_path("one/y")).unwrap();
    });
    check(&mut w, "moved to another library", &|w| {
        fs::rename(w.full_path("one/z"), w.full_path("two/z")).unwrap();
    });
    check(&mut w, "deleted and made again", &|w| {
        fs::remove_dir_all(w.full_path("two/z")).unwrap();
        fs::create_dir_all(w.full_path("two/z/b")).unwrap();
    });
    check(&mut w, "moved out, and in again elsewhere", &|w| {
        fs::rename(w.full_path("one/y"), w.full_path("outside")).unwrap();
        fs::rename(w.full_path("outside"), w.full_path("two/z/b/y")).unwrap();
    });
    check(&mut w, "hidden", &|w| {
        fs::rename(w.full_path("two/z/b/y"), w.full_path("two/z/b/.y")).unwrap();
    });
    check(&mut w, "not hidden any more", &|w| {
        fs::rename(w.full_path("two/z/b/.y"), w.full_path("two/z/b/y")).unwrap();
    });
    check(&mut w, "ignored ones change", &|w| {
        fs::write(w.full_path("one/.lookalikeignore"), "other\n").unwrap();
        fs::write(w.full_path("two/.lookalikeignore"), "y/\n").unwrap();
    });
    // The roots themselves are swapped: nothing is watched until a user confirms that.
    fs::rename(w.full_path("two"), w.full_path("was two")).unwrap();
    fs::rename(w.full_path("one"), w.full_path("two")).unwrap();
    fs::rename(w.full_path("was two"), w.full_path("one")).unwrap();
    w.settle_with_reports();
    for library in [0, 1] {
        assert!(
            w.library(library)
                .watch_schedule
                .watches
                .watched_folders()
                .is_empty()
        );
        w.send_request(library, WatcherRequest::Confirm);
    }
    check(&mut w, "the roots are others", &|_| {});
    w.restart();
    check(&mut w, "another run", &|_| {});
}

#[test]
fn a_rescan_adds_no_watch_twice() {
    let mut w = KeeperWorld::new();
    fs::create_dir_all(w.full_path("one/a/b")).unwrap();
    w.rescan_all();
    w.settle();
    let before = w.library(0).watch_schedule.watches.add_count;
    assert_eq!(before, 3);
    w.rescan_all();
    w.settle();
    assert_eq!(w.library(0).watch_schedule.watches.add_count, before);
    // After lost hints, every watch is stale.
    w.lose_hints(0);
    w.settle();
    assert_eq!(w.library(0).watch_schedule.watches.add_count, 2 * before);
}

#[test]
fn what_can_not_be_watched_is_compared_often() {
    let mut w = world_with_reports(|settings| {
        settings.max_watches = 4;
        settings.poll_interval = Duration::from_secs(15);
    });
    fs::create_dir_all(w.full_path("two/a/b/c/d")).unwrap();
    w.settle_with_reports();
    // Two watches are those of the roots.
    assert_eq!(w.degraded(), ["watch_limit"]);
    let lacking = |w: &mut KeeperWorld| {
        w.library(1)
            .watch_schedule
            .watches
            .unwatched_folders()
            .len()
    };
    assert_eq!(lacking(&mut w), 2);
    let detail = w.published.borrow()[1].degraded[0].detail.clone();
    assert!(
        detail.starts_with("2 folders are not watched") && detail.contains("watch.max_watches"),
        "{detail}"
    );
    let poll = |w: &mut KeeperWorld| {
        w.settle_with_reports();
        let before = w.index.len();
        w.advance_clock(Duration::from_secs(15));
        w.settle();
        before
    };
    // New files, new folders with files, and deletions, all below unwatched folders.
    fs::write(w.full_path("two/a/b/c/d/1.jpg"), "1").unwrap();
    fs::create_dir_all(w.full_path("two/a/b/c/d/new/deep")).unwrap();
    fs::write(w.full_path("two/a/b/c/d/new/deep/2.jpg"), "2").unwrap();
    assert_eq!(poll(&mut w), 0, "nothing reports them");
    w.assert_index_equals_folder();
    assert_eq!(w.index.len(), 2);
    fs::rename(w.full_path("two/a/b/c/d/new"), w.full_path("outside")).unwrap();
    fs::write(w.full_path("two/a/b/c/.lookalikeignore"), "1.jpg\n").unwrap();
    fs::write(w.full_path("two/a/b/c/3.jpg"), "3").unwrap();
    poll(&mut w);
    w.settle_and_check();
    assert_eq!(w.index.len(), 1);
    // Watches that become free are used again.
    let first = w.library(1).watch_schedule.watches.watched_folders();
    eprintln!("watched: {first:?}");
    fs::rename(w.full_path("two/a/b/c"), w.full_path("two/c")).unwrap();
    fs::remove_dir_all(w.full_path("two/a")).unwrap();
    fs::remove_dir_all(w.full_path("two/c/d")).unwrap();
    w.settle_with_reports();
    poll(&mut w);
    w.settle_with_reports();
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
    w.assert_all_watched();
}

/// Runs in a namespace that allows this user ten watches: needs `unshare`.
#[test]
fn the_system_allows_too_few_watches_and_then_more() {
    const LIMIT: &str = "/proc/sys/user/max_inotify_watches";
    if std::env::var_os("LOOKALIKE_TEN_WATCHES").is_none() {
        let program = std::env::current_exe().unwrap();
        let inside = Command::new("unshare")
            .args(["--user", "--map-root-user", "sh", "-c"])
            .arg(format!(
                "echo 10 > {LIMIT} && exec \"$0\" --nocapture --exact \"$1\""
            ))
            .arg(program)
            .arg("keeper::tests::watches::the_system_allows_too_few_watches_and_then_more")
            .env("LOOKALIKE_TEN_WATCHES", "1")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&inside.stderr);
        if stderr.contains("unshare:") || stderr.contains("sh:") {
            eprintln!("SKIPPED: no namespace to limit watches in: {stderr}");
            return;
        }
        assert!(inside.status.success(), "{stderr}");
        assert!(String::from_utf8_lossy(&inside.stdout).contains("1 passed"));
        return;
    }
    let mut w = world_with_reports(|_| {});
    for n in 0..20 {
        fs::create_dir(w.full_path(&format!("one/{n}"))).unwrap();
    }
    w.settle_with_reports();
    assert_eq!(w.degraded(), ["watch_limit"]);
    let detail = w.published.borrow()[0].degraded[0].detail.clone();
    assert!(
        detail.starts_with("12 folders are not") && detail.contains("fs.inotify.max_user_watches"),
        "{detail}"
    );
    for n in 0..20 {
        fs::write(w.full_path(&format!("one/{n}/a.jpg")), n.to_string()).unwrap();
    }
    w.settle_with_reports();
    assert_eq!(w.index.len(), 8);
    w.advance_clock(Duration::from_secs(15));
    w.settle_and_check();
    assert_eq!(w.degraded(), ["watch_limit"]);
    fs::write(LIMIT, "1000").unwrap();
    w.advance_clock(Duration::from_secs(15));
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
    w.assert_all_watched();
}

/// Mounts file systems in a namespace of this thread: needs to be root.
#[cfg(target_os = "linux")]
#[test]
fn mounts_that_change_unseen_are_polled() {
    let work = || {
        // SAFETY: the only argument is a number; the call affects this thread and those it starts.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            eprintln!(
                "SKIPPED: no namespace to mount in: {}",
                std::io::Error::last_os_error()
            );
            return;
        }
        let mount = |arguments: &[&str]| {
            let status = Command::new("mount").args(arguments).status().unwrap();
            assert!(status.success(), "{arguments:?}");
        };
        mount(&["--make-rprivate", "/"]);
        let mut w =
            world_with_reports(|settings| settings.rescan_interval = Duration::from_secs(300));
        for folder in ["lower", "upper", "work", "one/tmp", "one/over"] {
            fs::create_dir(w.full_path(folder)).unwrap();
        }
        let at = |place: &str| w.full_path(place).display().to_string();
        mount(&["-t", "tmpfs", "none", &at("one/tmp")]);
        w.settle_with_reports();
        w.rescan_all();
        w.settle();
        assert_eq!(w.degraded(), [""; 0], "a local file system");
        let at = |place: &str| w.full_path(place).display().to_string();
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            at("lower"),
            at("upper"),
            at("work")
        );
        mount(&["-t", "overlay", "overlay", "-o", &layers, &at("one/over")]);
        w.rescan_all();
        w.settle();
        assert_eq!(w.degraded(), ["watch_polled"]);
        let detail = w.published.borrow()[0].degraded[0].detail.clone();
        assert!(detail.starts_with("over is on overlay, where"), "{detail}");
        // Changes through the mount are reported, changes below it are not.
        fs::write(w.full_path("one/over/a.jpg"), "a").unwrap();
        w.settle_with_reports();
        assert_eq!(w.index.len(), 1);
        fs::write(w.full_path("upper/b.jpg"), "b").unwrap();
        w.settle_with_reports();
        assert_eq!(w.index.len(), 1);
        w.advance_clock(Duration::from_secs(20));
        w.settle_and_check();
        assert_eq!(w.index.len(), 2);
        let status = Command::new("umount").arg(w.full_path("one/over")).status();
        assert!(status.unwrap().success());
        w.advance_clock(Duration::from_secs(20));
        w.settle_and_check();
        assert_eq!(w.degraded(), [""; 0]);
        let status = Command::new("umount").arg(w.full_path("one/tmp")).status();
        assert!(status.unwrap().success());
    };
    std::thread::spawn(work).join().unwrap();
}

/// `LOOKALIKE_FOLDERS=20000 cargo test -p lookalike-watcher watching_many -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn watching_many_folders() {
    let folders = std::env::var("LOOKALIKE_FOLDERS").map_or(20_000, |text| text.parse().unwrap());
    let mut w = KeeperWorld::with_settings(|_| {});
    w.real_time = true;
    for n in 0..folders {
        fs::create_dir_all(w.full_path(&format!("one/{}/{n}", n % 100))).unwrap();
    }
    let mut measure = |what: &str, work: &dyn Fn(&mut KeeperWorld)| {
        work(&mut w);
        let begun = Instant::now();
        w.run_tick();
        while w.keeper().scans.has_ready_scan() {
            w.run_tick();
        }
        let watches = &w.library(0).watch_schedule.watches;
        let (watched, adds) = (watches.folder_counts().0, watches.add_count);
        eprintln!(
            "{what}: {:.2?}, {watched} watched, {adds} watches added",
            begun.elapsed()
        );
    };
    measure("first scan", &|w| w.rescan_all());
    measure("rescan", &|w| w.rescan_all());
    measure("hints lost", &|w| w.lose_hints(0));
    measure("all renamed", &|w| {
        for n in 0..100 {
            w.rename_path(&format!("one/{n}"), &format!("one/was {n}"));
        }
    });
    measure("all deleted", &|w| {
        let begun = Instant::now();
        for n in 0..100 {
            let place = format!("one/was {n}");
            fs::remove_dir_all(w.full_path(&place)).unwrap();
            w.add_hint(&place, HintKind::Gone);
        }
        eprintln!("deleting them took {:.2?}", begun.elapsed());
    });
}
