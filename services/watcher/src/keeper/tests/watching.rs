//! Watches, with the system's own: which folders report, under which path, and what happens where
//! they can't.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use lookalike_bus::WatcherQuestion;

use super::world::World;
use crate::inbox::HintKind;

/// A world that hears what the system says, and only that.
fn listening(change: impl FnOnce(&mut crate::settings::Settings)) -> World {
    let mut w = World::with(change);
    w.deaf = true;
    w.settle();
    w
}

#[test]
fn every_folder_reports_under_its_own_path() {
    let mut w = listening(|_| {});
    fs::create_dir_all(w.full("one/a/b/c")).unwrap();
    fs::create_dir_all(w.full("one/.hidden/x")).unwrap();
    fs::create_dir_all(w.full("one/ignored/x")).unwrap();
    fs::write(w.full("one/.lookalikeignore"), "ignored\n").unwrap();
    w.listen();
    w.assert_all_watched();
    let tells = |w: &mut World, what: &str, work: &dyn Fn(&World)| {
        work(w);
        w.listen();
        eprintln!("{what}");
        w.assert_all_watched();
    };
    tells(&mut w, "renamed", &|w| {
        fs::rename(w.full("one/a"), w.full("one/z")).unwrap();
    });
    tells(&mut w, "renamed, and another one made in its place", &|w| {
        fs::rename(w.full("one/z"), w.full("one/y")).unwrap();
        fs::create_dir_all(w.full("one/z/b/c")).unwrap();
    });
    tells(&mut w, "swapped", &|w| {
        fs::rename(w.full("one/z"), w.full("one/x")).unwrap();
        fs::rename(w.full("one/y"), w.full("one/z")).unwrap();
        fs::rename(w.full("one/x"), w.full("one/y")).unwrap();
    });
    tells(&mut w, "moved to another library", &|w| {
        fs::rename(w.full("one/z"), w.full("two/z")).unwrap();
    });
    tells(&mut w, "deleted and made again", &|w| {
        fs::remove_dir_all(w.full("two/z")).unwrap();
        fs::create_dir_all(w.full("two/z/b")).unwrap();
    });
    tells(&mut w, "moved out, and in again elsewhere", &|w| {
        fs::rename(w.full("one/y"), w.full("outside")).unwrap();
        fs::rename(w.full("outside"), w.full("two/z/b/y")).unwrap();
    });
    tells(&mut w, "hidden", &|w| {
        fs::rename(w.full("two/z/b/y"), w.full("two/z/b/.y")).unwrap();
    });
    tells(&mut w, "not hidden any more", &|w| {
        fs::rename(w.full("two/z/b/.y"), w.full("two/z/b/y")).unwrap();
    });
    tells(&mut w, "ignored ones change", &|w| {
        fs::write(w.full("one/.lookalikeignore"), "other\n").unwrap();
        fs::write(w.full("two/.lookalikeignore"), "y/\n").unwrap();
    });
    // The roots themselves are swapped: nothing is watched until that is said to be meant.
    fs::rename(w.full("two"), w.full("was two")).unwrap();
    fs::rename(w.full("one"), w.full("two")).unwrap();
    fs::rename(w.full("was two"), w.full("one")).unwrap();
    w.listen();
    for library in [0, 1] {
        assert!(
            w.keeper().libraries[library]
                .watching
                .watches
                .armed()
                .is_empty()
        );
        w.question(library, WatcherQuestion::Confirm);
    }
    tells(&mut w, "the roots are others", &|_| {});
    w.restart();
    tells(&mut w, "another run", &|_| {});
}

#[test]
fn a_rescan_arms_nothing_that_is_armed() {
    let mut w = World::new();
    fs::create_dir_all(w.full("one/a/b")).unwrap();
    w.rescan();
    w.settle();
    let before = w.keeper().libraries[0].watching.watches.arm_count;
    assert_eq!(before, 3);
    w.rescan();
    w.settle();
    assert_eq!(w.keeper().libraries[0].watching.watches.arm_count, before);
    // When hints were lost nothing is sure.
    w.overflown.push(0);
    w.settle();
    assert_eq!(
        w.keeper().libraries[0].watching.watches.arm_count,
        2 * before
    );
}

#[test]
fn what_can_not_be_watched_is_compared_often() {
    let mut w = listening(|settings| {
        settings.max_watches = 4;
        settings.poll_interval = Duration::from_secs(15);
    });
    fs::create_dir_all(w.full("two/a/b/c/d")).unwrap();
    w.listen();
    // Two are the roots'.
    assert_eq!(w.degraded(), ["watch_limit"]);
    let lacking = |w: &mut World| w.keeper().libraries[1].watching.watches.unwatched().len();
    assert_eq!(lacking(&mut w), 2);
    let detail = w.shown.borrow()[1].degraded[0].detail.clone();
    assert!(
        detail.starts_with("2 folders are not watched") && detail.contains("watch.max_watches"),
        "{detail}"
    );
    let poll = |w: &mut World| {
        w.listen();
        let before = w.index.len();
        w.pass(Duration::from_secs(15));
        w.settle();
        before
    };
    // New files, new folders and their files, and what goes, all below what is not watched.
    fs::write(w.full("two/a/b/c/d/1.jpg"), "1").unwrap();
    fs::create_dir_all(w.full("two/a/b/c/d/new/deep")).unwrap();
    fs::write(w.full("two/a/b/c/d/new/deep/2.jpg"), "2").unwrap();
    assert_eq!(poll(&mut w), 0, "nothing tells of them");
    w.assert_index_equals_folder();
    assert_eq!(w.index.len(), 2);
    fs::rename(w.full("two/a/b/c/d/new"), w.full("outside")).unwrap();
    fs::write(w.full("two/a/b/c/.lookalikeignore"), "1.jpg\n").unwrap();
    fs::write(w.full("two/a/b/c/3.jpg"), "3").unwrap();
    poll(&mut w);
    w.settle_and_check();
    assert_eq!(w.index.len(), 1);
    // Watches that become free are used again, and then all is well.
    let first = w.keeper().libraries[1].watching.watches.armed();
    eprintln!("watched: {first:?}");
    fs::rename(w.full("two/a/b/c"), w.full("two/c")).unwrap();
    fs::remove_dir_all(w.full("two/a")).unwrap();
    fs::remove_dir_all(w.full("two/c/d")).unwrap();
    w.listen();
    poll(&mut w);
    w.listen();
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
    w.assert_all_watched();
}

/// In a namespace of its own, where this user may have ten watches: needs `unshare`.
#[test]
fn the_system_allows_too_few_watches_and_then_more() {
    const LIMIT: &str = "/proc/sys/user/max_inotify_watches";
    if std::env::var_os("LOOKALIKE_TEN_WATCHES").is_none() {
        let this = std::env::current_exe().unwrap();
        let inside = Command::new("unshare")
            .args(["--user", "--map-root-user", "sh", "-c"])
            .arg(format!(
                "echo 10 > {LIMIT} && exec \"$0\" --nocapture --exact \"$1\""
            ))
            .arg(this)
            .arg("keeper::tests::watching::the_system_allows_too_few_watches_and_then_more")
            .env("LOOKALIKE_TEN_WATCHES", "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&inside.stderr);
        if said.contains("unshare:") || said.contains("sh:") {
            eprintln!("SKIPPED: no namespace to limit watches in: {said}");
            return;
        }
        assert!(inside.status.success(), "{said}");
        assert!(String::from_utf8_lossy(&inside.stdout).contains("1 passed"));
        return;
    }
    let mut w = listening(|_| {});
    for n in 0..20 {
        fs::create_dir(w.full(&format!("one/{n}"))).unwrap();
    }
    w.listen();
    assert_eq!(w.degraded(), ["watch_limit"]);
    let detail = w.shown.borrow()[0].degraded[0].detail.clone();
    assert!(
        detail.starts_with("12 folders are not") && detail.contains("fs.inotify.max_user_watches"),
        "{detail}"
    );
    for n in 0..20 {
        fs::write(w.full(&format!("one/{n}/a.jpg")), n.to_string()).unwrap();
    }
    w.listen();
    assert_eq!(w.index.len(), 8);
    w.pass(Duration::from_secs(15));
    w.settle_and_check();
    assert_eq!(w.degraded(), ["watch_limit"]);
    fs::write(LIMIT, "1000").unwrap();
    w.pass(Duration::from_secs(15));
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
    w.assert_all_watched();
}

/// Mounts are made in a namespace of this thread: needs to be root.
#[cfg(target_os = "linux")]
#[test]
fn mounts_that_change_unseen_are_polled() {
    let work = || {
        // SAFETY: it has no arguments but a number; it concerns this thread, and those it starts.
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
        let mut w = listening(|settings| settings.rescan_interval = Duration::from_secs(300));
        for folder in ["lower", "upper", "work", "one/tmp", "one/over"] {
            fs::create_dir(w.full(folder)).unwrap();
        }
        let at = |place: &str| w.full(place).display().to_string();
        mount(&["-t", "tmpfs", "none", &at("one/tmp")]);
        w.listen();
        w.rescan();
        w.settle();
        assert_eq!(w.degraded(), [""; 0], "a local file system");
        let at = |place: &str| w.full(place).display().to_string();
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            at("lower"),
            at("upper"),
            at("work")
        );
        mount(&["-t", "overlay", "overlay", "-o", &layers, &at("one/over")]);
        w.rescan();
        w.settle();
        assert_eq!(w.degraded(), ["watch_polled"]);
        let detail = w.shown.borrow()[0].degraded[0].detail.clone();
        assert!(
            detail.starts_with("over lies on overlay, where"),
            "{detail}"
        );
        // What is done through the mount is told, what is done below it is not.
        fs::write(w.full("one/over/a.jpg"), "a").unwrap();
        w.listen();
        assert_eq!(w.index.len(), 1);
        fs::write(w.full("upper/b.jpg"), "b").unwrap();
        w.listen();
        assert_eq!(w.index.len(), 1);
        w.pass(Duration::from_secs(20));
        w.settle_and_check();
        assert_eq!(w.index.len(), 2);
        let status = Command::new("umount").arg(w.full("one/over")).status();
        assert!(status.unwrap().success());
        w.pass(Duration::from_secs(20));
        w.settle_and_check();
        assert_eq!(w.degraded(), [""; 0]);
        let status = Command::new("umount").arg(w.full("one/tmp")).status();
        assert!(status.unwrap().success());
    };
    std::thread::spawn(work).join().unwrap();
}

/// `LOOKALIKE_FOLDERS=20000 cargo test -p lookalike-watcher arming -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn arming_many_folders() {
    let folders = std::env::var("LOOKALIKE_FOLDERS").map_or(20_000, |text| text.parse().unwrap());
    let mut w = World::with(|_| {});
    w.real_time = true;
    for n in 0..folders {
        fs::create_dir_all(w.full(&format!("one/{}/{n}", n % 100))).unwrap();
    }
    let mut measure = |what: &str, work: &dyn Fn(&mut World)| {
        work(&mut w);
        let begun = Instant::now();
        w.turn(Vec::new());
        while w.keeper().scans.any_ready() {
            w.turn(Vec::new());
        }
        let watches = &w.keeper().libraries[0].watching.watches;
        let (armed, arms) = (watches.counts().0, watches.arm_count);
        eprintln!(
            "{what}: {:.2?}, {armed} watched, armed {arms} times",
            begun.elapsed()
        );
    };
    measure("first scan", &|w| w.rescan());
    measure("rescan", &|w| w.rescan());
    measure("hints lost", &|w| w.overflown.push(0));
    measure("all renamed", &|w| {
        for n in 0..100 {
            w.rename(&format!("one/{n}"), &format!("one/was {n}"));
        }
    });
    measure("all deleted", &|w| {
        let begun = Instant::now();
        for n in 0..100 {
            let place = format!("one/was {n}");
            fs::remove_dir_all(w.full(&place)).unwrap();
            w.hint(&place, HintKind::Gone);
        }
        eprintln!("deleting them took {:.2?}", begun.elapsed());
    });
}
