//! Misbehaving hubs, mirrors and networks: every fetch ends, keeps the valid part, and its error says
//! what to do.

use std::time::{Duration, Instant};

use crate::hub::{BodyMode, COMMIT, FakeHub, sha256_hex};
use crate::{Machine, random_bytes};

const MIB: usize = 1 << 20;

fn fetch_err(hub: &FakeHub) -> String {
    Machine::new(hub).run_err(1, &["models", "fetch", "resnet34"])
}

#[track_caller]
fn assert_contains(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

#[test]
fn a_wrong_announced_checksum_is_detected() {
    let hub = FakeHub::start(random_bytes(MIB, 1));
    hub.state().announced_sha256 = Some("ab".repeat(32));
    let machine = Machine::new(&hub);
    let message = machine.run_err(1, &["models", "fetch", "resnet34"]);
    assert_contains(
        &message,
        &[
            &sha256_hex(&random_bytes(MIB, 1)),
            &"ab".repeat(32),
            "were deleted",
        ],
    );
    let folder = machine.model_folder("resnet34").join(COMMIT);
    assert!(!folder.join("model.safetensors").exists());
    assert!(!folder.join("model.safetensors.part").exists());
    // The model does not count as fetched.
    let message = machine.run_err(1, &["models", "fetch", "resnet34", "--offline"]);
    assert_contains(
        &message,
        &[
            "--offline forbids downloads",
            "lookalike models fetch resnet34",
        ],
    );
}

#[test]
fn replaced_weights_are_refused_until_renewed() {
    let hub = FakeHub::start(random_bytes(MIB, 2));
    let machine = Machine::new(&hub);
    machine.run_ok(&["models", "fetch", "resnet34"]);
    // The file is deleted, and the hub now has other weights at the same commit.
    let folder = machine.model_folder("resnet34").join(COMMIT);
    std::fs::remove_file(folder.join("model.safetensors")).unwrap();
    hub.state().file = random_bytes(MIB, 3);
    let message = machine.run_err(1, &["models", "fetch", "resnet34"]);
    assert_contains(
        &message,
        &[
            "was replaced",
            &sha256_hex(&random_bytes(MIB, 2)),
            &sha256_hex(&random_bytes(MIB, 3)),
            "--renew",
        ],
    );
    // `--renew` accepts them. Another commit gets another folder, and the newest one applies.
    hub.state().commit = Some("ffffffffffffffffffffffffffffffffffffffff");
    machine.run_ok(&["models", "fetch", "resnet34", "--renew"]);
    let listed = machine.run_ok(&["models", "list", "--json"]);
    assert_contains(&listed, &[&sha256_hex(&random_bytes(MIB, 3)), "ffffffff"]);
    assert!(machine.model_folder("resnet34").join(COMMIT).exists());
    let message = machine.run_err(2, &["models", "fetch", "resnet34", "--renew", "--offline"]);
    assert_contains(&message, &["--renew must contact the hub"]);
}

#[test]
fn weights_changed_on_disk_are_refused() {
    let hub = FakeHub::start(random_bytes(MIB, 4));
    let machine = Machine::new(&hub);
    machine.run_ok(&["models", "fetch", "resnet34"]);
    let file = machine
        .model_folder("resnet34")
        .join(COMMIT)
        .join("model.safetensors");
    let mut changed = random_bytes(MIB, 4);
    changed[77] ^= 1;
    std::fs::write(&file, &changed).unwrap();
    for words in [
        &["models", "fetch", "resnet34"][..],
        &["models", "fetch", "resnet34", "--offline"],
    ] {
        let message = machine.run_err(1, words);
        assert_contains(
            &message,
            &[
                &sha256_hex(&changed),
                "changed or damaged after the download",
            ],
        );
    }
    std::fs::write(&file, &changed[1..]).unwrap();
    assert_contains(
        &machine.run_err(1, &["models", "fetch", "resnet34"]),
        &["has 1048575 bytes, but had 1048576"],
    );
    assert_contains(&machine.run_ok(&["models"]), &["ALTERED"]);
    // The lock of a pinned model is compared with the pins.
    let pinned = machine
        .model_folder("vit-s16")
        .join("7e2c55630205e1266030f18370f4c6ed1a514b52");
    std::fs::create_dir_all(&pinned).unwrap();
    let lock = std::fs::read_to_string(file.with_file_name("model.lock.json")).unwrap();
    std::fs::write(pinned.join("model.lock.json"), lock).unwrap();
    if machine.run_ok(&["models"]).contains("vit-s16") {
        assert_contains(
            &machine.run_err(1, &["models", "fetch", "vit-s16"]),
            &["checksums other than those of this lookalike"],
        );
    }
}

#[test]
fn the_file_changes_between_two_parts() {
    let hub = FakeHub::start(random_bytes(MIB, 5));
    hub.state().announced_sha256 = Some(sha256_hex(&random_bytes(MIB, 5)));
    hub.state().body_modes = vec![BodyMode::Cut(400_000), BodyMode::Silent];
    let machine = Machine::new(&hub).with_short_stall();
    machine.run_err(1, &["models", "fetch", "resnet34"]);
    // With If-Range the changed file is sent completely, and differs from the announcement.
    hub.state().file = random_bytes(MIB, 6);
    hub.state().body_modes = vec![BodyMode::Normal];
    let message = machine.run_err(1, &["models", "fetch", "resnet34"]);
    assert_contains(
        &message,
        &[&sha256_hex(&random_bytes(MIB, 6)), "were deleted"],
    );
}

#[test]
fn refusals_advise_what_to_do() {
    let hub = FakeHub::start(random_bytes(MIB, 7));
    for (status, parts) in [
        (404, &["the hub has no", "HF_ENDPOINT"][..]),
        (401, &["refuses", "HF_TOKEN"]),
        (403, &["refuses", "HF_TOKEN"]),
        (407, &["the proxy requires a login"]),
        (418, &["unexpected answer", "418"]),
    ] {
        hub.state().hub_responses = vec![(status, "")];
        hub.state().requests.clear();
        assert_contains(&fetch_err(&hub), parts);
        assert_eq!(hub.state().requests.len(), 1, "{status}");
    }
    let machine = Machine::new(&hub).with_env("HF_TOKEN", "hf_wrong");
    hub.state().hub_responses = vec![(401, "")];
    let message = machine.run_err(1, &["models", "fetch", "resnet34"]);
    assert_contains(&message, &["the token in HF_TOKEN has no read access"]);
    assert!(!message.contains("hf_wrong"), "{message}");
}

#[test]
fn transient_errors_are_retried() {
    let hub = FakeHub::start(random_bytes(MIB, 8));
    hub.state().hub_responses = vec![(503, ""), (429, "retry-after: 0\r\n"), (500, "")];
    hub.state().body_modes = vec![
        BodyMode::Status(502, ""),
        BodyMode::Silent,
        BodyMode::WrongRange,
        BodyMode::Normal,
    ];
    Machine::new(&hub)
        .with_env("LOOKALIKE_MODELS_STALL_TIMEOUT", "3s")
        .run_ok(&["models", "fetch", "resnet34"]);
    // But not forever, and not after longer pauses than the settings allow.
    hub.state().hub_responses = vec![(503, ""); 20];
    let message = fetch_err(&hub);
    assert_contains(&message, &["after 4 attempts", "503"]);
    assert!(
        !message.contains("resumes it"),
        "no bytes are on disk: {message}"
    );
    hub.state().hub_responses = vec![(429, "retry-after: 3600\r\n"); 20];
    assert_contains(&fetch_err(&hub), &["wait for 3600 s", "HF_TOKEN"]);
}

#[test]
fn a_silent_hub_is_given_up() {
    let hub = FakeHub::start(random_bytes(MIB, 9));
    hub.state().body_modes = vec![BodyMode::Silent];
    let machine = Machine::new(&hub).with_short_stall();
    let begun = Instant::now();
    let message = machine.run_err(1, &["models", "fetch", "resnet34"]);
    assert_contains(&message, &["no answer within 500ms", "HTTPS_PROXY"]);
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn no_hub_is_listening() {
    let hub = FakeHub::start(Vec::new());
    let mut machine = Machine::new(&hub);
    // A port without a listener.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    machine.hub = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let message = machine.run_err(1, &["models", "fetch", "resnet34"]);
    assert_contains(
        &message,
        &["no connection", "Check the network and the proxy"],
    );
    machine.hub = "huggingface.co".to_owned();
    let message = machine.run_err(2, &["models", "fetch", "resnet34"]);
    assert_contains(&message, &["models.hub (HF_ENDPOINT) is not a URL"]);
}

#[test]
fn sizes_have_limits() {
    let hub = FakeHub::start(random_bytes(MIB, 10));
    let machine = Machine::new(&hub).with_env("LOOKALIKE_MODELS_MAX_FILE_BYTES", "1000KiB");
    let message = machine.run_err(1, &["models", "fetch", "resnet34"]);
    assert_contains(&message, &["has 1.00 MiB", "models.max_file_bytes"]);
    assert!(hub.requested_ranges().is_empty());
    // Files that are longer or shorter than announced.
    for bytes in [MIB as u64 - 1, MIB as u64 + 1] {
        hub.state().announced_bytes = Some(bytes);
        assert_contains(
            &fetch_err(&hub),
            &[&format!("sends 1048576 bytes instead of {bytes}")],
        );
    }
}

#[test]
fn a_server_that_is_not_a_hub_is_reported() {
    let hub = FakeHub::start(random_bytes(MIB, 11));
    hub.state().announces_nothing = true;
    assert_contains(
        &fetch_err(&hub),
        &["X-Repo-Commit", "is HF_ENDPOINT a Hugging Face hub"],
    );
    hub.state().announces_nothing = false;
    // A commit becomes the name of a folder, so only hexadecimal digits are accepted.
    hub.state().commit = Some("../../../../../../../../tmp/0123456789ab");
    assert_contains(&fetch_err(&hub), &["no commit (X-Repo-Commit)"]);
    hub.state().commit = None;
    hub.state().announced_sha256 = Some("W/abc".to_owned());
    assert_contains(&fetch_err(&hub), &["no SHA-256 (X-Linked-Etag)"]);
    hub.state().announced_sha256 = None;
    hub.state().hub_responses = vec![(302, "location: /round/and/round\r\n"); 40];
    assert_contains(&fetch_err(&hub), &["more than 10 redirects"]);
}

#[test]
fn an_unwritable_folder_is_reported() {
    let hub = FakeHub::start(random_bytes(MIB, 12));
    let machine = Machine::new(&hub);
    std::fs::create_dir_all(machine.folder.path().join("cache")).unwrap();
    std::fs::write(machine.folder.path().join("cache/models"), "a file").unwrap();
    let message = machine.run_err(1, &["models", "fetch", "resnet34"]);
    assert_contains(&message, &["cache/models"]);
    // A full disk is reported as such.
    if std::path::Path::new("/dev/full").exists() {
        let machine = Machine::new(&hub);
        let folder = machine.model_folder("resnet34").join(COMMIT);
        std::fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.join("model.safetensors.part")).unwrap();
        let message = machine.run_err(1, &["models", "fetch", "resnet34"]);
        assert_contains(&message, &["the disk is full", "servers.cache_dir"]);
    }
}
