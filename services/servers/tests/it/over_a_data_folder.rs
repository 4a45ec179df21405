//! Servers with one data folder, from the first start to the last stop.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use lookalike_servers::{Error, Program, Programs, ServerStage, Servers, Settings, WantedServers};

use crate::{
    ONLY_NATS, assert_within, data_folder, fetch_wanted, is_alive, script_path, test_settings,
};

/// Start, crash, restart and stop of both servers, in one test because starting Milvus is slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_servers_start_crash_restart_and_stop() {
    let programs = fetch_wanted(WantedServers::ALL).await;
    let folder = data_folder();
    let settings = test_settings();
    let stages = std::sync::Mutex::new(Vec::new());
    let begun = Instant::now();
    let mut servers = Servers::start(
        &settings,
        &programs,
        folder.path(),
        WantedServers::ALL,
        &|stage| {
            stages.lock().unwrap().push(stage);
        },
    )
    .await
    .unwrap();
    eprintln!("measured: started in {:?}", begun.elapsed());
    for program in [Program::Nats, Program::Milvus] {
        let stages = stages.lock().unwrap();
        assert!(stages.contains(&ServerStage::Starting { program }));
        assert!(stages.iter().any(
            |stage| matches!(stage, ServerStage::Ready { program: ready, .. } if *ready == program)
        ));
    }
    let nats_url = servers.nats_url().unwrap().to_owned();
    let milvus_url = servers.milvus_url().unwrap().to_owned();
    assert_answers_ping(&nats_url);
    assert_accepts_connection(&milvus_url);

    // Other machines cannot reach them.
    assert_on_loopback(servers.nats_pid().unwrap(), 1);
    assert_on_loopback(servers.milvus_pid().unwrap(), 11);

    // The folder has one owner.
    let second = Servers::start(
        &settings,
        &programs,
        folder.path(),
        WantedServers::ALL,
        &|_| {},
    )
    .await;
    let message = second.unwrap_err().to_string();
    let us = std::process::id();
    assert!(
        message.contains(&format!("already in use by process {us}:")),
        "{message}"
    );

    // A crash is reported with the last log lines; a requested kill is not.
    let killed = servers.nats_pid().unwrap();
    // SAFETY: a plain system call, on a child that has not been reaped.
    unsafe { libc::kill(killed.cast_signed(), libc::SIGKILL) };
    let exited = servers.next_exit().await;
    assert_eq!(exited.program, Program::Nats);
    assert_eq!(exited.status.signal(), Some(libc::SIGKILL));
    assert!(
        exited
            .log_tail
            .iter()
            .any(|line| line.contains("Server is ready")),
        "{exited:?}"
    );
    assert_eq!(servers.nats_pid(), None);
    servers.restart_nats().await.unwrap();
    assert_eq!(servers.nats_url().unwrap(), nats_url);
    assert_ne!(servers.nats_pid().unwrap(), killed);
    assert_answers_ping(&nats_url);

    freeze_process(servers.milvus_pid().unwrap(), Duration::from_secs(8)).await;
    await_healthy_milvus(&servers).await;

    let sessions = stored_sessions(folder.path());
    let etcd_port = ports_of(folder.path())["milvus-etcd-client"];
    assert!(!sessions.is_disjoint(&leases_in_etcd(etcd_port)));

    let killed = servers.milvus_pid().unwrap();
    servers.kill_milvus().await;
    assert!(!is_alive(killed));
    let nothing = tokio::time::timeout(Duration::ZERO, servers.next_exit()).await;
    assert!(nothing.is_err(), "a requested kill is not reported");
    let begun = Instant::now();
    servers.restart_milvus().await.unwrap();
    eprintln!("measured: Milvus back in {:?}", begun.elapsed());
    assert_eq!(servers.milvus_url().unwrap(), milvus_url);
    assert_accepts_connection(&milvus_url);
    assert_on_loopback(servers.milvus_pid().unwrap(), 11);
    // The new Milvus did not wait for the sessions of the killed one to expire.
    let remaining = leases_in_etcd(etcd_port);
    assert!(
        sessions.is_disjoint(&remaining),
        "{sessions:?} {remaining:?}"
    );
    assert!(stored_sessions(folder.path()).is_disjoint(&sessions));

    // A stop ends all processes.
    let pids = [servers.nats_pid().unwrap(), servers.milvus_pid().unwrap()];
    let begun = Instant::now();
    servers.stop().await;
    eprintln!("measured: stopped in {:?}", begun.elapsed());
    assert!(pids.iter().all(|&pid| !is_alive(pid)));
    let trace = format!("/tmp/milvus/server_id_{}", pids[1]);
    assert!(!std::path::Path::new(&trace).exists(), "{trace}");

    // Milvus' etcd has stored its address; another port must not confuse it. This time the servers
    // are dropped instead of stopped.
    let taken = milvus_port(&milvus_url);
    let _taken = std::net::TcpListener::bind(("127.0.0.1", taken)).unwrap();
    let ports = ports_of(folder.path());
    let _etcd = std::net::TcpListener::bind(("127.0.0.1", ports["milvus-etcd-peer"])).unwrap();
    let impatient = Settings {
        port_timeout: Duration::ZERO,
        ..settings
    };
    let servers = Servers::start(
        &impatient,
        &programs,
        folder.path(),
        WantedServers::ALL,
        &|_| {},
    )
    .await
    .unwrap();
    assert_eq!(servers.nats_url().unwrap(), nats_url);
    assert_ne!(servers.milvus_url().unwrap(), milvus_url);
    let pids = [servers.nats_pid().unwrap(), servers.milvus_pid().unwrap()];
    drop(servers);
    assert_within(Duration::from_secs(20), "dropped servers die", || {
        pids.iter().all(|&pid| !is_alive(pid))
    });
}

#[tokio::test]
async fn only_what_is_wanted_is_started() {
    let programs = fetch_wanted(ONLY_NATS).await;
    let folder = data_folder();
    let mut servers = Servers::start(
        &test_settings(),
        &programs,
        folder.path(),
        ONLY_NATS,
        &|_| {},
    )
    .await
    .unwrap();
    assert_eq!(servers.milvus_url(), None);
    assert_eq!(servers.milvus_pid(), None);
    assert_answers_ping(servers.nats_url().unwrap());
    let error = servers.restart_milvus().await.unwrap_err();
    assert_eq!(error.to_string(), "this process does not run Milvus");
    servers.kill_nats().await;
    servers.restart_nats().await.unwrap();
    assert_answers_ping(servers.nats_url().unwrap());
    servers.stop().await;

    let none = WantedServers {
        nats: false,
        milvus: false,
    };
    let held = Servers::start(
        &test_settings(),
        &Programs::default(),
        folder.path(),
        none,
        &|_| {},
    )
    .await
    .unwrap();
    assert!(held.data_dir().is_absolute());
    let second = Servers::start(
        &test_settings(),
        &programs,
        folder.path(),
        ONLY_NATS,
        &|_| {},
    )
    .await;
    assert!(matches!(second, Err(Error::InUse { .. })));
}

#[tokio::test]
async fn a_server_that_cannot_start_reports_why() {
    let programs = fetch_wanted(ONLY_NATS).await;
    let folder = data_folder();
    std::fs::create_dir_all(folder.path().join("nats")).unwrap();
    std::fs::write(folder.path().join("nats/jetstream"), "not a folder").unwrap();
    let started = Servers::start(
        &test_settings(),
        &programs,
        folder.path(),
        ONLY_NATS,
        &|_| {},
    )
    .await;
    let error = started.unwrap_err();
    assert!(matches!(error, Error::EndedAtStart { .. }));
    let message = error.to_string();
    assert!(
        message.contains("nats-server ended while starting (exit status: 1)"),
        "{message}"
    );
    assert!(message.contains("nats/nats-server.log"), "{message}");
    assert!(
        message.contains("storage directory is not a directory"),
        "{message}"
    );
}

#[tokio::test]
async fn waiting_for_a_mute_server_is_limited() {
    let folder = data_folder();
    let programs = Programs {
        nats_server: Some(script_path("mute-server")),
        milvus_bin: None,
    };
    let settings = Settings {
        nats_start_timeout: Duration::from_secs(5),
        ..test_settings()
    };
    let started = Servers::start(&settings, &programs, folder.path(), ONLY_NATS, &|_| {}).await;
    let error = started.unwrap_err();
    let Error::StartTimeout {
        last_answer,
        log_tail,
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert!(last_answer.contains("refused"), "{last_answer}");
    assert_eq!(log_tail, &["I am mute"]);
}

fn ports_of(folder: &Path) -> BTreeMap<String, u16> {
    let ports = std::fs::read_to_string(folder.join("ports.json")).unwrap();
    serde_json::from_str(&ports).unwrap()
}

fn stored_sessions(folder: &Path) -> BTreeSet<String> {
    let sessions = std::fs::read(folder.join("milvus/sessions.json")).unwrap();
    serde_json::from_slice(&sessions).unwrap()
}

fn leases_in_etcd(port: u16) -> BTreeSet<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = "POST /v3/lease/leases HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let leases = body["leases"].as_array().into_iter().flatten();
    leases
        .map(|lease| lease["ID"].as_str().unwrap().to_owned())
        .collect()
}

/// Stops a process for this time, as a machine does that is overloaded or suspended.
async fn freeze_process(pid: u32, time: Duration) {
    // SAFETY: plain system calls, on a child that has not been reaped.
    let signal = |signal| unsafe { libc::kill(pid.cast_signed(), signal) };
    assert_eq!(signal(libc::SIGSTOP), 0);
    tokio::time::sleep(time).await;
    assert_eq!(signal(libc::SIGCONT), 0);
}

/// Waits until Milvus has been healthy for a while: its sessions end only after it has continued.
async fn await_healthy_milvus(servers: &Servers) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut healthy_since = None;
    while healthy_since.is_none_or(|since: Instant| since.elapsed() < Duration::from_secs(3)) {
        match servers.milvus_unhealthy_reason().await {
            Some(reason) => {
                assert!(Instant::now() < deadline, "{reason}");
                healthy_since = None;
            }
            None => {
                healthy_since.get_or_insert_with(Instant::now);
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn milvus_port(url: &str) -> u16 {
    url.rsplit_once(':').unwrap().1.parse().unwrap()
}

fn assert_accepts_connection(url: &str) {
    TcpStream::connect(url.split_once("//").unwrap().1).unwrap();
}

fn assert_answers_ping(url: &str) {
    let mut stream = TcpStream::connect(url.strip_prefix("nats://").unwrap()).unwrap();
    stream.write_all(b"CONNECT {}\r\nPING\r\n").unwrap();
    let answered = BufReader::new(stream)
        .lines()
        .map_while(Result::ok)
        .take(3)
        .any(|line| line == "PONG");
    assert!(answered);
}

#[cfg(target_os = "linux")]
fn assert_on_loopback(pid: u32, at_least: usize) {
    let found = crate::sockets::listening_addresses(pid);
    assert!(found.len() >= at_least, "{found:?}");
    let elsewhere: Vec<_> = found
        .iter()
        .filter(|address| !address.ip().is_loopback())
        .collect();
    assert!(
        elsewhere.is_empty(),
        "other machines can reach {elsewhere:?}"
    );
}

#[cfg(not(target_os = "linux"))]
fn assert_on_loopback(_pid: u32, _at_least: usize) {
    eprintln!("skipped: where sockets listen can only be seen on Linux");
}
