//! The cost of very many files: run by hand, prints seconds and resident memory.

use std::fs;
use std::time::{Duration, Instant};

use super::world::KeeperWorld;

/// `LOOKALIKE_FILES=200000 cargo test -p lookalike-watcher many -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn many_files() {
    let text = std::env::var("LOOKALIKE_FILES").unwrap_or_else(|_| "20000".into());
    let files: usize = text.parse().unwrap();
    let in_folder: usize =
        std::env::var("LOOKALIKE_IN_FOLDER").map_or(1000, |t| t.parse().unwrap());
    let mut w = KeeperWorld::with_settings(|settings| settings.quiet_interval = Duration::ZERO);
    w.real_time = true;
    for n in 0..files {
        let folder = w.full_path(&format!("one/{:05}", n / in_folder));
        if n % in_folder == 0 {
            fs::create_dir(&folder).unwrap();
        }
        fs::write(
            folder.join(format!("photo of a day {n:07}.jpg")),
            n.to_string(),
        )
        .unwrap();
    }
    let mut measure = |what: &str, work: &dyn Fn(&mut KeeperWorld)| {
        let (begun, mut ticks, mut longest) = (Instant::now(), 0, Duration::ZERO);
        work(&mut w);
        while w.keeper().scans.has_ready_scan() {
            let tick = Instant::now();
            w.run_tick();
            longest = longest.max(tick.elapsed());
            ticks += 1;
        }
        let resident = resident_mib();
        eprintln!(
            "{what}: {files} files, {:.2?}, {ticks} ticks, the longest {longest:.1?}, {resident} MiB",
            begun.elapsed()
        );
    };
    measure("first scan", &KeeperWorld::rescan_all);
    measure("rescan", &KeeperWorld::rescan_all);
    measure("hand out 20,000", &|w| {
        let mut count = 0;
        while w.take_events(512).len() == 512 {
            count += 512;
        }
        eprintln!("{count} handed out");
    });
    measure("thousand idle ticks", &|w| {
        for _ in 0..1000 {
            w.run_tick();
            w.keeper().next_deadline();
        }
    });
    measure("restart and scan", &KeeperWorld::restart);
    measure("all gone", &|w| {
        fs::rename(w.full_path("one/00000"), w.full_path("away")).unwrap();
        w.rescan_all();
    });
}

fn resident_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    let kib: String = line.chars().filter(char::is_ascii_digit).collect();
    kib.parse::<u64>().unwrap() / 1024
}
