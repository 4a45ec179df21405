//! What very many files cost: run by hand, it prints seconds and resident memory.

use std::fs;
use std::time::{Duration, Instant};

use super::world::World;

/// `LOOKALIKE_FILES=200000 cargo test -p lookalike-watcher many -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn many_files() {
    let text = std::env::var("LOOKALIKE_FILES").unwrap_or_else(|_| "20000".into());
    let files: usize = text.parse().unwrap();
    let in_folder: usize =
        std::env::var("LOOKALIKE_IN_FOLDER").map_or(1000, |t| t.parse().unwrap());
    let mut w = World::with(|settings| settings.quiet = Duration::ZERO);
    w.real_time = true;
    for n in 0..files {
        let folder = w.full(&format!("one/{:05}", n / in_folder));
        if n % in_folder == 0 {
            fs::create_dir(&folder).unwrap();
        }
        fs::write(
            folder.join(format!("photo of a day {n:07}.jpg")),
            n.to_string(),
        )
        .unwrap();
    }
    let mut measure = |what: &str, work: &dyn Fn(&mut World)| {
        let (begun, mut turns, mut longest) = (Instant::now(), 0, Duration::ZERO);
        work(&mut w);
        while w.keeper().scans.any_ready() {
            let turn = Instant::now();
            w.turn(Vec::new());
            longest = longest.max(turn.elapsed());
            turns += 1;
        }
        let resident = resident_mib();
        eprintln!(
            "{what}: {files} files, {:.2?}, {turns} turns, the longest {longest:.1?}, {resident} MiB",
            begun.elapsed()
        );
    };
    measure("first scan", &World::rescan);
    measure("rescan", &World::rescan);
    measure("hand out 20,000", &|w| {
        let mut count = 0;
        while w.hand_out(512).len() == 512 {
            count += 512;
        }
        eprintln!("{count} handed out");
    });
    measure("thousand idle turns", &|w| {
        for _ in 0..1000 {
            w.turn(Vec::new());
            w.keeper().next_deadline();
        }
    });
    measure("restart and scan", &World::restart);
    measure("all gone", &|w| {
        fs::rename(w.full("one/00000"), w.full("away")).unwrap();
        w.rescan();
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
