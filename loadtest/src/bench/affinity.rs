//! Restricts this process and its children to a number of cores.

/// Restricts the calling thread, and everything that it starts afterwards, to the first `count` of the
/// cores that it may use. Must run before other threads exist.
#[cfg(target_os = "linux")]
pub fn restrict_cores(count: usize) -> anyhow::Result<()> {
    // SAFETY: all bit patterns of a set of cores are valid, and the calls only read and write the set,
    // whose size is passed along.
    let result = unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        let size = std::mem::size_of_val(&allowed);
        match libc::sched_getaffinity(0, size, &mut allowed) {
            0 => {
                let mut chosen: libc::cpu_set_t = std::mem::zeroed();
                (0..libc::CPU_SETSIZE as usize)
                    .filter(|core| libc::CPU_ISSET(*core, &allowed))
                    .take(count)
                    .for_each(|core| libc::CPU_SET(core, &mut chosen));
                libc::sched_setaffinity(0, size, &chosen)
            }
            failed => failed,
        }
    };
    anyhow::ensure!(
        result == 0,
        "cannot restrict the cores: {}",
        std::io::Error::last_os_error()
    );
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub fn restrict_cores(_count: usize) -> anyhow::Result<()> {
    anyhow::bail!("--threads needs Linux")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_and_its_children_use_one_core() {
        let cores = std::thread::spawn(|| {
            restrict_cores(1).unwrap();
            std::thread::spawn(std::thread::available_parallelism)
                .join()
                .unwrap()
        });
        assert_eq!(cores.join().unwrap().unwrap().get(), 1);
    }
}
