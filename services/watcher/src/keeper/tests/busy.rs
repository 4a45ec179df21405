//! Files that are written again and again, with the system's own reports.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lookalike_bus::{WatcherReply, WatcherRequest};

use super::world::KeeperWorld;
use crate::inbox::Inbox;

/// Handles what the system reports for so long; returns the number of ticks.
fn handle_reports(w: &mut KeeperWorld, inbox: &Arc<Inbox>, time: Duration) -> usize {
    let end = Instant::now() + time;
    let mut ticks = 0;
    while Instant::now() < end {
        let drained = inbox.wait_and_drain(1024, end);
        assert!(drained.overflowed.is_empty());
        w.hints.extend(drained.hints);
        w.run_tick();
        ticks += 1;
    }
    ticks
}

#[test]
fn a_file_that_is_written_all_the_time_costs_little_and_is_indexed_when_it_rests() {
    let mut w = KeeperWorld::with_settings(|settings| {
        settings.settle_interval = Duration::from_millis(300);
        settings.max_file_bytes = 1 << 20;
    });
    w.real_time = true;
    w.are_hints_muted = true;
    let inbox = w.keeper().inbox.clone();
    w.settle();
    let (camera, download) = (w.full_path("one/cam.jpg"), w.full_path("one/download.jpg"));
    let is_done = Arc::new(AtomicBool::new(false));
    let done = is_done.clone();
    let writer = std::thread::spawn(move || {
        let mut open = fs::File::create(download).unwrap();
        let mut writes = 0;
        while !done.load(Ordering::Relaxed) {
            writes += 1;
            fs::write(&camera, format!("picture {writes}")).unwrap();
            std::io::Write::write_all(&mut open, b"more").unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
        writes
    });
    handle_reports(&mut w, &inbox, Duration::from_millis(1000));
    let ticks = handle_reports(&mut w, &inbox, Duration::from_millis(5000));
    assert!(ticks < 60, "{ticks} ticks in five seconds");
    assert!(w.take_events(100).len() <= 2, "a few first writes are sent");
    // On a busy machine, the writer may have paused for longer than the settle interval.
    let limit = Instant::now() + Duration::from_secs(30);
    while w.degraded() != ["being_written"] {
        assert!(Instant::now() < limit, "{:?}", w.degraded());
        handle_reports(&mut w, &inbox, Duration::from_millis(50));
    }
    let request = WatcherRequest::FileHistory {
        id: None,
        path: Some("cam.jpg".into()),
    };
    let reply = w.send_request(0, request);
    let WatcherReply::FileHistory(Some(history)) = reply else {
        panic!("{reply:?}");
    };
    assert!(
        history.waits_for.contains("still being written"),
        "{history:?}"
    );
    // Scans neither observe it nor miscount.
    w.rescan_all();
    while w.keeper().scans.has_ready_scan() {
        w.run_tick();
    }
    is_done.store(true, Ordering::Relaxed);
    let writes = writer.join().unwrap();
    assert!(writes > 300, "{writes}");
    let rested = Instant::now();
    while w.published.borrow()[0]
        .degraded
        .iter()
        .any(|d| d.reason == "being_written")
    {
        handle_reports(&mut w, &inbox, Duration::from_millis(100));
        assert!(rested.elapsed() < Duration::from_secs(5));
    }
    w.settle_and_check();
    assert_eq!(w.degraded(), [""; 0]);
    assert_eq!(w.index.len(), 2);
}

/// CPU time of this process' threads whose names begin with `watcher`.
fn watcher_cpu_time() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    let ticks = stats.filter_map(|stat| {
        let (name, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let time = fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?;
        name.contains("(watcher").then_some(time)
    });
    // The kernel counts in hundredths of a second.
    Duration::from_millis(10 * ticks.sum::<u64>())
}

/// `cargo test --workspace --lib -- --ignored --nocapture busy::the_cost_of`
#[test]
#[ignore = "a measurement"]
fn the_cost_of_a_file_that_is_written_all_the_time() {
    let mut w = KeeperWorld::with_settings(|settings| {
        settings.settle_interval = Duration::from_millis(500);
    });
    w.real_time = true;
    w.settle();
    let path = w.full_path("one/cam.jpg");
    let (keeper, inbox) = w.take_keeper();
    let thread = std::thread::Builder::new()
        .name("watcher keeper".into())
        .spawn(move || keeper.run())
        .unwrap();
    let measure = |what: &str, work: &dyn Fn()| {
        let (begun, before) = (Instant::now(), watcher_cpu_time());
        let mut count = 0;
        while begun.elapsed() < Duration::from_secs(30) {
            work();
            count += 1;
            std::thread::sleep(Duration::from_millis(5));
        }
        let per_minute = (watcher_cpu_time() - before).as_secs_f64() * 2.0;
        eprintln!("{what}: {count} times in 30 s, {per_minute:.2} CPU seconds per minute");
    };
    measure("idle", &|| {});
    measure("written and closed", &|| {
        fs::write(&path, "a picture").unwrap();
    });
    let open = std::cell::RefCell::new(fs::File::create(path.with_extension("png")).unwrap());
    measure("written, left open", &|| {
        std::io::Write::write_all(&mut *open.borrow_mut(), b"more").unwrap();
    });
    measure("read", &|| drop(fs::read(&path).unwrap()));
    inbox.push_signal(crate::inbox::KeeperSignal::Stop);
    thread.join().unwrap();
}
