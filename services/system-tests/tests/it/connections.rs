//! More connections than there are places or file descriptors, and clients that send slowly.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{SystemWorld, eventually};

/// Time limit of one small step on a busy machine.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

fn service_address(world: &SystemWorld) -> SocketAddr {
    let address = world.url.strip_prefix("http://").unwrap();
    address.parse().unwrap()
}

async fn open_connection(world: &SystemWorld) -> TcpStream {
    let connecting = TcpStream::connect(service_address(world));
    let connected = tokio::time::timeout(STEP_TIMEOUT, connecting).await;
    connected.expect("the listener has a queue").unwrap()
}

/// Requests `/healthz` over a new connection and returns the time until the response.
async fn measure_health(world: &SystemWorld) -> Duration {
    let started = Instant::now();
    let mut stream = open_connection(world).await;
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let read = tokio::time::timeout(STEP_TIMEOUT, reading).await;
    read.expect("it answers").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    started.elapsed()
}

/// Sets the soft limit on file descriptors of this process to the hard one.
fn raise_own_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: plain system calls with a struct of the right type.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
}

/// Returns the soft and the hard limit on file descriptors of a process.
fn descriptor_limits(pid: u32) -> (u64, u64) {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let numbers: Vec<u64> = line
        .unwrap()
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    (numbers[0], numbers[1])
}

fn count_descriptors(pid: u32) -> u64 {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    descriptors.count() as u64
}

/// Returns the CPU time of a process so far.
fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    // SAFETY: a plain system call.
    let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64)
}

#[tokio::test]
async fn every_role_raises_its_soft_limit() {
    let mut world = SystemWorld::new("limit");
    let mut command = world.role_command("up");
    let lower_limit = || {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: plain system calls with a struct of the right type.
        unsafe {
            libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
            limit.rlim_cur = 64;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls only and allocates nothing.
    unsafe { command.pre_exec(lower_limit) };
    let up = world.start_command(command, "up");
    let pid = up.pid();
    world.wait_for_up(up).await;
    let (soft, hard) = descriptor_limits(pid);
    assert_eq!(soft, hard.min(1 << 20));
    world.stop_up().await;
}

#[tokio::test]
async fn without_descriptors_new_connections_wait() {
    let mut world = SystemWorld::with_up("descriptors").await;
    world.wait_until_settled().await;
    let up = world.up.as_ref().unwrap();
    let pid = up.pid();
    let (soft, _) = descriptor_limits(pid);
    up.limit_descriptors(count_descriptors(pid) + 4);
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(open_connection(&world).await);
    }
    up.wait_for_log("no file descriptor is left").await;
    let (started, cpu_before) = (Instant::now(), cpu_time(pid));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let used = cpu_time(pid) - cpu_before;
    assert!(
        used < started.elapsed() / 2,
        "{used:?} of CPU time in {:?}",
        started.elapsed()
    );
    // Idle connections end, so that this one is served.
    measure_health(&world).await;
    drop(idle);
    up.limit_descriptors(soft);
    eventually("it answers fast again", STEP_TIMEOUT, || async {
        let took = measure_health(&world).await;
        (took < Duration::from_secs(1))
            .then_some(())
            .ok_or_else(|| format!("{took:?}"))
    })
    .await;
    let log = world.up.as_ref().unwrap().log();
    assert!(
        log.matches("no file descriptor is left").count() <= 2,
        "{log}"
    );
    world.add_pictures("after", 2);
    world.assert_index_equals_folder().await;
    world.stop_up().await;
}

#[tokio::test]
async fn idle_connections_in_any_number_keep_no_one_out() {
    raise_own_limit();
    let mut world = SystemWorld::with_up("idle").await;
    let pid = world.up.as_ref().unwrap().pid();
    let before = count_descriptors(pid);
    let mut idle = Vec::new();
    let (own_limit, _) = descriptor_limits(std::process::id());
    for _ in 0..own_limit.saturating_sub(256).min(1500) {
        idle.push(open_connection(&world).await);
    }
    for _ in 0..10 {
        measure_health(&world).await;
    }
    let opened = count_descriptors(pid).saturating_sub(before);
    assert!(opened <= 1024 + 64, "{opened} more descriptors");
    drop(idle);
    world.stop_up().await;
}

#[tokio::test]
async fn headers_that_arrive_slowly_time_out() {
    let mut world = SystemWorld::new("slow_headers");
    world.set_variable("LOOKALIKE_HTTP_HEADER_TIMEOUT", "2s");
    world.start_up().await;
    let started = Instant::now();
    let mut slow = open_connection(&world).await;
    slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut is_closed = false;
    while !is_closed {
        assert!(started.elapsed() < STEP_TIMEOUT, "it still reads");
        let mut byte = [0];
        let reading = slow.read(&mut byte);
        is_closed = match tokio::time::timeout(Duration::from_millis(200), reading).await {
            Ok(Ok(length)) => length == 0,
            Ok(Err(_)) => true,
            Err(_) => slow.write_all(b"X-Slow: 1\r\n").await.is_err(),
        };
    }
    assert!(started.elapsed() >= Duration::from_secs(2));
    measure_health(&world).await;
    world.stop_up().await;
}

#[tokio::test]
async fn signing_in_has_limits_of_its_own() {
    let mut world = SystemWorld::with_up("sign-in").await;
    let url = format!("{}/v1/session", world.url);
    let large = reqwest::Client::new().post(url).body(" ".repeat(5000));
    let large = large.header("content-type", "application/json");
    assert_eq!(large.send().await.unwrap().status(), 413);
    let started = Instant::now();
    let mut slow = open_connection(&world).await;
    let head = "POST /v1/session HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
        Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let reading = slow.read_exact(&mut answer);
    let read = tokio::time::timeout(STEP_TIMEOUT, reading).await;
    read.expect("it does not wait for http.upload_timeout")
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert!(started.elapsed() >= Duration::from_secs(5));
    world.stop_up().await;
}
