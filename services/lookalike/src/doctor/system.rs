//! Limits and the clock of this machine.

use std::time::{Duration, Instant, SystemTime};

use lookalike_chassis::{clock, descriptors};

use super::finding::Finding;
use super::installation::Installation;

/// With fewer descriptors, Milvus and a service with some clients fail.
const MIN_DESCRIPTORS: u64 = 1024;
/// Enough for 1,024 connections, and for the files and connections of the servers.
const USUAL_DESCRIPTORS: u64 = 4096;

/// How long the two clocks are compared.
const CLOCK_SAMPLE: Duration = Duration::from_millis(200);
/// A step of the wall clock within the sample that is no correction of its speed.
const MAX_CLOCK_STEP: Duration = Duration::from_millis(50);
/// This version was written later: 2026-01-01.
const EARLIEST_TIME: Duration = Duration::from_secs(1_767_225_600);

pub(super) fn check_descriptors(_installation: &Installation) -> Vec<Finding> {
    const CHECK: &str = "descriptors";
    let (Some(soft), Some(hard)) = (
        descriptors::descriptor_limit(),
        descriptors::hard_descriptor_limit(),
    ) else {
        return vec![Finding::ok(CHECK, "this system reports no limit")];
    };
    let message = format!("this process may open {soft} files and connections (hard limit {hard})");
    let remedy = "sudo prlimit --pid $$ --nofile=65536:65536";
    vec![if soft < MIN_DESCRIPTORS {
        let message = format!("{message}; lookalike needs {MIN_DESCRIPTORS}");
        Finding::failure(CHECK, message, remedy)
    } else if soft < USUAL_DESCRIPTORS {
        let message = format!("{message}; {USUAL_DESCRIPTORS} or more are better");
        Finding::warning(CHECK, message, remedy)
    } else {
        Finding::ok(CHECK, message)
    }]
}

/// Waits are measured by the monotonic clock. The wall clock matters for the times of files, events and
/// keys, and for leases of several machines.
pub(super) fn check_clock(_installation: &Installation) -> Vec<Finding> {
    const CHECK: &str = "clock";
    let remedy = "timedatectl status; sudo timedatectl set-ntp true";
    let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    if since_epoch < EARLIEST_TIME {
        let message = "the wall clock is years behind: times of files and events are wrong";
        return vec![Finding::failure(CHECK, message, remedy)];
    }
    let (wall, monotonic) = (SystemTime::now(), Instant::now());
    std::thread::sleep(CLOCK_SAMPLE);
    let passed = monotonic.elapsed();
    let step = measure_step(wall.elapsed().map_err(|error| error.duration()), passed);
    if step > MAX_CLOCK_STEP {
        let message = format!(
            "the wall clock jumped by {} ms within {} ms",
            step.as_millis(),
            passed.as_millis()
        );
        return vec![Finding::warning(CHECK, message, remedy)];
    }
    vec![match clock::is_wall_clock_synchronized() {
        Some(false) => Finding::warning(
            CHECK,
            "the wall clock runs steadily, but no time server synchronizes it",
            remedy,
        ),
        Some(true) => Finding::ok(CHECK, "the wall clock runs steadily and is synchronized"),
        None => Finding::ok(CHECK, "the wall clock runs steadily"),
    }]
}

/// How much more or less time passed on the wall clock than on the monotonic clock. The wall clock may
/// have gone back.
fn measure_step(wall: Result<Duration, Duration>, monotonic: Duration) -> Duration {
    match wall {
        Ok(forward) => forward.abs_diff(monotonic),
        Err(back) => back + monotonic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_no_direction() {
        let ms = Duration::from_millis;
        assert_eq!(measure_step(Ok(ms(200)), ms(201)), ms(1));
        assert_eq!(measure_step(Ok(ms(5200)), ms(200)), ms(5000));
        assert_eq!(measure_step(Err(ms(4800)), ms(200)), ms(5000));
    }
}
