//! No orphans: servers die with a parent that is killed.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use lookalike_servers::{Servers, WantedServers};

use crate::{assert_within, data_folder, fetch_wanted, is_alive, test_settings};

/// Names the helper's data folder.
const HOLD: &str = "LOOKALIKE_TEST_HOLD_SERVERS";

/// The parent that is killed; not a test. Does nothing without the variable.
#[test]
#[ignore = "the helper of servers_die_with_a_killed_parent"]
fn helper() {
    let Some(folder) = std::env::var_os(HOLD).map(PathBuf::from) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let servers = runtime.block_on(async {
        let programs = fetch_wanted(WantedServers::ALL).await;
        // From a task, as in the product: a worker thread requests the children.
        let start = async move {
            Servers::start(
                &test_settings(),
                &programs,
                &folder,
                WantedServers::ALL,
                &|_| {},
            )
            .await
        };
        tokio::spawn(start).await.unwrap().unwrap()
    });
    let pids = (servers.nats_pid().unwrap(), servers.milvus_pid().unwrap());
    println!("\npids {} {}", pids.0, pids.1);
    // The runtime's threads end; the children must keep running.
    drop(runtime);
    println!("held");
    loop {
        std::thread::park();
    }
}

#[tokio::test]
async fn servers_die_with_a_killed_parent() {
    if !cfg!(target_os = "linux") {
        eprintln!("skipped: only on Linux do children die with a killed parent");
        return;
    }
    fetch_wanted(WantedServers::ALL).await;
    let folder = data_folder();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "parent_death::helper",
            "--nocapture",
        ])
        .env(HOLD, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(parent.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let pids: Vec<u32> = lines
        .find_map(|line| {
            let pids = line.strip_prefix("pids ")?;
            Some(pids.split(' ').map(|pid| pid.parse().unwrap()).collect())
        })
        .expect("the helper starts the servers");
    assert!(lines.any(|line| line == "held"));
    assert!(pids.iter().all(|&pid| is_alive(pid)));

    parent.kill().unwrap();
    parent.wait().unwrap();
    assert_within(Duration::from_secs(20), "the children die", || {
        pids.iter().all(|&pid| !is_alive(pid))
    });

    // The next servers can use the data folder at once.
    let programs = fetch_wanted(WantedServers::ALL).await;
    let servers = Servers::start(
        &test_settings(),
        &programs,
        folder.path(),
        WantedServers::ALL,
        &|_| {},
    )
    .await
    .unwrap();
    servers.stop().await;
}
