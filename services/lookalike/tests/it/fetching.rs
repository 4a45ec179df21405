//! `models fetch`: complete, resumed, repeated, concurrent, and after a kill.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::hub::{BodyMode, COMMIT, FakeHub, sha256_hex};
use crate::{Machine, file_names, random_bytes};

const MIB: usize = 1 << 20;

#[test]
fn a_first_fetch_keeps_what_the_hub_announced() {
    let hub = FakeHub::start(random_bytes(MIB, 1));
    let machine = Machine::new(&hub).with_env("HF_TOKEN", "hf_secret");
    let message = machine.run_ok(&["models", "fetch", "resnet34"]);
    assert!(message.contains("is complete and verified"), "{message}");
    let folder = machine.model_folder("resnet34").join(COMMIT);
    assert_eq!(
        std::fs::read(folder.join("model.safetensors")).unwrap(),
        random_bytes(MIB, 1)
    );
    assert_eq!(
        file_names(&folder),
        ["description.json", "model.lock.json", "model.safetensors"]
    );
    let lock: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("model.lock.json")).unwrap()).unwrap();
    assert_eq!(lock["revision"], COMMIT);
    assert_eq!(lock["pinned"], "first_fetch");
    assert_eq!(lock["repository"], "timm/resnet34.a1_in1k");
    assert_eq!(
        lock["files"][0]["sha256"],
        sha256_hex(&random_bytes(MIB, 1))
    );
    assert_eq!(lock["files"][0]["bytes"], MIB);
    let description: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("description.json")).unwrap()).unwrap();
    assert_eq!(description["sha256"], sha256_hex(&random_bytes(MIB, 1)));
    assert_eq!(description["name"], "resnet34");

    // The commit of `main` is requested first, then the bytes at that commit. The token is sent
    // to the hub only.
    let requests = hub.state().requests.clone();
    assert_eq!(
        requests[0].line,
        "HEAD /timm/resnet34.a1_in1k/resolve/main/model.safetensors HTTP/1.1"
    );
    assert_eq!(
        requests[1].line,
        format!("GET /timm/resnet34.a1_in1k/resolve/{COMMIT}/model.safetensors HTTP/1.1")
    );
    for request in &requests {
        let token = request.headers.get("authorization").map(String::as_str);
        assert_eq!(
            token,
            (request.server == "hub").then_some("Bearer hf_secret")
        );
    }
    assert_eq!(requests.len(), 3);

    // A complete model causes no further requests and needs no hub.
    machine.run_ok(&["models", "fetch", "resnet34"]);
    machine.run_ok(&["models", "fetch", "resnet34", "--offline"]);
    assert_eq!(hub.state().requests.len(), 3);
}

#[test]
fn a_connection_that_is_cut_repeatedly_resumes() {
    let hub = FakeHub::start(random_bytes(2 * MIB, 2));
    // More cuts than the allowed attempts without progress: each attempt makes progress.
    hub.state().body_modes = vec![BodyMode::Cut(300_000); 6];
    hub.state().body_modes.push(BodyMode::Normal);
    let machine = Machine::new(&hub);
    machine.run_ok(&["models", "fetch", "resnet34"]);
    let ranges = hub.requested_ranges();
    assert_eq!(ranges.len(), 7, "{ranges:?}");
    assert_eq!(ranges[0], None);
    // A cut connection may lose bytes in transit, but nothing else.
    let mut last = 0;
    for range in ranges[1..].iter().flatten() {
        let from: usize = range["bytes=".len()..range.len() - 1].parse().unwrap();
        assert!(
            from > last && from <= last + 300_000,
            "{range} after {last}"
        );
        last = from;
    }
    let requests = hub.state().requests.clone();
    let resumed = requests
        .iter()
        .filter(|r| r.headers.contains_key("if-range"));
    assert!(resumed.count() >= 6);
}

#[test]
fn a_server_without_ranges_sends_the_whole_file() {
    let hub = FakeHub::start(random_bytes(MIB, 3));
    hub.state().body_modes = vec![BodyMode::Cut(500_000), BodyMode::Whole];
    let machine = Machine::new(&hub);
    machine.run_ok(&["models", "fetch", "resnet34"]);
    assert_eq!(hub.requested_ranges().len(), 2);
}

#[test]
fn a_killed_fetch_resumes() {
    let file = random_bytes(2 * MIB, 4);
    let hub = FakeHub::start(file.clone());
    hub.state().body_modes = vec![BodyMode::Slow];
    let machine = Machine::new(&hub);
    let part = machine
        .model_folder("resnet34")
        .join(COMMIT)
        .join("model.safetensors.part");
    let size = || std::fs::metadata(&part).map_or(0, |metadata| metadata.len());
    let mut before = 0;
    for _ in 0..2 {
        let mut child = machine
            .build_command(&["models", "fetch", "resnet34"])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while size() < before + 200_000 {
            assert!(begun.elapsed() < Duration::from_secs(20), "no bytes arrive");
            std::thread::sleep(Duration::from_millis(5));
        }
        // SIGKILL: the process cannot clean up.
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!part.with_extension("").exists());
        before = size();
    }
    hub.state().body_modes = vec![BodyMode::Normal];
    machine.run_ok(&["models", "fetch", "resnet34"]);
    let fetched = std::fs::read(part.with_extension("")).unwrap();
    assert_eq!(fetched, file);
    let ranges = hub.requested_ranges();
    assert_eq!(ranges.len(), 3);
    assert_eq!(ranges[2], Some(format!("bytes={before}-")));
    assert!(!part.exists());
}

#[test]
fn a_wrong_leftover_part_is_fetched_again() {
    let file = random_bytes(MIB, 5);
    let hub = FakeHub::start(file.clone());
    let machine = Machine::new(&hub).with_short_stall();
    let folder = machine.model_folder("resnet34").join(COMMIT);
    hub.state().body_modes = vec![BodyMode::Cut(400_000), BodyMode::Silent];
    machine.run_err(1, &["models", "fetch", "resnet34"]);
    let part = folder.join("model.safetensors.part");
    let mut broken = std::fs::read(&part).unwrap();
    assert!(broken.len() >= 100_000);
    broken[1000] ^= 1;
    std::fs::write(&part, &broken).unwrap();
    hub.state().body_modes = vec![BodyMode::Normal];
    machine.run_ok(&["models", "fetch", "resnet34"]);
    assert_eq!(
        std::fs::read(folder.join("model.safetensors")).unwrap(),
        file
    );

    // A part that is longer than the file.
    std::fs::remove_dir_all(machine.model_folder("resnet34")).unwrap();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(&part, vec![0; 2 * MIB]).unwrap();
    machine.run_ok(&["models", "fetch", "resnet34"]);
}

#[test]
fn concurrent_fetches_share_one_download() {
    let hub = FakeHub::start(random_bytes(MIB, 6));
    hub.state().body_modes = vec![BodyMode::Slow];
    let machine = Machine::new(&hub);
    let mut children: Vec<_> = (0..2)
        .map(|_| {
            machine
                .build_command(&["models", "fetch", "resnet34"])
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut message = String::new();
    for child in children.drain(..) {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        message += &String::from_utf8(output.stderr).unwrap();
    }
    assert_eq!(hub.requested_ranges().len(), 1, "{message}");
    assert!(
        message.contains("another lookalike that is fetching resnet34"),
        "{message}"
    );
}

#[test]
fn an_interrupted_fetch_keeps_its_part() {
    let hub = FakeHub::start(random_bytes(2 * MIB, 7));
    hub.state().body_modes = vec![BodyMode::Slow];
    let machine = Machine::new(&hub);
    let part = machine
        .model_folder("resnet34")
        .join(COMMIT)
        .join("model.safetensors.part");
    let child = machine
        .build_command(&["models", "fetch", "resnet34"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while std::fs::metadata(&part).map_or(0, |metadata| metadata.len()) < 100_000 {
        assert!(begun.elapsed() < Duration::from_secs(20), "no bytes arrive");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = child.id() as i32;
    // SAFETY: a signal to a child of ours that has not been waited for.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGINT) }, 0);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("resumes it"), "{message}");
    assert!(part.exists());
}

#[test]
fn a_pinned_model_is_requested_by_its_commit() {
    let hub = FakeHub::start(random_bytes(MIB, 8));
    let machine = Machine::new(&hub);
    // The hub announces other bytes than lookalike has pinned: no download starts.
    let message = machine.run_err(1, &["models", "fetch", "resnet50"]);
    assert!(message.contains("lookalike expects 773525d5"), "{message}");
    let requests = hub.state().requests.clone();
    assert_eq!(
        requests[0].line,
        "GET /timm/resnet50.a1_in1k/resolve/767268603ca0cb0bfe326fa87277f19c419566ef/\
         model.safetensors HTTP/1.1"
    );
    // A mirror that announces nothing is detected by what it sends.
    hub.state().announces_nothing = true;
    let message = machine.run_err(1, &["models", "fetch", "resnet50"]);
    assert!(
        message.contains("sends 1048576 bytes instead of 102469840"),
        "{message}"
    );
}
